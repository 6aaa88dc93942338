"""The actor and the critic, which learn in imagination and never see an observation."""

import torch
from torch import Generator, Tensor, nn

from dreamer.config import DreamerConfig
from dreamer.distributions import ActionGrid, TanhNormal
from dreamer.math_ops import ReturnScale, lambda_returns
from dreamer.networks import build_mlp, scale_output
from dreamer.replay import Batch
from dreamer.sequence_model import ActionDist, State, features
from dreamer.world_model import ScalarHead


class Policy(nn.Module):
    """The actor: features (..., hidden + latent) -> a distribution over actions in [-1, 1]."""

    action_values: Tensor

    def __init__(self, inputs: int, action_size: int, config: DreamerConfig) -> None:
        super().__init__()
        self.config, self.action_size = config.behavior, action_size
        self.categorical = not config.model.is_seed
        self.register_buffer("action_values", torch.tensor(self.config.action_values), persistent=False)
        each = len(self.config.action_values) if self.categorical else 2
        self.unimix = config.model.unimix
        self.net = build_mlp(inputs, action_size * each, config.model, exact=inputs - config.model.memory_size)

    def soften_output(self) -> None:
        """Start close to uniform: the first actions then explore instead of following random weights."""
        scale_output(self.net, 0.01)

    def forward(self, x: Tensor) -> ActionDist:
        """The distribution of the action (..., action)."""
        return self.distribution(self.net(x))

    def noise(self, batch: int, generator: Generator) -> Tensor:
        """What one action of each row is drawn from: (batch, action) uniform or normal numbers."""
        make = torch.rand if self.categorical else torch.randn
        return make(batch, self.action_size, generator=generator, device=self.action_values.device)

    def distribution(self, output: Tensor) -> ActionDist:
        """The distribution that the network's ``output`` (..., action x values or 2) stands for."""
        if self.categorical:
            return ActionGrid(output.view(*output.shape[:-1], self.action_size, -1), self.action_values, self.unimix)
        mean, std = output.chunk(2, -1)
        spread = self.config.max_std - self.config.min_std
        # A mean beyond +-5 is already at the bound; keeping it there keeps the log density finite.
        return TanhNormal(5.0 * torch.tanh(mean / 5.0), self.config.min_std + spread * torch.sigmoid(std + 2.0))


class ValueNetwork(ScalarHead):
    """The critic: features (..., hidden + latent) -> the expected discounted return."""


