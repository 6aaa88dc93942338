"""What a world model and a behaviour are made of, with hand-written gradients: a few passes over memory instead of one
per operation.

Equal results to the plain modules within rounding (tests: speed/test_fused.py). A perceptron is walked through in
blocks of rows that stay in the cache, by one call of compiled code (chains.c).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer.speed.native import PERCEPTRON_ROWS, chains, pointers
from dreamer.speed.parallel import over_rows


class _Kept(NamedTuple):
    """What a perceptron's hidden layers leave behind, each (layers, rows, ...): normalised sums, outputs, 1 / rms."""

    sums: Tensor
    outs: Tensor
    inverses: Tensor

    @classmethod
    def room(cls, like: Tensor, rows: int, weights: Sequence[Tensor]) -> "_Kept":
        """Uninitialised, for so many rows."""
        layers, units = len(weights) // 2 - 1, weights[0].shape[0]
        return cls(*(like.new_empty(layers, rows, width) for width in (units, units, 1)))

    def of(self, rows: slice) -> "_Kept":
        """The part that belongs to some of the rows."""
        return _Kept(*(table[:, rows] for table in self))


class _WayBack(NamedTuple):
    """What a perceptron's backward pass starts from, and where the gradient of x goes if that is wanted."""

    x: Tensor
    kept: _Kept
    dresult: Tensor
    dx: Tensor | None

    def of(self, rows: slice) -> "_WayBack":
        """The part that belongs to some of the rows."""
        dx = None if self.dx is None else self.dx[rows]
        return _WayBack(self.x[rows], self.kept.of(rows), self.dresult[rows], dx)


class _Perceptron(Function):
    """x (rows, inputs) -> (rows, outputs) through layers of Linear, RMS norm and SiLU, and a last Linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of each hidden layer, then matrix and bias of the last."""
        kept, result = _Kept.room(x, len(x), weights), x.new_empty(len(x), len(weights[-1]))

        def run(part: slice) -> None:
            _forward(x[part], epsilon, weights, kept.of(part), result[part])

        over_rows(run, len(x))
        ctx.save_for_backward(x, *kept, *weights)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dresult: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it wants one, and of all weights."""
        x, sums, outs, inverses, *weights = ctx.saved_tensors
        dx = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        way = _WayBack(x, _Kept(sums, outs, inverses), dresult.contiguous(), dx)

        def run(part: slice) -> list[Tensor]:
            gradients = [torch.zeros_like(weight) for weight in weights]
            _backward(way.of(part), weights, gradients)
            return gradients

        gradients, *others = over_rows(run, len(x))
        for other in others:
            torch._foreach_add_(gradients, other)
        return dx, None, *gradients


def _forward(
    x: Tensor, epsilon: float, weights: Sequence[Tensor], kept: _Kept, result: Tensor, *, keep: bool = True
) -> None:
    """Fill ``result`` and, for the way back, ``kept``; with keep off that is only room for one block."""
    sizes = (len(x), len(kept.sums), x.shape[1], kept.sums.shape[-1], result.shape[1])
    given = (x.data_ptr(), x.stride(0), pointers(weights), *(table.data_ptr() for table in kept))
    library = chains()
    library.calls.perceptron_forward(library.gemm, *sizes, epsilon, *given, _layer_rows(kept), keep, result.data_ptr())


def _backward(way: _WayBack, weights: Sequence[Tensor], gradients: list[Tensor]) -> None:
    """Add the weights' gradients, and write that of x where it is wanted."""
    x, kept, dresult, dx = way
    sizes = (len(x), len(kept.sums), x.shape[1], kept.sums.shape[-1], dresult.shape[1])
    given = (x.data_ptr(), x.stride(0), pointers(weights), pointers(gradients))
    room = x.new_empty(2, PERCEPTRON_ROWS, kept.sums.shape[-1])
    library = chains()
    library.calls.perceptron_backward(
        *(library.gemm, *sizes, *given, *(table.data_ptr() for table in kept), _layer_rows(kept)),
        *(dresult.data_ptr(), room.data_ptr(), None if dx is None else dx.data_ptr()),
    )


class _Advance(Function):
    """x (rows, inputs), h (rows, hidden) -> the next h, through the input layer and the recurrent cell."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of the input layer, matrix and scale of the cell."""
        x, h = x.contiguous(), h.contiguous()
        rows, units, hidden, library = len(x), len(weights[1]), h.shape[1], chains()
        kept = [x.new_empty(size, rows) for size in (units, units + hidden, 3 * hidden, 2)]
        after = torch.empty_like(h)
        places = [table.data_ptr() for table in (x, h)]
        rest = [table.data_ptr() for table in (*kept, after)]
        sizes = rows, x.shape[1], units, hidden
        library.calls.advance_forward(library.gemm, *sizes, epsilon, *places, pointers(weights), *rest)
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
        result = _infer(rows, epsilon, weights)
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


def _infer(x: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    """The forward pass alone, which keeps nothing."""
    result = x.new_empty(len(x), len(weights[-1]))

    def run(part: slice) -> None:
        room = _Kept.room(x, min(PERCEPTRON_ROWS, part.stop - part.start), weights)
        _forward(x[part], epsilon, weights, room, result[part], keep=False)

    over_rows(run, len(x))
    return result


def _layer_rows(kept: _Kept) -> int:
    """Rows between one layer's table and the next."""
    return kept.inverses.stride(0)


def laprop_(
    weights: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    means: list[Tensor],
    factors: list[float],
    *numbers: float,
) -> None:
    """One step of LaProp on many contiguous tensors; see `dreamer.optimizer.laprop_`."""
    step = chains().calls.laprop_step
    for weight, *others, factor in zip(weights, gradients, squares, means, factors, strict=True):
        step(weight.numel(), weight.data_ptr(), *(tensor.data_ptr() for tensor in others), factor, *numbers)
        torch.autograd.graph.increment_version(weight)  # what is laid out for play has to be laid out anew
