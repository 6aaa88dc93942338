"""The step-by-step part of the sequence model, fused: filtering with a hand-written backward pass, and dreaming.

What depends on observations and actions alone is multiplied once for all steps before the loop; the gradients of the
weights are one product over all steps after it. Only what really needs the step before is inside the loops.
Categorical latents, RMS norm and SiLU only; `SequenceModel` takes its plain way otherwise.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dreamer import kernels
from dreamer.parallel import over_rows, parts


@dataclass(frozen=True)
class Shape:
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


class _Filter(Function):
    """(embed part, action part (time, batch, units), h (batch, hidden), z (batch, latent)) -> (features, logits).

    features (time, batch, hidden + latent), logits (time, batch, groups, classes). The parts are the products of the
    first layers with embeddings and actions; no gradient goes to the state before the first step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        shape: Shape,
        embed_part: Tensor,
        action_part: Tensor,
        forget: Tensor,
        h: Tensor,
        z: Tensor,
        uniform: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """weights: of z, scale; of the cell, scale; of h towards the posterior, scale; of the posterior, bias."""
        w_z, s_in, w_cell, s_cell, w_post, s_post, w_out, b_out = weights
        time, batch, units = action_part.shape
        new, size = action_part.new_empty, shape.hidden
        into, gates = new(time, batch, units), new(time, batch, 3 * size)
        joined, before = new(time, batch, units + size), new(time, batch, shape.latent)
        post, outs = new(time, batch, units), new(time, batch, units)
        seen, logits = new(time, batch, size + shape.latent), new(time, batch, shape.groups, shape.classes)
        soft, inverses = torch.empty_like(logits), new(3, time, batch, 1)
        any_new = forget.any(1).tolist()
        for t in range(time):
            before[t], joined[t, :, units:] = z, h
            if any_new[t]:
                before[t].masked_fill_(forget[t, :, None], 0.0)
                joined[t, :, units:].masked_fill_(forget[t, :, None], 0.0)
            h, z = seen[t, :, :size], seen[t, :, size:]
            torch.addmm(action_part[t], before[t], w_z.t(), out=into[t])
            kernels.norm_silu_(into[t], s_in, shape.epsilon, joined[t, :, :units], inverses[0, t])
            torch.mm(joined[t], w_cell.t(), out=gates[t])
            kernels.gru_(gates[t], s_cell, shape.epsilon, joined[t, :, units:], h, inverses[1, t])
            torch.addmm(embed_part[t], h, w_post.t(), out=post[t])
            kernels.norm_silu_(post[t], s_post, shape.epsilon, outs[t], inverses[2, t])
            torch.addmm(b_out, outs[t], w_out.t(), out=logits[t].view(batch, -1))
            soft[t], _ = kernels.draw_one_hot(logits[t], uniform[t], shape.unimix, z)
        ctx.save_for_backward(*weights, forget, into, gates, joined, before, post, outs, seen, soft, inverses)
        ctx.shape, ctx.any_new = shape, any_new
        return seen, logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dseen: Tensor, dlogits: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both parts and of the weights."""
        w_z, s_in, w_cell, s_cell, w_post, s_post, w_out, _, forget, *kept = ctx.saved_tensors
        into, gates, joined, before, post, outs, seen, soft, inverses = kept
        shape, (time, _, units) = ctx.shape, into.shape
        dlogits = dlogits.clone(memory_format=torch.contiguous_format)
        ds_in, ds_cell, ds_post = (torch.zeros_like(scale) for scale in (s_in, s_cell, s_post))
        dinto, dgates, dpost = torch.empty_like(into), torch.empty_like(gates), torch.empty_like(post)
        dh, dz = dseen[-1, :, : shape.hidden].contiguous(), dseen[-1, :, shape.hidden :].contiguous()
        for t in reversed(range(time)):
            kernels.straight_through_(dlogits[t], dz, soft[t], shape.unimix)
            dout = dlogits[t].flatten(1) @ w_out
            dpost[t] = kernels.norm_silu_backward(dout, post[t], s_post, inverses[2, t], ds_post)
            dh = torch.addmm(dh, dpost[t], w_post)
            dgates[t], dh = kernels.gru_backward(
                dh, gates[t], s_cell, inverses[1, t], joined[t, :, units:], ds_cell
            )
            djoined = dgates[t] @ w_cell
            dinto[t] = kernels.norm_silu_backward(djoined[:, :units], into[t], s_in, inverses[0, t], ds_in)
            if t == 0:
                break
            dz, dh = dinto[t] @ w_z, dh.add_(djoined[:, units:])
            if ctx.any_new[t]:
                dz.masked_fill_(forget[t, :, None], 0.0)
                dh.masked_fill_(forget[t, :, None], 0.0)
            dz += dseen[t - 1, :, shape.hidden :]
            dh += dseen[t - 1, :, : shape.hidden]
        rows = dlogits.flatten(2).flatten(0, 1)
        h = seen.flatten(0, 1)[:, : shape.hidden]
        gradients = [_product(dinto, before), ds_in, _product(dgates, joined), ds_cell]
        gradients += [dpost.flatten(0, 1).t() @ h, ds_post, _product(rows, outs), rows.sum(0)]
        return None, dpost, dinto, None, None, None, None, *gradients


def _product(gradient: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight, over all steps at once."""
    return gradient.reshape(-1, gradient.shape[-1]).t() @ inputs.flatten(0, 1)


