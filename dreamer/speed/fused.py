"""What a world model and a behaviour are made of, with hand-written gradients and few passes over memory.

Equal results to the plain modules within rounding (tests: speed/test_fused.py). A perceptron is walked through in
blocks of rows that stay in the cache, by one call of compiled code (chains.c).
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer import fast
from dreamer.behavior import Policy
from dreamer.networks import RMSNorm
from dreamer.sequence_model import SequenceModel, State, features
from dreamer.speed.native import FLAGS, Code, gemm, load, pointers
from dreamer.speed.parallel import over_rows

PERCEPTRON_ROWS = 512  # of a block that goes through a perceptron; 512 rows of 256 float32 are half a megabyte
Many = Sequence[Tensor]


def _structure(**fields: str) -> tuple[type[ctypes.Structure], str]:
    """A structure that Python fills and C reads, and its fields as C declares them; fields: names by kind."""
    kinds = {"int64_t": ctypes.c_int64, "float": ctypes.c_float}
    named = [(kind, name) for kind, names in fields.items() for name in names.split()]
    types = [(name, kinds.get(kind, ctypes.c_void_p)) for kind, name in named]
    declared = {"table": "float *", "tables": "float **", "flags": "const uint8_t *"}
    text = "".join(f"{declared.get(kind, kind)} {name}; " for kind, name in named)
    return type("Given", (ctypes.Structure,), {"_fields_": types}), text


_Products, _ = _structure(table="sgemm", int64_t="rounds laid")
_Net, NET = _structure(
    int64_t="first second exact layers units outputs rows", tables="weights gradients", table="sums outs inverses"
)
WEIGHTS = ["into_w", "into_scale", "cell_w", "cell_scale", "linear"]  # of a rollout, beside those of its perceptrons
TAPE = ["seen", "into", "joined", "gates", "inverses", "logits", "soft", "residual"]
GRADIENTS = [f"d{name}" for name in WEIGHTS]
_Rollout, ROLLOUT = _structure(
    int64_t="rows total steps keeps width hidden units groups classes observed actions values",
    float="epsilon unimix",
    flags="first",
    table=" ".join([*WEIGHTS, *GRADIENTS, *TAPE])
    + " spread action_values states action embeds latent_chance action_chance dstates dlogits dembeds room",
)
CHAINS = Code(
    "chains.c",
    ("kernels.c", "scalars.h", "products.c"),
    (*FLAGS, f"-DPERCEPTRON_ROWS={PERCEPTRON_ROWS}", f"-DNET={NET}", f"-DROLLOUT={ROLLOUT}"),
    {
        "product": "ppiipfpi",
        "perceptron_forward": "ppfipiip",
        "perceptron_backward": "ppipippp",
        "rollout_forward": "ppp",
        "rollout_backward": "ppp",
        "kl_forward": "iiifppppp",
        "kl_backward": "iiifpppppp",
        "laprop_step": "ippppffffff",
    },
)


class Library(NamedTuple):
    """The compiled chains, torch's sgemm, and whether there are tiles, which can round."""

    calls: ctypes.CDLL
    gemm: int
    has_tiles: bool

    def products(self) -> Any:
        """How products are to be made now: in tiles where there are any, 7 % faster than sgemm for a whole update."""
        rounds = self.has_tiles and fast.kind() == "bfloat16"
        return ctypes.byref(_Products(None if self.has_tiles else self.gemm, rounds, 0))


@cache
def load_chains() -> Library | None:
    """The chains of an update; None where they cannot be built, or torch's library does not offer its sgemm."""
    calls = load(CHAINS)
    try:
        return None if calls is None else Library(calls, gemm(), hasattr(calls, "tiled"))
    except (OSError, AttributeError):
        return None


def chains() -> Library:
    """The chains where it is known that they can be used."""
    library = load_chains()
    assert library is not None, "the compiled chains are asked for where they are not"
    return library


def _net(
    weights: Many, kept: Many, split: tuple[int, int, bool], gradients: Many = (), part: slice = slice(None)
) -> Any:
    """A perceptron as C sees it, with ``part`` of the rows of what is kept; split: (first, second, exact) inputs."""
    layers, rows, units = kept[0].shape
    places = (table[:, part].data_ptr() for table in kept)
    lists = pointers(weights), pointers(gradients)
    addresses = (ctypes.addressof(one) if one else None for one in lists)
    net = _Net(*split, layers, units, weights[-1].shape[0], rows, *addresses, *places)
    net.lists = lists  # as long as the structure is there, so are they
    return net


def _room(like: Tensor, rows: int, weights: Many) -> list[Tensor]:
    """For what hidden layers leave behind, each (layers, rows, ...): normalised sums, outputs, 1 / rms."""
    layers, units = len(weights) // 2 - 1, weights[0].shape[0]
    return [like.new_empty(layers, rows, width) for width in (units, units, 1)]


