"""The step-by-step part of the sequence model, fused: filtering with a hand-written backward pass, and dreaming.

What depends on observations and actions alone is multiplied once for all steps before the loop; the gradients of the
weights are one product over all steps after it. Only what really needs the step before is inside the loops.
Categorical latents, RMS norm and SiLU only; `SequenceModel` takes its plain way otherwise.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer.speed.native import chains, pointers
from dreamer.speed.parallel import over_rows, parts


class Shape(NamedTuple):
    """The numbers that a pass needs beside its tensors."""

    hidden: int
    groups: int
    classes: int
    unimix: float
    epsilon: float

    @property
    def latent(self) -> int:
        """Size of z."""
        return self.groups * self.classes

    def grouped(self, z: Tensor) -> Tensor:
        """z or its logits (..., latent) as (..., groups, classes)."""
        return z.view(*z.shape[:-1], self.groups, self.classes)


class Weights(NamedTuple):
    """The weights of a sequence model, matrices (outputs, inputs): each layer's matrix and the scale of its norm."""

    input: Tensor
    input_scale: Tensor
    cell: Tensor
    cell_scale: Tensor
    posterior: Tensor
    posterior_scale: Tensor
    posterior_out: Tensor
    posterior_bias: Tensor
    prior: Tensor
    prior_scale: Tensor
    prior_out: Tensor
    prior_bias: Tensor


class _Kept(NamedTuple):
    """What the filter leaves behind for its way back, (time, batch, ...) but for inverses (3, time, batch, 1)."""

    into: Tensor
    gates: Tensor
    joined: Tensor
    before: Tensor
    post: Tensor
    outs: Tensor
    seen: Tensor
    logits: Tensor
    soft: Tensor
    inverses: Tensor

    @classmethod
    def room(cls, shape: Shape, action_part: Tensor) -> "_Kept":
        """Uninitialised."""
        units, size, latent = action_part.shape[-1], shape.hidden, shape.latent
        widths = (units, 3 * size, units + size, latent, units, units, size + latent, latent, latent)
        steps = action_part.shape[:2]
        return cls._make(
            [*(action_part.new_empty(*steps, width) for width in widths), action_part.new_empty(3, *steps, 1)]
        )


class _Gradients(NamedTuple):
    """At the input layer, the gates and the posterior's layer of each step, and at the three scales."""

    into: Tensor
    gates: Tensor
    post: Tensor
    input_scale: Tensor
    cell_scale: Tensor
    post_scale: Tensor


