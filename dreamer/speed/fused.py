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
from dreamer.sequence_model import SequenceModel
from dreamer.speed.native import FLAGS, Code, address, gemm, load, pointers
from dreamer.speed.parallel import over_rows
from dreamer.speed.play import Sizes

PERCEPTRON_ROWS = 512  # of a block that goes through a perceptron; 512 rows of 256 float32 are half a megabyte
Many = Sequence[Tensor]


CHAINS = Code(
    "chains.c",
    ("kernels.c", "scalars.h", "half.c"),
    (*FLAGS, f"-DPERCEPTRON_ROWS={PERCEPTRON_ROWS}", f"-DSIZES={', '.join(Sizes._fields)}"),
    {
        "perceptron_forward": "piiiiiifpippppiip",
        "perceptron_backward": "piiiiiipipppppippp",
        "advance_forward": "piiiiifppippppppi",
        "advance_backward": "piiiiippppppppppp",
        "draw_forward": "iiifpppp",
        "draw_backward": "iifppp",
        "kl_forward": "iiifppppp",
        "kl_backward": "iiifpppppp",
        "laprop_step": "ippppffffff",
        "dream": "piiipffpppppp",
    },
)


class Library(NamedTuple):
    """The compiled chains, and the addresses of the matrix products that they are to use."""

    calls: ctypes.CDLL
    gemm: int
    half: int | None
    """With factors rounded to bfloat16; None where the processor is no faster at that."""

    def products(self, exact: int, inputs: int) -> tuple[Any, int]:
        """(the products for rounded and for exact inputs of a chain, how many of its inputs are rounded)."""
        if self.half is None or fast.kind() != "bfloat16":
            return (ctypes.c_void_p * 2)(self.gemm, self.gemm), inputs
        return (ctypes.c_void_p * 2)(self.half, self.gemm), inputs - exact


@cache
def load_chains() -> Library | None:
    """The chains of an update; None where they cannot be built, or torch's library does not offer its sgemm."""
    calls = load(CHAINS)
    try:
        return None if calls is None else Library(calls, gemm(), address(calls, "half_gemm"))
    except (OSError, AttributeError):
        return None


def chains() -> Library:
    """The chains where it is known that they can be used."""
    library = load_chains()
    assert library is not None, "the compiled chains are asked for where they are not"
    return library