def _gradients(weights: Many, rows: int) -> list[Tensor]:
    """Room for gradients: vectors are added to, matrices are written, if there are any rows."""
    return [torch.empty_like(w) if w.ndim == 2 and rows else torch.zeros_like(w) for w in weights]


class _Perceptron(Function):
    """x (rows, inputs) -> (rows, outputs) through layers of Linear, RMS norm and SiLU, and a last Linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float, exact: int, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of each hidden layer, then matrix and bias of the last."""
        ctx.kept, ctx.exact = _room(x, x.shape[0], weights), exact
        ctx.save_for_backward(x, *weights)
        return _forward(x, epsilon, exact, weights, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dresult: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it wants one, and of all weights; what was kept is used up."""
        (x, *weights), library, dresult = ctx.saved_tensors, chains(), dresult.contiguous()
        kept, ctx.kept = ctx.kept, None
        dx = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        split, products = (x.shape[1] - ctx.exact, ctx.exact, True), library.products()

        def run(part: slice) -> list[Tensor]:
            some, room = x[part], x.new_empty(PERCEPTRON_ROWS * kept[0].shape[2])
            gradients = _gradients(weights, some.shape[0])
            net = _net(weights, kept, split, gradients, part)
            given = some.shape[0], some.data_ptr(), x.stride(0), dresult[part].data_ptr(), room.data_ptr()
            wanted = None if dx is None else dx[part].data_ptr()
            library.calls.perceptron_backward(products, ctypes.byref(net), *given, wanted)
            return gradients

        gradients, *others = over_rows(run, x.shape[0])
        for other in others:
            torch._foreach_add_(gradients, other)
        return dx, None, None, *gradients


def _forward(x: Tensor, epsilon: float, exact: int, weights: Many, kept: Many | None) -> Tensor:
    """The perceptron's result; what the way back needs is written to ``kept``, if that is wanted."""
    result, library = x.new_empty(x.shape[0], weights[-1].shape[0]), chains()
    split, products = (x.shape[1] - exact, exact, True), library.products()

    def run(part: slice) -> None:
        some = x[part]
        room = _room(x, min(PERCEPTRON_ROWS, some.shape[0]), weights) if kept is None else kept
        net = _net(weights, room, split, (), slice(None) if kept is None else part)
        given = epsilon, some.shape[0], some.data_ptr(), x.stride(0), kept is not None, result[part].data_ptr()
        library.calls.perceptron_forward(products, ctypes.byref(net), *given)

    over_rows(run, x.shape[0])
    return result


class _Steps:
    """A rollout of some rows: what is handed to C, and the tables that it works on."""

    def __init__(
        self, model: SequenceModel, states: Tensor, given: dict[str, Tensor], policy: Policy | None = None
    ) -> None:
        """states (steps + 1, rows, width), of which the first are there; given (steps, rows, ...), see ``_Rollout``.

        With embeds of what is seen this is the filter, else the open loop, with a policy the dream.
        """
        self.model, self.states, self.policy = model, states, policy
        sizes, predict = model.config, model.next_observation if model.observed_size and "embeds" not in given else None
        latent_net = model.posterior_net if "embeds" in given else model.prior_net
        self.weights: list[Many] = [
            [*model.memory_weights, *([predict.linear.weight] if predict else [])],
            list(latent_net.parameters()),
            list(predict.net.parameters()) if predict else [],
            list(policy.net.parameters()) if policy else [],
        ]
        steps, self.rows, actions = given["action"].shape
        n, latent, observed = self.rows * (1 if policy else steps), model.latent_size, model.observed_size
        self.known, self.wide = observed + actions, sizes.units + sizes.hidden
        widths = latent + self.known, sizes.units, self.wide, 3 * sizes.hidden, 2, latent, latent, observed
        self.tables = {name: states.new_empty(n, width) for name, width in zip(TAPE, widths, strict=True)}
        self.kept = [_room(states, n, net) if net else [] for net in self.weights[1:]]
        values = len(policy.action_values) if policy else 0
        self.outputs = actions * values
        counts = self.rows, states.stride(0) // states.shape[2], steps, not policy, states.shape[2], sizes.hidden
        self.struct = _Rollout(
            *counts, sizes.units, sizes.groups, sizes.classes, observed, actions, values, RMSNorm.EPSILON, sizes.unimix
        )
        self._hand_over(states=states, spread=predict.spread if predict else None, **given, **self.tables)
        self._hand_over(**dict(zip(WEIGHTS, self.weights[0], strict=False)))
        if policy:
            self._hand_over(action_values=policy.action_values, room=states.new_empty(3 * self.rows * self.outputs))

    def _hand_over(self, **tables: Tensor | None) -> None:
        for name, table in tables.items():
            if table is not None:
                self.tables[name] = table
                setattr(self.struct, name, table.data_ptr())

    def _call(self, function: Any, gradients: Sequence[Many] = ((), (), ())) -> None:
        sizes, observed = self.model.config, self.model.observed_size
        seen = sizes.units if "embeds" in self.tables else 0
        splits = (sizes.hidden, seen, False), (sizes.memory_size, self.known, True), (sizes.memory_size, observed, True)
        parts = zip(self.weights[1:], self.kept, splits, gradients, strict=True)
        nets = [_net(*part) if part[0] else _Net() for part in parts]
        function(chains().products(), ctypes.byref(self.struct), (_Net * 3)(*nets))

    def forward(self) -> None:
        """Fill the states after the first, and the tape."""
        self._call(chains().calls.rollout_forward)

    def backward(
        self, djoined: Tensor | None, dh: Tensor | None, dz: Tensor | None, dlogits: Tensor | None
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Gradients at the first states, at the embeddings and of the weights; the tape is used up."""
        hidden, states = self.model.config.hidden, self.states
        dstates = torch.zeros_like(states) if djoined is None else torch.cat([torch.zeros_like(states[:1]), djoined])
        for start, given in ((0, dh), (hidden, dz)):
            if given is not None:
                dstates[1:, :, start : start + given.shape[2]] += given
        logits = self.tables["logits"]
        dlogits = torch.zeros_like(logits) if dlogits is None else dlogits.reshape(logits.shape).clone()
        gradients = [_gradients(weights, self.rows) for weights in self.weights]
        dembeds = torch.empty_like(self.tables["embeds"]) if "embeds" in self.tables else None
        predicting = self.model.config.units * self.model.config.prediction_width
        widths = self.tables["seen"].shape[1] + hidden + self.wide + max(predicting, 3 * hidden)
        self._hand_over(dstates=dstates, dlogits=dlogits, dembeds=dembeds, room=states.new_empty(self.rows * widths))
        self._hand_over(**dict(zip(GRADIENTS, gradients[0], strict=False)))
        self._call(chains().calls.rollout_backward, [*gradients[1:3], ()])
        return dstates[0], dembeds, [one for many in gradients for one in many]


class _Differentiated(Function):
    """A rollout -> its states (steps, rows, width), of them h and z, and the logits of z, with gradients."""

    @staticmethod
    def forward(ctx: Any, steps: _Steps, start: Tensor, embeds: Tensor | None, *weights: Tensor) -> tuple[Tensor, ...]:
        """start, embeds, weights: those of ``steps``, for their gradients."""
        ctx.steps, model, joined = steps, steps.model, steps.states[1:]
        ctx.set_materialize_grads(False)
        steps.forward()
        logits = steps.tables["logits"].view(*joined.shape[:2], model.config.groups, model.config.classes)
        hidden = model.config.hidden
        return joined, joined[..., :hidden], joined[..., hidden : hidden + model.latent_size], logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of start, embeds and weights; they can be had once."""
        steps, ctx.steps = ctx.steps, None
        dstart, dembeds, gradients = steps.backward(*given)
        return None, dstart, dembeds, *gradients


def _differentiated(model: SequenceModel, start: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
    states, embeds = start.new_empty(len(given["action"]) + 1, *start.shape), given.get("embeds")
    states[0] = start.detach()
    before, given = given.pop("before", None), {name: table.detach().contiguous() for name, table in given.items()}
    steps = _Steps(model, states, given)
    if before is not None:
        seen = steps.tables["seen"].view(*before.shape[:2], steps.tables["seen"].shape[1])
        seen[..., model.latent_size : model.latent_size + before.shape[2]] = before
    weights = [one for many in steps.weights for one in many]
    found: tuple[Tensor, ...] = _Differentiated.apply(steps, start, embeds, *weights)  # type: ignore[no-untyped-call]
    return found


class _CategoricalKL(Function):
    """Both one-sided KL terms at once: they have the same value and part only in their gradients."""

    @staticmethod
    def forward(ctx: Any, posterior: Tensor, prior: Tensor, unimix: float) -> tuple[Tensor, Tensor]:
        """logits (rows, groups, classes) -> (KL for the prior to learn, KL for the posterior), each (rows,)."""
        soft = torch.empty_like(posterior), torch.empty_like(prior)
        kl = posterior.new_empty(len(posterior))
        places = [tensor.data_ptr() for tensor in (posterior, prior, *soft, kl)]
        chains().calls.kl_forward(*posterior.shape, unimix, *places)
        ctx.save_for_backward(*soft)
        ctx.unimix = unimix
        return kl, kl.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dprior: Tensor, dposterior: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients at the logits of posterior and prior."""
        soft, grads = ctx.saved_tensors, (dposterior.contiguous(), dprior.contiguous())
        found = torch.empty_like(soft[0]), torch.empty_like(soft[1])
        places = [tensor.data_ptr() for tensor in (*soft, *grads, *found)]
        chains().calls.kl_backward(*soft[0].shape, ctx.unimix, *places)
        return *found, None


def run_perceptron(x: Tensor, epsilon: float, weights: Sequence[Tensor], exact: int = 0) -> Tensor:
    """The fused perceptron on x (..., inputs), of which the last ``exact`` are never rounded: (..., outputs)."""
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if rows.stride(1) != 1 or rows.stride(0) < rows.shape[1]:
        rows = rows.clone(memory_format=torch.contiguous_format)  # .contiguous() leaves the strides of one row
    if not torch.is_grad_enabled():
        result = _forward(rows, epsilon, exact, weights, None)
    else:
        result = _Perceptron.apply(rows, epsilon, exact, *weights)  # type: ignore[no-untyped-call]
    return result if x.ndim == 2 else result.view(*x.shape[:-1], result.shape[1])


def filter_sequence(model: SequenceModel, steps: Sequence[Tensor], state: State, generator: Generator | None) -> State:
    """`SequenceModel`'s filter: posteriors (time, batch, ...); steps: embeddings, actions, is_first, o before."""
    embeds, action, first, before = steps
    chance = torch.rand(*first.shape, model.config.groups, generator=generator)
    given = {"action": action, "latent_chance": chance, "first": first, "embeds": embeds, "before": before}
    start = torch.cat([state["h"], state["z"]], -1)
    joined, h, z, logits = _differentiated(model, start, given)
    return {"h": h, "z": z, "logits": logits, "joined": joined}


def open_loop(model: SequenceModel, state: State, action: Tensor, generator: Generator | None) -> Tensor:
    """`SequenceModel.open_loop`: the o (time, batch, o) that are dreamed under actions (time, batch, action)."""
    chance = torch.rand(*action.shape[:2], model.config.groups, generator=generator)
    joined = _differentiated(model, features(state), {"action": action, "latent_chance": chance})[0]
    return joined[..., -model.observed_size :]


def imagine(
    model: SequenceModel, policy: object, start: Tensor, horizon: int, generator: Generator | None, siblings: int
) -> tuple[Tensor, Tensor] | None:
    """`SequenceModel.imagine_sequence` from start (batch, feature): states (horizon + 1, batch, feature) and actions.

    None where the policy is none that the compiled dream knows.
    """
    if not isinstance(policy, Policy) or not policy.categorical or not policy.net.fusible:
        return None
    rows, width = start.shape
    states, actions = start.new_empty(horizon + 1, rows, width), start.new_empty(horizon, rows, policy.action_size)
    states[0] = start
    of_action, of_z = torch.empty_like(actions), start.new_empty(horizon, rows // siblings, model.config.groups)
    for chances in zip(of_action, of_z, strict=True):  # in the order of the plain steps
        for table in chances:
            torch.rand(table.shape, generator=generator, out=table)
    given = {"action": actions, "latent_chance": of_z.repeat(1, siblings, 1), "action_chance": of_action}

    def run(part: slice) -> None:
        some = {name: table[:, part] for name, table in given.items()}
        _Steps(model, states[:, part], some, policy).forward()

    over_rows(run, rows)
    return states, actions


def categorical_kls(posterior: Tensor, prior: Tensor, unimix: float) -> tuple[Tensor, Tensor]:
    """(dynamics, representation) KL (...) of logits (..., groups, classes), with one-sided gradients."""
    shape = posterior.shape
    rows = [logits.reshape(-1, *shape[-2:]).contiguous() for logits in (posterior, prior)]
    dynamics, representation = _CategoricalKL.apply(*rows, unimix)  # type: ignore[no-untyped-call]
    return dynamics.view(shape[:-2]), representation.view(shape[:-2])


def laprop_(
    weights: Many, gradients: Many, squares: Many, means: Many, factors: Sequence[float], *numbers: float
) -> None:
    """One step of LaProp on many contiguous tensors; see `dreamer.optimizer.laprop_`."""
    step = chains().calls.laprop_step
    for weight, *others, factor in zip(weights, gradients, squares, means, factors, strict=True):
        step(weight.numel(), weight.data_ptr(), *(tensor.data_ptr() for tensor in others), factor, *numbers)
        torch.autograd.graph.increment_version(weight)  # what is laid out for play has to be laid out anew