class _Filter(Function):
    """(embed part, action part (time, batch, units), h (batch, hidden), z (batch, latent)) -> (features, logits).

    features (time, batch, hidden + latent), logits (time, batch, groups * classes). The parts are the products of the
    first layers with embeddings and actions; no gradient goes to the state before the first step.
    """

    @staticmethod
    def forward(ctx: Any, shape: Shape, forget: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """tensors: embed part, action part, h, z, uniform; then weights: of z, scale; of the cell, scale; of h
        towards the posterior, scale; of the posterior, bias."""
        (forget, *parts), weights = [part.contiguous() for part in (forget, *tensors[:5])], tensors[5:]
        kept = _Kept.room(shape, parts[1])
        numbers = (*_sizes(kept, shape), shape.unimix, shape.epsilon, forget.data_ptr(), pointers(parts))
        room = torch.empty(forget.shape[1], shape.groups, dtype=torch.int32)
        given = (weights[0].stride(0), weights[4].stride(0), pointers(weights), pointers(kept), room.data_ptr())
        library = chains()
        library.calls.filter_forward(library.gemm, *numbers, *given)
        ctx.save_for_backward(*weights, forget, *kept)
        ctx.shape = shape
        return kept.seen, kept.logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dseen: Tensor, dlogits: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both parts and of the weights."""
        saved, shape = ctx.saved_tensors, ctx.shape
        weights, forget, kept = saved[:8], saved[8], _Kept(*saved[9:])
        dseen, dlogits = dseen.contiguous(), dlogits.clone(memory_format=torch.contiguous_format)
        steps = [torch.empty_like(table) for table in (kept.into, kept.gates, kept.post)]
        found = _Gradients._make([*steps, *(torch.zeros_like(scale) for scale in (weights[1], weights[3], weights[5]))])
        numbers = (*_sizes(kept, shape), shape.unimix, *(t.data_ptr() for t in (forget, dseen, dlogits)))
        room = kept.into.new_empty(forget.shape[1], 3 * shape.hidden + shape.latent + 2 * kept.into.shape[-1])
        given = (weights[0].stride(0), weights[4].stride(0), pointers(weights), pointers(kept), pointers(found))
        library = chains()
        library.calls.filter_backward(library.gemm, *numbers, *given, room.data_ptr())
        h = kept.seen.flatten(0, 1)[:, : shape.hidden]
        gradients = [_product(found.into, kept.before), found.input_scale]
        gradients += [_product(found.gates, kept.joined), found.cell_scale]
        gradients += [found.post.flatten(0, 1).t() @ h, found.post_scale]
        gradients += [_product(dlogits, kept.outs), dlogits.sum((0, 1))]
        return None, None, found.post, found.into, None, None, None, *gradients


def _sizes(kept: _Kept, shape: Shape) -> tuple[int, ...]:
    """As chains.c wants them."""
    return *kept.into.shape, shape.hidden, shape.groups, shape.classes


def _product(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight, over all steps at once."""
    return gradient.reshape(-1, gradient.shape[-1]).t() @ inputs.flatten(0, 1)


def filter_sequence(
    weights: Sequence[Tensor],
    numbers: tuple[int, int, int, float, float],
    embeds: Tensor,
    actions: Tensor,
    is_first: Tensor,
    state: dict[str, Tensor],
    generator: Generator | None,
) -> dict[str, Tensor]:
    """`SequenceModel.observe_sequence` without the priors: states (time, batch, ...).

    weights and numbers in the order of `Weights` and `Shape`; actions: all that the input layer sees beside z, with
    what is_first forgets zero already.
    """
    w, shape = Weights(*weights), Shape(*numbers)
    action_part = actions @ w.input[:, shape.latent :].t()
    embed_part = embeds @ w.posterior[:, shape.hidden :].t()
    uniform = torch.rand(*actions.shape[:2], shape.groups, generator=generator, device=actions.device)
    seen, logits = _Filter.apply(  # type: ignore[no-untyped-call]
        *(shape, is_first, embed_part, action_part, state["h"].detach(), state["z"].detach(), uniform),
        *(w.input[:, : shape.latent], w.input_scale, w.cell, w.cell_scale),
        *(w.posterior[:, : shape.hidden], w.posterior_scale, w.posterior_out, w.posterior_bias),
    )
    h, z = torch.split(seen, [shape.hidden, shape.latent], -1)
    return {"h": h, "z": z, "logits": shape.grouped(logits), "joined": seen}


class DreamStep:
    """One step of the dream, with weights laid out once and room for all that is in between.

    The sampled z is looked up, not multiplied.
    """

    def __init__(self, weights: Weights, shape: Shape, batch: int) -> None:
        self.shape, self._weights = shape, Weights(*(weight.detach() for weight in weights))
        self._table = self._weights.input.t().contiguous()
        widths = self._widths(self._table.shape[1])
        self._room = self._table.new_empty(batch * sum(widths))

    def _widths(self, units: int) -> tuple[int, ...]:
        """Of the tables of a step, in the order of chains.c."""
        size, latent = self.shape.hidden, self.shape.latent
        return units, units + size, 3 * size, units, units, latent, latent, 1

    def __call__(self, state: Tensor, index: Tensor | None, action: Tensor, uniform: Tensor, out: Tensor) -> Tensor:
        """From features (batch, hidden + latent) to the next ones in ``out``; returns the drawn index (batch, groups).

        index is what the last step returned, None if the state's z is not known to be one-hot.
        """
        shape, weights, (units, actions) = self.shape, self._weights, (self._table.shape[1], action.shape[1])
        drawn = torch.empty(len(state), shape.groups, dtype=torch.int32)
        sizes = (len(state), actions, units, shape.hidden, shape.groups, shape.classes, shape.unimix, shape.epsilon)
        known = None if index is None else index.data_ptr()
        given = (known, action.data_ptr(), uniform.data_ptr(), pointers(weights), self._table.data_ptr())
        library = chains()
        library.calls.dream_step(
            *(library.gemm, *sizes, state.data_ptr(), state.stride(0), *given),
            *(self._room.data_ptr(), out.data_ptr(), out.stride(0), drawn.data_ptr()),
        )
        return drawn


class DreamSteps:
    """Steps of the dream of a large batch, in parts side by side; see `DreamStep`."""

    def __init__(self, weights: Sequence[Tensor], numbers: tuple[int, int, int, float, float], batch: int) -> None:
        """weights and numbers in the order of `Weights` and `Shape`."""
        shape = Shape(*numbers)
        self._steps = {part.start: DreamStep(Weights(*weights), shape, part.stop - part.start) for part in parts(batch)}

    def __call__(self, state: Tensor, index: Tensor | None, action: Tensor, uniform: Tensor, out: Tensor) -> Tensor:
        """As `DreamStep`, for the whole batch."""

        def run(part: slice) -> Tensor:
            known = None if index is None else index[part]
            return self._steps[part.start](state[part], known, action[part], uniform[part], out[part])

        done = over_rows(run, len(state))
        return done[0] if len(done) == 1 else torch.cat(done)