class Behavior(nn.Module):
    """Actor, critic, the slow copy of the critic and the scale of the returns."""

    def __init__(self, inputs: int, action_size: int, config: DreamerConfig) -> None:
        super().__init__()
        self.config, self.is_seed = config.behavior, config.model.is_seed
        self.policy = Policy(inputs, action_size, config)
        self.value = ValueNetwork(inputs, config)
        self.value_target = ValueNetwork(inputs, config).requires_grad_(False)
        self.return_scale = ReturnScale()

    def synchronize(self) -> None:
        """Make the slow critic an exact copy, once after initialisation."""
        self.value_target.load_state_dict(self.value.state_dict())

    @torch.no_grad()
    def update_slow_value(self) -> None:
        """Move the slow critic a small step towards the critic (exponential moving average)."""
        fast: list[Tensor] = list(self.value.parameters())
        slow: list[Tensor] = list(self.value_target.parameters())
        torch._foreach_lerp_(slow, fast, self.config.slow_rate)

    def train_step(
        self, states: State, actions: Tensor, rewards: Tensor, continues: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """(actor loss, critic loss, lambda returns (horizon, batch), metrics) of a dream.

        states (horizon + 1, batch, ...), actions, rewards, continues (horizon, batch, ...) as WorldModel.imagine
        returns them. Steps after a dreamed end of the round weigh as little as it is likely to be over. The actor
        learns nothing from the last ``lookahead`` steps: with so little of the dream left, their returns are mostly
        the critic's guess, and what it guesses of single actions is wrong.
        """
        seen = features(states)
        weights = torch.cumprod(torch.cat([torch.ones_like(continues[:1]), continues[:-1]]), 0)
        output = self.value(seen)
        with torch.no_grad():
            expected, slow_values = self.value.mean(output), self.value.mean(self.value_target(seen))
            values = slow_values if self.is_seed else expected
            returns = self._returns(rewards, values, continues)
        critic_loss = (weights * self._value_loss(output[:-1], returns, slow_values[:-1])).mean()
        scale = self._scale(returns)
        credit = self._credit(weights * (returns - expected[:-1]) / scale)
        acted = slice(len(actions) - self.config.lookahead)
        given = seen[acted], actions[acted], credit[acted], weights[acted]
        actor_loss, metrics = self._actor_loss(*given, generator)
        metrics |= {"return/scale": scale, "return/mean": returns.mean(), "value/mean": values.mean()}
        return actor_loss, critic_loss, returns, metrics | {"loss/critic": critic_loss.detach()}

    def replay_value_loss(
        self, posteriors: State, batch: Batch, dreamed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Ground the critic on real rewards: its loss on the replayed sequences, a scalar.

        Lambda returns over the replayed rewards, bootstrapped with ``dreamed``: places of states in time x batch, and
        the returns imagined there, both (count,); elsewhere with the critic's values (DreamerV3, "replay value loss").
        Only what the agent that is valued played itself counts then; None: everything, as in the prelude. Where a round
        is cut off the return is the value itself, where it ends for good the reward alone.
        """
        seen = features(posteriors).detach()
        output = self.value(seen)
        with torch.no_grad():
            slow = self.value.mean(self.value_target(seen))
            values = slow if self.is_seed else self.value.mean(output)
            if dreamed is not None:
                values = values.flatten().scatter(0, *dreamed).view_as(values)
            alive = (~batch["is_terminal"][1:]).to(values.dtype)
            gamma, lambda_ = self.config.discount, self.config.lambda_
            returns = replay_returns(batch["reward"][1:], values, alive, batch["is_last"], gamma, lambda_)
        counted = ~batch["is_last"] if dreamed is None else ~batch["is_last"] & batch["is_own"]
        inside = counted[:-1].to(values.dtype)
        loss: Tensor = (inside * self._value_loss(output[:-1], returns, slow[:-1])).mean()
        return loss

    def imitation_loss(self, posteriors: State, batch: Batch) -> Tensor:
        """Behaviour cloning: the mean cross-entropy to the teacher's next action where a lesson goes on, a scalar."""
        dist = self.policy(features(posteriors).detach()[:-1])
        taught = (batch["is_lesson"] & ~batch["is_last"])[:-1]
        losses = dist.cross_entropy(batch["action"][1:])
        loss: Tensor = losses.masked_fill(~taught, 0.0).sum() / taught.sum().clamp(min=1)
        return loss

    def _returns(self, rewards: Tensor, values: Tensor, continues: Tensor) -> Tensor:
        gamma, lambda_ = self.config.discount, self.config.lambda_
        return lambda_returns(rewards, values[:-1], continues, values[-1], gamma, lambda_)

    def _value_loss(self, output: Tensor, returns: Tensor, slow_values: Tensor) -> Tensor:
        """Fit the returns and, where it is not their target itself, stay close to the slow critic."""
        near = [] if self.is_seed else [(self.config.slow_regularization, slow_values)]
        return self.value.loss(output, returns, *near)

    def _scale(self, returns: Tensor) -> Tensor:
        return torch.ones_like(returns[0, 0]) if self.is_seed else self.return_scale.update(returns)

    def _credit(self, advantages: Tensor) -> Tensor:
        siblings = self.config.siblings
        return advantages - shared_luck(advantages, siblings) if siblings > 1 else advantages

    def _actor_loss(
        self, seen: Tensor, actions: Tensor, credit: Tensor, weights: Tensor, generator: Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """REINFORCE with weighted credit (time, batch), plus the entropy bonus."""
        dist = self.policy(seen)
        entropy = dist.entropy(generator)
        loss = -(dist.log_prob(actions) * credit + self.config.entropy * weights * entropy).mean()
        return loss, {
            "policy/entropy": entropy.detach().mean(),
            "policy/saturation": (actions.abs() > 0.95).to(credit.dtype).mean(),
            "loss/actor": loss.detach(),
        }


def shared_luck(advantages: Tensor, siblings: int) -> Tensor:
    """What the siblings of a dream tell of its advantages (horizon, dreams) that is not of its own doing: same shape.

    Dreams from one start that share all chance but that of their actions are lucky together, and what a dream's
    siblings met says nothing about its own action; so their mean, times the slope that fits best at each step, is a
    control variate: subtracting it leaves the expected gradient as it is and takes noise away.
    """
    own = advantages.view(len(advantages), siblings, -1)
    others = (own.sum(1, keepdim=True) - own) / (siblings - 1)
    slope = (own * others).sum((1, 2), keepdim=True) / others.square().sum((1, 2), keepdim=True).clamp(min=1e-12)
    return (slope.clamp(0.0, 1.0) * others).view_as(advantages)


def replay_returns(
    rewards: Tensor, values: Tensor, alive: Tensor, ends: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """Lambda returns (time - 1, batch) along replayed sequences that may hold several rounds.

    rewards, alive (time - 1, batch): of the step to the next entry, alive 0 at a terminal one. values, ends (time,
    batch). Across the last entry of a round nothing is carried: its return is its own value.
    """
    assert rewards.shape == alive.shape == values[1:].shape == ends[1:].shape
    target, targets = values[-1], []
    for t in reversed(range(len(rewards))):
        following = torch.where(ends[t + 1], values[t + 1], (1.0 - lambda_) * values[t + 1] + lambda_ * target)
        target = rewards[t] + gamma * alive[t] * following
        targets.append(target)
    return torch.stack(targets[::-1])