class _Perceptron(Function):
    """x (rows, inputs) -> (rows, outputs) through layers of Linear, RMS norm and SiLU, and a last Linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float, exact: int, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of each hidden layer, then matrix and bias of the last."""
        kept = _room(x, x.shape[0], weights)
        ctx.save_for_backward(x, *kept, *weights)
        ctx.exact = exact
        return _forward(x, epsilon, exact, weights, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dresult: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it wants one, and of all weights."""
        (x, *saved), library, dresult = ctx.saved_tensors, chains(), dresult.contiguous()
        kept, weights = saved[:3], saved[3:]
        dx = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        (layers, rows, units), outputs = kept[0].shape, dresult.shape[1]
        products = library.products(ctx.exact, x.shape[1])

        def run(part: slice) -> list[Tensor]:
            room, some = x.new_empty(2, PERCEPTRON_ROWS, units), x[part]
            gradients = _gradients(weights, some.shape[0])
            sizes = some.shape[0], layers, x.shape[1], units, outputs
            given = some.data_ptr(), x.stride(0), pointers(weights), pointers(gradients)
            places = *(table[:, part].data_ptr() for table in kept), rows, dresult[part].data_ptr(), room.data_ptr()
            wanted = None if dx is None else dx[part].data_ptr()
            library.calls.perceptron_backward(*products, *sizes, *given, *places, wanted)
            return gradients

        gradients, *others = over_rows(run, rows)
        for other in others:
            torch._foreach_add_(gradients, other)
        return dx, None, None, *gradients


def _gradients(weights: Sequence[Tensor], rows: int) -> list[Tensor]:
    """Room for gradients: vectors are added to, matrices are written, if there are any rows."""
    return [torch.empty_like(w) if w.ndim == 2 and rows else torch.zeros_like(w) for w in weights]


def _room(x: Tensor, rows: int, weights: Sequence[Tensor]) -> list[Tensor]:
    """For what hidden layers leave behind, each (layers, rows, ...): normalised sums, outputs, 1 / rms."""
    layers, units = len(weights) // 2 - 1, weights[0].shape[0]
    return [x.new_empty(layers, rows, width) for width in (units, units, 1)]


def _forward(x: Tensor, epsilon: float, exact: int, weights: Sequence[Tensor], kept: list[Tensor] | None) -> Tensor:
    """The perceptron's result; what the way back needs is written to ``kept``, if that is wanted."""
    result, library = x.new_empty(x.shape[0], weights[-1].shape[0]), chains()
    products = library.products(exact, x.shape[1])

    def run(part: slice) -> None:
        some = x[part]
        block = min(PERCEPTRON_ROWS, some.shape[0])
        tables = _room(x, block, weights) if kept is None else [table[:, part] for table in kept]
        sizes = some.shape[0], tables[0].shape[0], x.shape[1], tables[0].shape[-1], result.shape[1]
        given = some.data_ptr(), x.stride(0), pointers(weights), *(table.data_ptr() for table in tables)
        layer_rows = block if kept is None else x.shape[0]
        rest = layer_rows, kept is not None, result[part].data_ptr()
        library.calls.perceptron_forward(*products, *sizes, epsilon, *given, *rest)

    over_rows(run, x.shape[0])
    return result


class _Advance(Function):
    """x (rows, inputs), h (rows, hidden) -> the next h, through the input layer and the recurrent cell."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, epsilon: float, exact: int, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of the input layer, matrix and scale of the cell."""
        x, h = x.contiguous(), h.contiguous()
        rows, units, hidden, library = x.shape[0], weights[1].shape[0], h.shape[1], chains()
        kept = [x.new_empty(size, rows) for size in (units, units + hidden, 3 * hidden, 2)]
        after = torch.empty_like(h)
        given = rows, x.shape[1], units, hidden, epsilon, x.data_ptr(), h.data_ptr(), hidden, pointers(weights)
        products = library.products(exact, x.shape[1])
        library.calls.advance_forward(*products, *given, *(table.data_ptr() for table in (*kept, after)), hidden)
        ctx.save_for_backward(x, *kept, *weights)
        ctx.exact = exact
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dafter: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, h and all weights."""
        x, *saved = ctx.saved_tensors
        kept, weights, library = saved[:4], saved[4:], chains()
        dafter = dafter.contiguous()
        (rows, inputs), units, hidden = x.shape, weights[1].shape[0], dafter.shape[1]
        gradients, dx, dh = _gradients(weights, rows), torch.empty_like(x), torch.empty_like(dafter)
        room = x.new_empty(rows, 4 * hidden + 2 * units)
        places = [table.data_ptr() for table in (*kept, dafter, room, dx, dh)]
        given = rows, inputs, units, hidden, x.data_ptr(), pointers(weights), pointers(gradients)
        library.calls.advance_backward(*library.products(ctx.exact, inputs), *given, *places)
        return dx, dh, None, None, *gradients


class _Draw(Function):
    """logits (rows, groups, classes), uniform (rows, groups) -> one-hot samples with the gradient of probabilities."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, uniform: Tensor, unimix: float) -> Tensor:
        """By inversion: the class at the share ``uniform`` of all probability."""
        soft, one_hot = torch.empty_like(logits), torch.empty_like(logits)
        places = [table.data_ptr() for table in (logits, uniform, soft, one_hot)]
        chains().calls.draw_forward(*logits.shape, unimix, *places)
        ctx.save_for_backward(soft)
        ctx.unimix = unimix
        return one_hot

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dsample: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the logits."""
        (soft,) = ctx.saved_tensors
        dsample, dlogits = dsample.contiguous(), torch.empty_like(soft)
        rows, classes = soft.shape[0] * soft.shape[1], soft.shape[2]
        chains().calls.draw_backward(rows, classes, ctx.unimix, *(t.data_ptr() for t in (dsample, soft, dlogits)))
        return dlogits, None, None


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
    return result if x.ndim == 2 else result.view(*x.shape[:-1], -1)


def advance(x: Tensor, h: Tensor, epsilon: float, weights: Sequence[Tensor], exact: int = 0) -> Tensor:
    """`SequenceModel`'s step of the memory: the next h (batch, hidden) from what its input layer sees and from h.

    exact: how many numbers of x, the last ones, are never rounded.
    """
    after: Tensor = _Advance.apply(x, h, epsilon, exact, *weights)  # type: ignore[no-untyped-call]
    return after


def imagine(
    dynamics: SequenceModel, policy: object, start: Tensor, horizon: int, generator: Generator | None, siblings: int
) -> tuple[Tensor, Tensor] | None:
    """`SequenceModel.imagine_sequence` from start (batch, feature): states (horizon + 1, batch, feature) and actions.

    None where the policy is none that the compiled dream knows.
    """
    if not isinstance(policy, Policy) or not policy.categorical or not policy.net.fusible:
        return None
    model, (rows, width), library = dynamics.config, start.shape, chains()
    states, actions = start.new_empty(horizon + 1, rows, width), start.new_empty(horizon, rows, policy.action_size)
    states[0] = start
    chances, of_z = torch.empty_like(actions), start.new_empty(horizon, rows // siblings, model.groups)
    for of_action, of_latent in zip(chances, of_z, strict=True):  # in the order of the plain steps
        torch.rand(of_action.shape, generator=generator, out=of_action)
        torch.rand(of_latent.shape, generator=generator, out=of_latent)
    of_z = of_z.repeat(1, siblings, 1)
    sizes = Sizes.of(dynamics, policy)
    weights = [
        *policy.net.parameters(),
        policy.action_values,
        *dynamics.memory_weights,
        *dynamics.prior_net.parameters(),
    ]
    if sizes.observed:
        predict = dynamics.next_observation
        weights += [*predict.net.parameters(), predict.linear.weight, predict.spread]

    layers = model.layers * PERCEPTRON_ROWS * (2 * model.units + 1)
    of_row = 4 * sizes.latent + 3 * sizes.actions * sizes.values + 5 * sizes.hidden + 2 * sizes.units
    of_row += 2 * sizes.observed + sizes.actions + 2

    def run(part: slice) -> None:
        some = part.stop - part.start
        room = start.new_empty(some * of_row + layers)
        places = (table[:, part].data_ptr() for table in (chances, of_z, states, actions))
        given = (ctypes.c_int64 * len(sizes))(*sizes), RMSNorm.EPSILON, model.unimix, pointers(weights)
        library.calls.dream(library.products(0, 0)[0], some, rows, horizon, *given, *places, room.data_ptr())

    over_rows(run, rows)
    return states, actions


def draw(logits: Tensor, uniform: Tensor, unimix: float) -> Tensor:
    """`CategoricalDist.sample`: one-hot samples (..., groups, classes) from uniform numbers (..., groups)."""
    rows, chance = logits.reshape(-1, *logits.shape[-2:]).contiguous(), uniform.contiguous()
    sample: Tensor = _Draw.apply(rows, chance, unimix)  # type: ignore[no-untyped-call]
    return sample.view(logits.shape)


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
