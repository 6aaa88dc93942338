"""The world model: encoder, sequence model, and the heads that turn latent states back into facts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dreamer.config import DreamerConfig
from dreamer.distributions import TwoHot
from dreamer.math_ops import symexp, symlog
from dreamer.networks import build_mlp, scale_output
from dreamer.replay import Batch
from dreamer.sequence_model import ActionDist, Latent, SequenceModel, State, carried, features

CLOCKS, TICK = 1, 0.01
"""How many clocks stand at the end of o, and what a step adds to one: a round that ends by time is seen to end."""


class ScalarHead(nn.Module):
    """Predicts one number per state: a two-hot distribution, or a plain value trained by squared error."""

    def __init__(self, inputs: int, config: DreamerConfig) -> None:
        super().__init__()
        self.twohot, self.limit = not config.model.is_seed, config.loss.bin_limit
        outputs, exact = config.loss.bins if self.twohot else 1, inputs - config.model.memory_size
        self.net = build_mlp(inputs, outputs, config.model, exact=exact)

    def zero_output(self) -> None:
        """Make every first prediction exactly 0, so that learning does not start with unlearning noise."""
        if self.twohot:
            scale_output(self.net, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Raw outputs for ``mean`` and ``loss``: (..., bins or 1)."""
        output: Tensor = self.net(x)
        return output

    def mean(self, output: Tensor) -> Tensor:
        """The predicted number (...)."""
        return TwoHot(output, self.limit).mean if self.twohot else output.squeeze(-1)

    def loss(self, output: Tensor, target: Tensor, *pulls: tuple[float, Tensor]) -> Tensor:
        """Cross-entropy or squared error to target (...), plus weights times those to further ones: (...)."""
        if self.twohot:
            return TwoHot(output, self.limit).loss(target, *pulls)
        found = output.squeeze(-1)
        return torch.stack([weight * (found - other).square() for weight, other in ((1.0, target), *pulls)]).sum(0)


