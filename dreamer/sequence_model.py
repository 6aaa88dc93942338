"""The dreaming core: a recurrent state-space model (RSSM).

A latent state is a dict of tensors with leading batch axes: ``h`` (hidden) is the deterministic memory, ``z`` the
stochastic part, flattened, and with ``model.observed`` ``o`` the normalised observation itself and the steps since the
round began; beside them stand the parameters of the distribution that z was drawn from (``logits``, or ``mean`` and
``std``). ``joined``, where it is there, holds h, z and o side by side already. A state is always passed in and out,
never kept.

With ``o`` the equations of a step under action a are

    h' = cell(h, input([z, o, a]))
    z' ~ prior(h') in the dream, ~ posterior([h', embed(o', o)]) where o' is seen
    o' = predict([h', z'], o, a) in the dream (dreamer/observation.py), the observation itself where it is seen

so what is seen is known exactly and z is left with what the past does not tell.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dreamer.config import LossConfig, ModelConfig
from dreamer.distributions import CategoricalDist, GaussianDist, repeated
from dreamer.fast import native
from dreamer.networks import RecurrentCell, build_block, build_mlp
from dreamer.observation import NextObservation

State = dict[str, Tensor]
Latent = CategoricalDist | GaussianDist
FREE_NATS = 1.0
"""KL below which neither term has a gradient (DreamerV3): the posterior is not pulled to what is known already."""


class ActionDist(Protocol):
    """What a policy answers with."""

    def sample(self, generator: Generator | None = None) -> Tensor:
        """An action (..., action) in [-1, 1]."""

    def draw(self, noise: Tensor) -> Tensor:
        """The sample that ``noise`` (..., action) makes: uniform or standard normal, as the distribution needs it."""

    def mode(self) -> Tensor:
        """The preferred action (..., action)."""

    def likeliest(self, count: int) -> tuple[Tensor, Tensor]:
        """``count`` likely actions (count, action), the mode first, and their log likelihoods less its (count,)."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Log probability or density of an action: (...)."""

    def cross_entropy(self, action: Tensor) -> Tensor:
        """What an action (..., action) costs a policy that is to imitate it: (...)."""

    def entropy(self, generator: Generator | None = None) -> Tensor:
        """Entropy in nats: (...)."""


def features(state: State) -> Tensor:
    """What every head sees: [h, z] or [h, z, o], (..., feature)."""
    return state["joined"] if "joined" in state else torch.cat(list(carried(state).values()), -1)


def carried(state: State) -> State:
    """The parts of a state that the next step depends on: h, z and, where there is one, o."""
    return {key: state[key] for key in ("h", "z", "o") if key in state}


def stack(states: list[State]) -> State:
    """States of successive steps as one state with a leading time axis."""
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


