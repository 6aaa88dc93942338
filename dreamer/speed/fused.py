"""What a world model and a behaviour are made of, with hand-written gradients and few passes over memory.

Equal results to the plain modules within rounding (tests: speed/test_fused.py). A perceptron is walked through in
blocks of rows that stay in the cache, by one call of compiled code (chains.c).
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer.speed.native import FLAGS, Code, gemm, load, pointers
from dreamer.speed.parallel import over_rows

PERCEPTRON_ROWS = 512  # of a block that goes through a perceptron; 512 rows of 256 float32 are half a megabyte
Many = Sequence[Tensor]
CHAINS = Code(
    "chains.c",
    ("kernels.c", "scalars.h"),
    (*FLAGS, f"-DPERCEPTRON_ROWS={PERCEPTRON_ROWS}"),
    {
        "perceptron_forward": "piiiiifpippppiip",
        "perceptron_backward": "piiiiipipppppippp",
        "advance_forward": "piiiifpppppppp",
        "advance_backward": "piiiippppppppppp",
        "draw_forward": "iiifpppp",
        "draw_backward": "iifppp",
        "kl_forward": "iiifppppp",
        "kl_backward": "iiifpppppp",
        "laprop_step": "ippppffffff",
    },
)


class Library(NamedTuple):
    """The compiled chains, and the address of the matrix product that they are to use."""

    calls: ctypes.CDLL
    gemm: int


@cache
def load_chains() -> Library | None:
    """The chains of an update; None where they cannot be built, or torch's library does not offer its sgemm."""
    calls = load(CHAINS)
    try:
        return None if calls is None else Library(calls, gemm())
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
    def forward(ctx: Any, x: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of each hidden layer, then matrix and bias of the last."""
        kept = _room(x, len(x), weights)
        ctx.save_for_backward(x, *kept, *weights)
        return _forward(x, epsilon, weights, kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dresult: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it wants one, and of all weights."""
        (x, *saved), library, dresult = ctx.saved_tensors, chains(), dresult.contiguous()
        kept, weights = saved[:3], saved[3:]
        dx = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        (layers, rows, units), outputs = kept[0].shape, dresult.shape[1]

        def run(part: slice) -> list[Tensor]:
            room, some = x.new_empty(2, PERCEPTRON_ROWS, units), x[part]
            gradients = _gradients(weights, len(some))
            sizes = len(some), layers, x.shape[1], units, outputs
            given = some.data_ptr(), x.stride(0), pointers(weights), pointers(gradients)
            places = *(table[:, part].data_ptr() for table in kept), rows, dresult[part].data_ptr(), room.data_ptr()
            wanted = None if dx is None else dx[part].data_ptr()
            library.calls.perceptron_backward(library.gemm, *sizes, *given, *places, wanted)
            return gradients

        gradients, *others = over_rows(run, rows)
        for other in others:
            torch._foreach_add_(gradients, other)
        return dx, None, *gradients


def _gradients(weights: Sequence[Tensor], rows: int) -> list[Tensor]:
    """Room for gradients: vectors are added to, matrices are written, if there are any rows."""
    return [torch.empty_like(w) if w.ndim == 2 and rows else torch.zeros_like(w) for w in weights]


def _room(x: Tensor, rows: int, weights: Sequence[Tensor]) -> list[Tensor]:
    """For what hidden layers leave behind, each (layers, rows, ...): normalised sums, outputs, 1 / rms."""
    layers, units = len(weights) // 2 - 1, weights[0].shape[0]
    return [x.new_empty(layers, rows, width) for width in (units, units, 1)]


def _forward(x: Tensor, epsilon: float, weights: Sequence[Tensor], kept: list[Tensor] | None) -> Tensor:
    """The perceptron's result; what the way back needs is written to ``kept``, if that is wanted."""
    result, library = x.new_empty(len(x), len(weights[-1])), chains()

    def run(part: slice) -> None:
        some = x[part]
        block = min(PERCEPTRON_ROWS, len(some))
        tables = _room(x, block, weights) if kept is None else [table[:, part] for table in kept]
        sizes = len(some), len(tables[0]), x.shape[1], tables[0].shape[-1], result.shape[1]
        given = some.data_ptr(), x.stride(0), pointers(weights), *(table.data_ptr() for table in tables)
        layer_rows = block if kept is None else len(x)
        rest = layer_rows, kept is not None, result[part].data_ptr()
        library.calls.perceptron_forward(library.gemm, *sizes, epsilon, *given, *rest)

    over_rows(run, len(x))
    return result


class _Advance(Function):
    """x (rows, inputs), h (rows, hidden) -> the next h, through the input layer and the recurrent cell."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of the input layer, matrix and scale of the cell."""
        x, h = x.contiguous(), h.contiguous()
        rows, units, hidden, library = len(x), len(weights[1]), h.shape[1], chains()
        kept = [x.new_empty(size, rows) for size in (units, units + hidden, 3 * hidden, 2)]
        after = torch.empty_like(h)
        given = rows, x.shape[1], units, hidden, epsilon, x.data_ptr(), h.data_ptr(), pointers(weights)
        library.calls.advance_forward(library.gemm, *given, *(table.data_ptr() for table in (*kept, after)))
        ctx.save_for_backward(x, *kept, *weights)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dafter: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, h and all weights."""
        x, *saved = ctx.saved_tensors
        kept, weights, library = saved[:4], saved[4:], chains()
        dafter = dafter.contiguous()
        gradients, dx, dh = (
            [torch.zeros_like(weight) for weight in weights],
            torch.empty_like(x),
            torch.empty_like(dafter),
        )
        (rows, inputs), units, hidden = x.shape, len(weights[1]), dafter.shape[1]
        room = x.new_empty(rows, 4 * hidden + 2 * units)
        places = [table.data_ptr() for table in (*kept, dafter, room, dx, dh)]
        given = rows, inputs, units, hidden, x.data_ptr(), pointers(weights), pointers(gradients)
        library.calls.advance_backward(library.gemm, *given, *places)
        return dx, dh, None, *gradients


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


def run_perceptron(x: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    """The fused perceptron on x (..., inputs): (..., outputs)."""
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if rows.stride(1) != 1 or rows.stride(0) < rows.shape[1]:
        rows = rows.clone(memory_format=torch.contiguous_format)  # .contiguous() leaves the strides of one row
    if not torch.is_grad_enabled():
        result = _forward(rows, epsilon, weights, None)
    else:
        result = _Perceptron.apply(rows, epsilon, *weights)  # type: ignore[no-untyped-call]
    return result if x.ndim == 2 else result.view(*x.shape[:-1], -1)


def advance(x: Tensor, h: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    """`SequenceModel`'s step of the memory: the next h (batch, hidden) from what its input layer sees and from h."""
    after: Tensor = _Advance.apply(x, h, epsilon, *weights)  # type: ignore[no-untyped-call]
    return after


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