def filter_sequence(
    weights: Weights,
    shape: Shape,
    embeds: Tensor,
    actions: Tensor,
    is_first: Tensor,
    state: dict[str, Tensor],
    generator: Generator | None,
) -> dict[str, Tensor]:
    """`SequenceModel.observe_sequence` without the priors: states (time, batch, ...)."""
    w = weights
    actions = actions.masked_fill(is_first[..., None], 0.0)
    action_part = actions @ w.input[:, shape.latent :].t()
    embed_part = embeds @ w.posterior[:, shape.hidden :].t()
    uniform = torch.rand(*actions.shape[:2], shape.groups, generator=generator, device=actions.device)
    seen, logits = _Filter.apply(  # type: ignore[no-untyped-call]
        *(shape, embed_part, action_part, is_first, state["h"].detach(), state["z"].detach(), uniform),
        *(w.input[:, : shape.latent], w.input_scale, w.cell, w.cell_scale),
        *(w.posterior[:, : shape.hidden], w.posterior_scale, w.posterior_out, w.posterior_bias),
    )
    h, z = torch.split(seen, [shape.hidden, shape.latent], -1)
    return {"h": h, "z": z, "logits": logits, "joined": seen}


class DreamStep:
    """One step of the dream, with weights laid out once and places for all that is in between.

    The sampled z is looked up, not multiplied.
    """

    def __init__(self, weights: Weights, shape: Shape, batch: int) -> None:
        self.shape, self._weights = shape, weights
        w_in = weights.input.detach().t().contiguous()
        self._w_z, self._w_action = w_in[: shape.latent], w_in[shape.latent :]
        matrices = (weights.cell, weights.prior, weights.prior_out)
        self._cell, self._prior, self._out = (matrix.detach().t().contiguous() for matrix in matrices)
        new, units, inner = w_in.new_empty, w_in.shape[1], self._prior.shape[1]
        self._into, self._gates, self._inverse = new(batch, units), new(batch, 3 * shape.hidden), new(batch, 1)
        self._joined = new(batch, units + shape.hidden)
        self._x, self._before = self._joined[:, :units], self._joined[:, units:]
        self._inner, self._activated = new(2, batch, inner)
        self._logits = new(batch, shape.latent)

    def __call__(
        self, state: Tensor, index: Tensor | None, action: Tensor, uniform: Tensor, out: Tensor
    ) -> Tensor:
        """From features (batch, hidden + latent) to the next ones in ``out``; returns the drawn index (batch, groups).

        index is what the last step returned, None if the state's z is not known to be one-hot.
        """
        shape, w, inverse = self.shape, self._weights, self._inverse
        torch.mm(action, self._w_action, out=self._into)
        if index is None:
            self._into.addmm_(state[:, shape.hidden :], self._w_z)
        else:
            kernels.add_rows_(self._into, index, self._w_z)
        self._before.copy_(state[:, : shape.hidden])
        h = out[:, : shape.hidden]
        kernels.norm_silu_(self._into, w.input_scale, shape.epsilon, self._x, inverse)
        torch.mm(self._joined, self._cell, out=self._gates)
        kernels.gru_(self._gates, w.cell_scale, shape.epsilon, self._before, h, inverse)
        torch.mm(h, self._prior, out=self._inner)
        kernels.norm_silu_(self._inner, w.prior_scale, shape.epsilon, self._activated, inverse)
        torch.addmm(w.prior_bias, self._activated, self._out, out=self._logits)
        logits = self._logits.view(-1, shape.groups, shape.classes)
        return kernels.draw_one_hot(logits, uniform, shape.unimix, out[:, shape.hidden :])[1]


class DreamSteps:
    """Steps of the dream of a large batch, in parts side by side; see `DreamStep`."""

    def __init__(self, weights: Weights, shape: Shape, batch: int) -> None:
        self._steps = {part.start: DreamStep(weights, shape, part.stop - part.start) for part in parts(batch)}

    def __call__(self, state: Tensor, index: Tensor | None, action: Tensor, uniform: Tensor, out: Tensor) -> Tensor:
        """As `DreamStep`, for the whole batch."""

        def run(part: slice) -> Tensor:
            known = None if index is None else index[part]
            return self._steps[part.start](state[part], known, action[part], uniform[part], out[part])

        done = over_rows(run, len(state))
        return done[0] if len(done) == 1 else torch.cat(done)
