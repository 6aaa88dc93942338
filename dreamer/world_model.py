"""The world model: encoder, sequence model, and the heads that turn latent states back into facts."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from dreamer.config import DreamerConfig
from dreamer.distributions import TwoHot
from dreamer.math_ops import symexp, symlog
from dreamer.networks import build_mlp, scale_output
from dreamer.replay import Batch
from dreamer.sequence_model import ActionDist, SequenceModel, State, features


class ScalarHead(nn.Module):
    """Predicts one number per state: a two-hot distribution, or a plain value trained by squared error."""

    def __init__(self, inputs: int, config: DreamerConfig) -> None:
        super().__init__()
        self.twohot, self.limit = config.loss.heads == "twohot", config.loss.bin_limit
        outputs = config.loss.bins if self.twohot else 1
        model = config.model
        self.net = build_mlp(inputs, outputs, model, units=model.head_units, layers=model.layers)

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

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy or squared error to target (...): (...)."""
        if self.twohot:
            return TwoHot(output, self.limit).loss(target)
        return F.mse_loss(output.squeeze(-1), target, reduction="none")


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
        self.encoder = build_mlp(obs_size, model.embedding, model, units=model.units, layers=model.layers)
        self.dynamics = SequenceModel(model, config.loss, action_size)
        size = self.dynamics.feature_size
        self.obs_decoder = build_mlp(size, obs_size, model, units=model.units, layers=model.layers)
        self.decoder_log_std = nn.Parameter(torch.zeros(obs_size))
        self.reward_head = ScalarHead(size, config)
        self.continue_head = build_mlp(size, 1, model, units=model.head_units, layers=1)

    def split_parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """(the decoder's deviations, all other parameters), in the order of ``parameters``.

        The deviations fall by more than a factor of ten while the model learns to predict, at most by their learning
        rate in an update (in the logarithm): at the rate of a weight that takes thousands of updates.
        """
        return [self.decoder_log_std], [p for p in self.parameters() if p is not self.decoder_log_std]

    def fit_normalizer(self, observations: Tensor) -> None:
        """Set mean and scale of each input from observations (n, obs); they are part of the weights from then on."""
        self.obs_mean.copy_(observations.mean(0))
        self.obs_std.copy_(observations.std(0).clamp(min=1e-3))

    def normalized(self, obs: Tensor) -> Tensor:
        """Observations (..., obs) in units of their own spread, if the settings say so."""
        return (obs - self.obs_mean) / self.obs_std if self.config.model.normalize else obs

    def encode(self, obs: Tensor) -> Tensor:
        """Observations (..., obs) -> embeddings (..., embedding), through symlog."""
        embed: Tensor = self.encoder(symlog(self.normalized(obs)))
        return embed

    def decode(self, state: State) -> Tensor:
        """The observation that a state stands for (..., obs), in real units."""
        decoded: Tensor = self.obs_decoder(features(state))
        if self.config.loss.decoder == "mse":
            decoded = symexp(decoded)
        return decoded * self.obs_std + self.obs_mean if self.config.model.normalize else decoded

    def compute_loss(
        self, batch: Batch, context: State | None = None, generator: Generator | None = None
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """(loss scalar, posteriors (time, batch, ...), metrics) of a batch of sequences (see EpisodeBuffer.sample).

        The loss is the sum of reconstruction, reward, continue and KL, each a mean over time and batch.
        """
        embeds = self.encode(batch["obs"])
        posteriors, priors = self.dynamics.observe_sequence(
            embeds, batch["action"], batch["is_first"], context, generator
        )
        seen = features(posteriors)
        kl_loss, kl = self.dynamics.kl_loss(posteriors, priors)
        losses = {
            "recon": self._reconstruction_loss(seen, batch["obs"]).mean(),
            "reward": self.reward_head.loss(self.reward_head(seen), batch["reward"]).mean(),
            "continue": self._continue_loss(seen, batch["is_terminal"]).mean(),
            "kl": kl_loss.mean(),
        }
        metrics = {f"loss/{key}": value.detach() for key, value in losses.items()} | {"kl": kl.mean()}
        return torch.stack(list(losses.values())).sum(), posteriors, metrics

    def get_start_states(self, posteriors: State, batch: Batch, count: int, generator: Generator) -> State:
        """``count`` random posterior states (count, ...) from which the dream starts, without gradients.

        States whose round has just ended are left out: nothing follows them.
        """
        alive = (~batch["is_last"]).flatten().nonzero().squeeze(-1)
        if count < len(alive):
            order = torch.randperm(len(alive), generator=generator, device=alive.device)
            alive = alive[order[:count]]
        return {key: posteriors[key].detach().flatten(0, 1)[alive] for key in ("h", "z")}

    def get_fixed_starts(self, posteriors: State, batch: Batch, count: int, generator: Generator) -> State:
        """``get_start_states`` whose shape does not depend on the data: always min(count, time x batch) states.

        Where fewer have something following them, some of these begin a second dream. Draws other numbers than
        ``get_start_states``.
        """
        alive = (~batch["is_last"]).flatten()
        keys = torch.rand(alive.shape, generator=generator, device=alive.device) + alive
        places = torch.arange(min(count, len(alive)), device=alive.device) % alive.sum().clamp(min=1)
        chosen = keys.argsort(descending=True)[places]
        return {key: posteriors[key].detach().flatten(0, 1)[chosen] for key in ("h", "z")}

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

    def _reconstruction_loss(self, seen: Tensor, obs: Tensor) -> Tensor:
        """Gaussian likelihood, learned scale per input (sigma-VAE, arXiv 2006.13202), or squared symlog error."""
        decoded: Tensor = self.obs_decoder(seen)
        target = self.normalized(obs)
        if self.config.loss.decoder == "mse":
            return (decoded - symlog(target)).square().mean(-1)
        log_std = self.decoder_log_std.clamp(min=math.log(self.config.loss.decoder_min_std))
        return (0.5 * ((decoded - target) / log_std.exp()).square() + log_std).sum(-1)

    def _continue_loss(self, seen: Tensor, is_terminal: Tensor) -> Tensor:
        logits = self.continue_head(seen).squeeze(-1)
        return F.binary_cross_entropy_with_logits(logits, (~is_terminal).to(logits.dtype), reduction="none")