class SequenceModel(nn.Module):
    """RSSM with a categorical or a Gaussian latent behind one interface."""

    def __init__(self, config: ModelConfig, loss: LossConfig, action_size: int, obs_size: int = 0) -> None:
        """obs_size: of the normalised observations, with ``model.observed``."""
        super().__init__()
        self.config, self.loss = config, loss
        self.latent_size = config.gaussian_size if config.is_seed else config.groups * config.classes
        stats_size = 2 * self.latent_size if config.is_seed else self.latent_size
        self.observed_size = obs_size if config.observed else 0
        self.feature_size = config.memory_size + self.observed_size
        inputs = self.latent_size + self.observed_size + action_size
        self.input_net = nn.Sequential(*build_block(inputs, config.units, config))
        self.cell = RecurrentCell(config.units, config.hidden, norm=not config.is_seed)
        self.prior_net = build_mlp(config.hidden, stats_size, config, layers=1)
        self.posterior_net = build_mlp(config.hidden + config.units, stats_size, config, layers=1)
        if config.observed:
            self.next_observation = NextObservation(config, config.memory_size, obs_size, action_size)
        self.memory_weights = (*self.input_net.parameters(), *self.cell.parameters())

    def _fast(self) -> Any:
        """dreamer.speed where steps take its way, with the same results."""
        return None if self.config.is_seed else native(self.cell.product.weight)

    def noise(self, batch: int, generator: Generator) -> Tensor:
        """What one z of each row is drawn from: (batch, groups) uniform or (batch, latent) normal numbers."""
        like = self.cell.product.weight
        if self.config.is_seed:
            return torch.randn(batch, self.latent_size, generator=generator, device=like.device)
        return torch.rand(batch, self.config.groups, generator=generator, device=like.device)

    def initial(self, batch: int) -> State:
        """The state before anything was seen: zeros, (batch, ...)."""
        like = self.cell.product.weight
        sizes = {"h": self.config.hidden, "z": self.latent_size, "o": self.observed_size}
        return {key: like.new_zeros(batch, size) for key, size in sizes.items() if size}

    def prior_step(self, state: State, action: Tensor, generator: Generator | None = None, siblings: int = 1) -> State:
        """Dream one step: the next state from memory and action (batch, action) alone."""
        h = self._advance(state, action)
        stats = self._stats(self.prior_net(h))
        dreamed = self._state(h, self._latent(stats).sample(generator, siblings), stats)
        if not self.observed_size:
            return dreamed
        return dreamed | {"o": self.next_observation(features(dreamed), state["o"], action)}

    def posterior_step(
        self, state: State, action: Tensor, embed: Tensor, is_first: Tensor, generator: Generator | None = None
    ) -> tuple[State, State]:
        """Live one step: (posterior, prior) after ``action`` led to the observation behind ``embed``.

        action (batch, action) is the previous one, embed (batch, embedding), is_first (batch,) marks rows whose
        state and action are forgotten first, all but their o. Neither result has one: the caller knows what was seen.
        """
        posterior = self.filter_step(state, action, embed, is_first, generator)
        stats = self._stats(self.prior_net(posterior["h"]))
        return posterior, self._state(posterior["h"], self._latent(stats).sample(generator), stats)

    def filter_step(
        self,
        state: State,
        action: Tensor,
        embed: Tensor,
        is_first: Tensor,
        generator: Generator | None = None,
        *,
        choose: Callable[[Latent], Tensor] | None = None,
    ) -> State:
        """The posterior half of ``posterior_step``; ``choose`` says which z to take, a sample if None."""
        # Filling, not multiplying by zero: a forgotten state may hold a NaN.
        new = is_first[:, None]
        state = state | {"h": state["h"].masked_fill(new, 0.0), "z": state["z"].masked_fill(new, 0.0)}
        h = self._advance(state, action.masked_fill(new, 0.0))
        stats = self._stats(self.posterior_net(torch.cat([h, embed], -1)))
        dist = self._latent(stats)
        return self._state(h, choose(dist) if choose else dist.sample(generator), stats)

    def observe_sequence(
        self,
        embeds: Tensor,
        actions: Tensor,
        is_first: Tensor,
        state: State | None = None,
        generator: Generator | None = None,
        preceding: Tensor | None = None,
    ) -> tuple[State, State]:
        """Filter whole sequences: (posteriors, priors), both (time, batch, ...) and without o.

        embeds (time, batch, embedding), actions (time, batch, action) that led there, is_first (time, batch), state
        (batch, ...) the context before the first step, zeros if None; preceding (time, batch, obs): with
        ``model.observed`` the o before each step. Priors carry parameters only, no sample.
        """
        assert embeds.shape[:2] == actions.shape[:2] == is_first.shape
        state = self.initial(embeds.shape[1]) if state is None else state
        steps = embeds, actions, is_first, embeds[..., :0] if preceding is None else preceding
        fast = self._fast()
        found = fast.filter_sequence(self, steps, state, generator) if fast else None
        posteriors = found or self._step_through(steps, state, generator)
        return posteriors, {"h": posteriors["h"], **self._stats(self.prior_net(posteriors["h"]))}

    def _step_through(self, steps: Sequence[Tensor], state: State, generator: Generator | None) -> State:
        posteriors = []
        for embed, action, first, o in zip(*steps, strict=True):
            state = self.filter_step(state | {"o": o}, action, embed, first, generator)
            posteriors.append(state)
        return stack(posteriors)

    def open_loop(self, state: State, actions: Tensor, generator: Generator | None = None) -> Tensor:
        """The dreamed o (time, batch, o) from ``state`` (batch, ...) on, under actions (time, batch, action)."""
        fast = self._fast()
        if fast:
            dreamed: Tensor = fast.open_loop(self, state, actions, generator)
            return dreamed
        seen = []
        for action in actions:
            state = self.prior_step(state, action, generator)
            seen.append(state["o"])
        return torch.stack(seen)

    @torch.no_grad()
    def imagine_sequence(
        self,
        policy: Callable[[Tensor], ActionDist],
        start_state: State,
        horizon: int,
        generator: Generator | None = None,
        siblings: int = 1,
    ) -> tuple[State, Tensor]:
        """Dream: states (horizon + 1, batch, ...) with the start first, and actions (horizon, batch, action).

        Only the prior is used; nothing observed reaches the dream after its start. From every start (count, ...) go
        ``siblings`` dreams, ``count`` rows apart, with actions of their own and the same chance in all that follows.
        """
        state = {key: repeated(part, siblings) for key, part in carried(start_state).items()}
        sizes = [part.shape[-1] for part in state.values()]
        fast = self._fast()
        dreamed = fast.imagine(self, policy, features(state), horizon, generator, siblings) if fast else None
        joined, actions = dreamed or self._imagine(policy, state, horizon, generator, siblings)
        parts = torch.split(joined, sizes, -1)
        return dict(zip(state, parts, strict=True)) | {"joined": joined}, actions

    def _imagine(
        self,
        policy: Callable[[Tensor], ActionDist],
        state: State,
        horizon: int,
        generator: Generator | None,
        siblings: int,
    ) -> tuple[Tensor, Tensor]:
        seen, actions = [features(state)], []
        for _ in range(horizon):
            actions.append(policy(seen[-1]).sample(generator))
            state = carried(self.prior_step(state, actions[-1], generator, siblings))
            seen.append(features(state))
        return torch.stack(seen), torch.stack(actions)

    def kl_loss(self, posteriors: State, priors: State) -> tuple[Tensor, Tensor]:
        """(loss, KL) per step (time, batch), in nats.

        Two one-sided terms: the prior learns towards the posterior faster than the posterior is pulled back to the
        prior (kl_representation); each is clipped below at FREE_NATS, where its gradient ends (KL balancing and free
        bits, DreamerV3 eq. 3-5). The seed document's is the plain KL: both weigh the same and nothing is clipped.
        """
        fast = self._fast()
        if fast:
            dynamics, representation = fast.categorical_kls(posteriors["logits"], priors["logits"], self.config.unimix)
        else:
            dynamics = self._kl(_detached(posteriors), priors)
            representation = self._kl(posteriors, _detached(priors))
        weight = self.loss.kl_representation
        if self.config.is_seed:
            return weight * (dynamics + representation), dynamics.detach()
        return dynamics.clamp(min=FREE_NATS) + weight * representation.clamp(min=FREE_NATS), dynamics.detach()

    def _kl(self, one: State, two: State) -> Tensor:
        if self.config.is_seed:
            return GaussianDist(one["mean"], one["std"]).kl(GaussianDist(two["mean"], two["std"]))
        return self._categorical(one).kl(self._categorical(two))

    def _categorical(self, state: State) -> CategoricalDist:
        return CategoricalDist(state["logits"], self.config.unimix)

    def _advance(self, state: State, action: Tensor) -> Tensor:
        led = [state["z"], state["o"], action] if self.observed_size else [state["z"], action]
        h: Tensor = self.cell(self.input_net(torch.cat(led, -1)), state["h"])
        return h

    def _stats(self, output: Tensor) -> State:
        if self.config.is_seed:
            mean, std = output.chunk(2, -1)
            return {"mean": mean, "std": F.softplus(std) + self.config.gaussian_min_std}
        return {"logits": output.view(*output.shape[:-1], self.config.groups, self.config.classes)}

    def _latent(self, stats: State) -> Latent:
        return self._categorical(stats) if "logits" in stats else GaussianDist(stats["mean"], stats["std"])

    def _state(self, h: Tensor, z: Tensor, stats: State) -> State:
        return {"h": h, "z": z.view(*h.shape[:-1], self.latent_size), **stats}


def _detached(state: State) -> State:
    return {key: value.detach() for key, value in state.items()}
