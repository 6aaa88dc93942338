"""Perceptrons and the KL with hand-written gradients: a few passes over memory instead of one per operation.

Equal results to the plain modules within rounding (tests/dreamer/test_fused.py). A perceptron is walked through in
blocks of rows that stay in the cache.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer import kernels
from dreamer.parallel import over_rows

ROWS = 512  # of a block; 512 rows of 256 float32 are half a megabyte


class _Perceptron(Function):
    """x (rows, inputs) -> (rows, outputs) through layers of Linear, RMS norm and SiLU, and a last Linear."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float, *weights: Tensor) -> Tensor:
        """weights: matrix and scale of each hidden layer, then matrix and bias of the last."""
        hidden, last = _layers(weights)
        sizes = [matrix.shape[0] for matrix, _ in hidden]
        sums, outs = ([x.new_empty(len(x), size) for size in sizes] for _ in range(2))
        inverses = [x.new_empty(len(x), 1) for _ in sizes]
        result = x.new_empty(len(x), last[0].shape[0])

        def run(part: slice) -> None:
            for rows in _blocks(part):
                seen = x[rows]
                for (matrix, scale), y, out, inverse in zip(hidden, sums, outs, inverses, strict=True):
                    torch.mm(seen, matrix.t(), out=y[rows])
                    kernels.norm_silu_(y[rows], scale, epsilon, out[rows], inverse[rows])
                    seen = out[rows]
                torch.addmm(last[1], seen, last[0].t(), out=result[rows])

        over_rows(run, len(x))
        ctx.save_for_backward(x, *weights, *sums, *outs, *inverses)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dresult: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, if it wants one, and of all weights."""
        x, *rest = ctx.saved_tensors
        depth = (len(rest) - 2) // 5
        weights, kept = rest[: 2 * depth + 2], rest[2 * depth + 2 :]
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None

        def run(part: slice) -> list[Tensor]:
            gradients = [torch.zeros_like(weight) for weight in weights]
            for rows in _blocks(part):
                inputs = [x[rows], *[out[rows] for out in kept[depth : 2 * depth]]]
                between = [(kept[i][rows], kept[2 * depth + i][rows]) for i in range(depth)]
                _backward_block(dresult[rows], inputs, between, weights, gradients, None if dx is None else dx[rows])
            return gradients

        gradients, *others = over_rows(run, len(x))
        for other in others:
            torch._foreach_add_(gradients, other)
        return dx, None, *gradients


def _backward_block(
    dresult: Tensor,
    inputs: list[Tensor],
    between: list[tuple[Tensor, Tensor]],
    weights: list[Tensor],
    gradients: list[Tensor],
    dx: Tensor | None,
) -> None:
    """Add the weights' gradients of one block of rows, and write that of its x.

    inputs: of each layer; between: the normalised sums and 1 / rms of each hidden layer.
    """
    hidden, last = _layers(weights)
    dhidden, dlast = _layers(gradients)
    dlast[0].addmm_(dresult.t(), inputs[-1])
    dlast[1].add_(dresult.sum(0))
    dout = dresult @ last[0]
    for layer in reversed(range(len(hidden))):
        matrix, scale = hidden[layer]
        dmatrix, dscale = dhidden[layer]
        y, inverse = between[layer]
        dy = kernels.norm_silu_backward(dout, y, scale, inverse, dscale)
        dmatrix.addmm_(dy.t(), inputs[layer])
        if layer:
            dout = dy @ matrix
        elif dx is not None:
            torch.mm(dy, matrix, out=dx)


class _CategoricalKL(Function):
    """Both one-sided KL terms at once: they have the same value and part only in their gradients."""

    @staticmethod
    def forward(ctx: Any, posterior: Tensor, prior: Tensor, unimix: float) -> tuple[Tensor, Tensor]:
        """logits (rows, groups, classes) -> (KL for the prior to learn, KL for the posterior), each (rows,)."""
        kl, *soft = kernels.categorical_kl(posterior, prior, unimix)
        ctx.save_for_backward(*soft)
        ctx.unimix = unimix
        return kl, kl.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dprior: Tensor, dposterior: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients at the logits of posterior and prior."""
        one, two = ctx.saved_tensors
        grads = dposterior.contiguous(), dprior.contiguous()
        return *kernels.categorical_kl_backward(one, two, *grads, ctx.unimix), None


def run_perceptron(x: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    """The fused perceptron on x (..., inputs): (..., outputs)."""
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if not torch.is_grad_enabled():
        result = _infer(rows, epsilon, weights)
    else:
        result = _Perceptron.apply(rows, epsilon, *weights)  # type: ignore[no-untyped-call]
    return result if x.ndim == 2 else result.view(*x.shape[:-1], -1)


def categorical_kls(posterior: Tensor, prior: Tensor, unimix: float) -> tuple[Tensor, Tensor]:
    """(dynamics, representation) KL (...) of logits (..., groups, classes), with one-sided gradients."""
    shape = posterior.shape
    rows = [logits.reshape(-1, *shape[-2:]) for logits in (posterior, prior)]
    dynamics, representation = _CategoricalKL.apply(*rows, unimix)  # type: ignore[no-untyped-call]
    return dynamics.view(shape[:-2]), representation.view(shape[:-2])


def _infer(x: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    """The forward pass alone, which keeps nothing."""

    def run(part: slice) -> Tensor:
        blocks = [_infer_block(x[rows], epsilon, weights) for rows in _blocks(part)]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    done = over_rows(run, len(x))
    return done[0] if len(done) == 1 else torch.cat(done)


def _infer_block(x: Tensor, epsilon: float, weights: Sequence[Tensor]) -> Tensor:
    hidden, (matrix, bias) = _layers(weights)
    inverse = x.new_empty(len(x), 1)
    for w, scale in hidden:
        y = torch.mm(x, w.t())
        kernels.norm_silu_(y, scale, epsilon, x := torch.empty_like(y), inverse)
    return torch.addmm(bias, x, matrix.t())


def _blocks(part: slice) -> list[slice]:
    count = max(1, -(-(part.stop - part.start) // ROWS))
    edges = [part.start + (part.stop - part.start) * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def _layers(weights: Any) -> tuple[list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    return pairs[:-1], pairs[-1]