class WorldModel(nn.Module):
    """Learns what happens next, and dreams it."""

    obs_mean: Tensor
    obs_std: Tensor

    def __init__(self, config: DreamerConfig, obs_size: int, action_size: int) -> None:
        super().__init__()
        self.config = config
        model = config.model
        self.register_buffer("obs_mean", torch.zeros(obs_size))
        self.register_buffer("obs_std", torch.ones(obs_size))
        looked_at = 2 * (obs_size + CLOCKS) if model.observed else obs_size
        self.encoder = build_mlp(looked_at, model.units, model, exact=looked_at)
        self.dynamics = SequenceModel(model, config.loss, action_size, obs_size + CLOCKS)
        size, observed = self.dynamics.feature_size, self.dynamics.observed_size
        if observed:
            self.dynamics.next_observation.spread[-CLOCKS:] = TICK
        else:
            self.obs_decoder = build_mlp(size, obs_size, model)
        self.decoder_log_std = nn.Parameter(torch.zeros(observed or obs_size))
        self.reward_head = ScalarHead(size, config)
        self.continue_head = build_mlp(size, 1, model, layers=1, exact=observed)
        if observed:  # the last of all, as optimisers number their weights and older runs have none of these
            self.deviation_head = build_mlp(size + action_size, observed, model, layers=1)

    def fit_normalizer(self, observations: Tensor, changes: Tensor | None = None) -> None:
        """Set mean and scale of each input from observations (n, obs); they are part of the weights from then on.

        changes (m, obs): what single steps changed, for ``model.observed``; None: the observations follow each other.
        """
        self.obs_mean.copy_(observations.mean(0))
        self.obs_std.copy_(observations.std(0).clamp(min=1e-3))
        if self.config.model.observed:
            changes = observations.diff(dim=0) if changes is None else changes
            scale = 1.0 if self.config.model.is_seed else self.obs_std
            self.dynamics.next_observation.spread[:-CLOCKS] = (changes.std(0) / scale).clamp(min=1e-3)

    def normalized(self, obs: Tensor) -> Tensor:
        """Observations (..., obs) in units of their own spread; the seed document's agent takes them as they are."""
        return obs if self.config.model.is_seed else (obs - self.obs_mean) / self.obs_std

    def encode(self, obs: Tensor) -> Tensor:
        """Observations (..., obs) -> embeddings (..., units), through symlog."""
        embed: Tensor = self.encoder(symlog(self.normalized(obs)))
        return embed

    def _look(self, obs: Tensor, is_first: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With ``model.observed``: (o, the o before, embeddings), each (time, batch, ...).

        context (batch, o): the o before the first step. What is embedded is o, and how it changed in units of the
        spread of one step.
        """
        clocks, clock = [], context[:, -CLOCKS:]
        for first in is_first:
            clock = (clock + TICK).masked_fill(first[:, None], 0.0)
            clocks.append(clock)
        o = torch.cat([self.normalized(obs), torch.stack(clocks)], -1)
        before = torch.where(is_first[..., None], o, torch.cat([context[None], o[:-1]]))
        embed = self.encoder(symlog(torch.cat([o, (o - before) / self.dynamics.next_observation.spread], -1)))
        return o, before, embed

    def decode(self, state: State) -> Tensor:
        """The observation that a state stands for (..., obs), in real units."""
        seen = features(state)
        observed = self.dynamics.observed_size
        decoded: Tensor = seen[..., -observed:-CLOCKS] if observed else self.obs_decoder(seen)
        if self.config.model.is_seed:
            return decoded if observed else symexp(decoded)
        return decoded * self.obs_std + self.obs_mean

    def filter_step(
        self,
        state: State,
        action: Tensor,
        obs: Tensor,
        is_first: Tensor,
        generator: Generator | None = None,
        *,
        choose: Callable[[Latent], Tensor] | None = None,
    ) -> State:
        """The state (batch, ...) after ``action`` (batch, action) led to ``obs`` (batch, obs).

        is_first (batch,) marks rows in which a round begins; choose: see ``SequenceModel.filter_step``.
        """
        if not self.dynamics.observed_size:
            return self.dynamics.filter_step(state, action, self.encode(obs), is_first, generator, choose=choose)
        o, before, embed = (part[0] for part in self._look(obs[None], is_first[None], state["o"]))
        led = state | {"o": before}
        return self.dynamics.filter_step(led, action, embed, is_first, generator, choose=choose) | {"o": o}

    def observe_sequence(
        self,
        obs: Tensor,
        actions: Tensor,
        is_first: Tensor,
        context: State | None = None,
        generator: Generator | None = None,
    ) -> tuple[State, State]:
        """Filter whole sequences: (posteriors, priors), both (time, batch, ...); see ``SequenceModel``.

        With ``model.observed`` the posteriors hold ``before`` as well: the o of the step before each.
        """
        if not self.dynamics.observed_size:
            return self.dynamics.observe_sequence(self.encode(obs), actions, is_first, context, generator)
        context = self.dynamics.initial(obs.shape[1]) if context is None else context
        o, before, embeds = self._look(obs, is_first, context["o"])
        filtered, priors = self.dynamics.observe_sequence(embeds, actions, is_first, context, generator, before)
        return filtered | {"o": o, "joined": torch.cat([features(filtered), o], -1), "before": before}, priors

    def compute_loss(
        self, batch: Batch, context: State | None = None, generator: Generator | None = None
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """(loss scalar, posteriors (time, batch, ...), metrics) of a batch of sequences (see EpisodeBuffer.sample).

        The loss is the sum of reconstruction, reward, continue and KL, each a mean over time and batch, and with
        ``model.observed`` of overshooting.
        """
        posteriors, priors = self.observe_sequence(batch["obs"], batch["action"], batch["is_first"], context, generator)
        kl_loss, kl = self.dynamics.kl_loss(posteriors, priors)
        losses = self.head_losses(posteriors, batch) | {"kl": kl_loss.mean()}
        if self.dynamics.observed_size and self.config.loss.overshooting:
            losses["overshooting"] = self._overshooting_loss(posteriors, batch, generator)
        metrics = {f"loss/{key}": value.detach() for key, value in losses.items()} | {"kl": kl.mean()}
        return torch.stack(list(losses.values())).sum(), posteriors, metrics

    def head_losses(self, posteriors: State, batch: Batch) -> dict[str, Tensor]:
        """What is asked of the states (time, batch, ...) of a batch: scalars by name. A new head adds its own here."""
        seen = features(posteriors)
        return {
            "recon": self._reconstruction_loss(posteriors, batch).mean(),
            "reward": self.reward_head.loss(self.reward_head(seen), batch["reward"]).mean(),
            "continue": self._continue_loss(seen, batch["is_terminal"]).mean(),
        }

    def get_start_states(self, posteriors: State, batch: Batch, count: int, generator: Generator) -> State:
        """``count`` posterior states (count, ...) from which the dream starts, without gradients.

        The last of each sequence, with whose dreamed returns its replayed ones go on, and others by chance. Where a
        round has just ended none starts: nothing follows. ``place`` (count,): which of time x batch they are.
        """
        alive = (~batch["is_last"]).flatten().nonzero().squeeze(-1)
        if count < len(alive):
            order = torch.randperm(len(alive), generator=generator, device=alive.device)
            is_end = alive[order] >= batch["is_last"][:-1].numel()
            alive = alive[order[torch.argsort(is_end, descending=True, stable=True)[:count]]]
        starts = {key: part.detach().flatten(0, 1)[alive] for key, part in carried(posteriors).items()}
        return starts | {"place": alive}

    @torch.no_grad()
    def imagine(
        self,
        policy: Callable[[Tensor], ActionDist],
        start_state: State,
        horizon: int,
        generator: Generator | None = None,
        siblings: int = 1,
    ) -> tuple[State, Tensor, Tensor, Tensor]:
        """Dream: states (horizon + 1, batch, ...), actions, rewards, continues (horizon, batch, ...).

        rewards[t] and continues[t] belong to the step from states[t] to states[t + 1]. The batch are ``siblings``
        dreams from every start, see ``SequenceModel.imagine_sequence``.
        """
        states, actions = self.dynamics.imagine_sequence(policy, start_state, horizon, generator, siblings)
        reached = features(states)[1:]
        rewards = self.reward_head.mean(self.reward_head(reached))
        continues = torch.sigmoid(self.continue_head(reached)).squeeze(-1)
        return states, actions, rewards, continues

    def _reconstruction_loss(self, posteriors: State, batch: Batch) -> Tensor:
        """Gaussian likelihood, learned scale per input (sigma-VAE, arXiv 2006.13202), or squared symlog error.

        With ``model.observed`` the likelihood is that of the predicted observation, in units of one step's spread;
        at the first step of a round nothing is predicted.
        """
        if self.dynamics.observed_size:
            return self._prediction_loss(posteriors, batch["action"]) * ~batch["is_first"]
        decoded: Tensor = self.obs_decoder(features(posteriors))
        target = self.normalized(batch["obs"])
        if self.config.model.is_seed:
            return (decoded - symlog(target)).square().sum(-1)
        variance = self._variance(self.decoder_log_std)
        return _negative_log_likelihoods(decoded - target, variance).sum(-1)

    def _prediction_loss(self, posteriors: State, actions: Tensor) -> Tensor:
        """Of the o predicted from the true ones before, in units of one step's spread: (time, batch).

        Gaussian, with a deviation that depends on the state. Likelihoods alone would give up what is hard to predict,
        bounces and shots, so each is weighed with its deviation (beta-NLL with beta 1/2, arXiv 2203.09168).
        """
        predict = self.dynamics.next_observation
        memory = features(posteriors)[..., : -self.dynamics.observed_size]
        predicted = predict(memory, posteriors["before"], actions)
        more = self.deviation_head(torch.cat([memory, posteriors["before"], actions], -1))
        variance = self._variance(self.decoder_log_std + more)
        errors = (predicted - posteriors["o"]) / predict.spread
        return (variance.detach().sqrt() * _negative_log_likelihoods(errors, variance)).sum(-1)

    def _variance(self, log_std: Tensor) -> Tensor:
        """The smallest deviation is added to the learned one, not taken in its place: so that has a gradient always."""
        return (2.0 * log_std).exp() + self.config.loss.decoder_min_std**2

    def _overshooting_loss(self, posteriors: State, batch: Batch, generator: Generator | None) -> Tensor:
        """The open loop from each window's first state on, under the true actions and the prior alone: a scalar.

        Mean over steps and batch of the Huber loss of the dreamed observation, in units of one step's spread, up to
        the end of the round (overshooting as in PlaNet, arXiv 1811.04551, section 4).
        """
        o, spread = posteriors["o"], self.dynamics.next_observation.spread
        state = {key: part[0] for key, part in carried(posteriors).items()}
        open_steps = slice(1, 1 + self.config.loss.overshooting)
        dreamed = self.dynamics.open_loop(state, batch["action"][open_steps], generator)
        going = (~batch["is_first"][open_steps]).to(o.dtype).cumprod(0)
        errors = (dreamed - o[open_steps]) / spread
        losses = F.huber_loss(errors, torch.zeros_like(errors), reduction="none").sum(-1)
        return self.config.loss.overshooting_weight * (going * losses).mean()

    def _continue_loss(self, seen: Tensor, is_terminal: Tensor) -> Tensor:
        logits = self.continue_head(seen).squeeze(-1)
        return F.binary_cross_entropy_with_logits(logits, (~is_terminal).to(logits.dtype), reduction="none")


def _negative_log_likelihoods(errors: Tensor, variance: Tensor) -> Tensor:
    """Of Gaussian errors, number by number, without their constant."""
    return 0.5 * (errors.square() / variance + variance.log())
