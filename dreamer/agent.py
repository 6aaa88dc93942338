"""The Dreamer agent: acts with the posterior, learns by the three loops."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from operator import methodcaller

import torch
from torch import Tensor, nn

from dreamer.behavior import Behavior
from dreamer.config import DreamerConfig, Precision
from dreamer.networks import initialize
from dreamer.optimizer import Learner
from dreamer.replay import Batch
from dreamer.sequence_model import State, features
from dreamer.speed import kernels
from dreamer.speed.play import NativePlay, native_play
from dreamer.world_model import WorldModel


class Dreamer(nn.Module):
    """World model and behaviour in one module.

    Acting: ``state, action = agent.act(state, obs, is_first)``; the state is a value that the caller keeps. Learning:
    ``agent.train_step(batch)``. Playing, learning the world and learning in the dream each draw from a generator of
    their own, so that none changes the chance of another.
    """

    def __init__(self, config: DreamerConfig, obs_size: int = 18, action_size: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.config, self.obs_size, self.action_size = config, obs_size, action_size
        self.world_model = WorldModel(config, obs_size, action_size)
        self.behavior = Behavior(self.world_model.dynamics.feature_size, action_size, config)
        self._initialize(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.learning_generator = torch.Generator().manual_seed(seed + 1)
        self.dreaming_generator = torch.Generator().manual_seed(seed + 2)
        self.precision: Precision = "float32"
        self.updates = 0
        self.context: State | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights, the optimisers' memory and the generators are."""
        return self.world_model.obs_mean.device

    def settle(self, device: torch.device, precision: Precision = "float32") -> "Dreamer":
        """Live on ``device`` and learn with products in ``precision``; to be called before the first update.

        On another kind of device the generators begin anew from their seeds, with other numbers.
        """
        if device.type != self.device.type:
            self.to(device)
            generators = (self.generator, self.learning_generator, self.dreaming_generator)
            moved = [torch.Generator(device).manual_seed(one.initial_seed()) for one in generators]
            self.generator, self.learning_generator, self.dreaming_generator = moved
        self.precision = precision
        return self

    def on_cpu(self) -> "Dreamer":
        """This agent if it lives on the CPU, else a frozen copy there."""
        return self if self.device.type == "cpu" else self.snapshot()

    @contextmanager
    def products(self) -> Iterator[None]:
        """Inside the with block matrix products have ``precision``; bfloat16 only in the plain modules."""
        if self.precision == "float32":
            yield
            return
        # Without its cache: it would keep the weights as the dream sees them, cut off from their gradients.
        with kernels.plainly(), torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            yield

    @cached_property
    def world_learner(self) -> Learner:
        """Made when first used: who only plays saves the seconds in which torch loads its optimisers."""
        rates, (deviation, others) = self.config.optimizer, self.world_model.split_parameters()
        groups = [(deviation, rates.deviation_rate), (others, rates.world_rate)]
        return Learner(rates, groups, decay_after=rates.decay_after)

    @cached_property
    def behavior_learner(self) -> Learner:
        """Like ``world_learner``, for policy and critic."""
        rates, behavior = self.config.optimizer, self.behavior
        return Learner(rates, [(behavior.policy, rates.actor_rate), (behavior.value, rates.critic_rate)])

    @cached_property
    def _native_play(self) -> NativePlay | None:
        return native_play(self)

    def initial_state(self, batch: int) -> State:
        """States before anything was seen: h, z and the previous action, all zeros, (batch, ...)."""
        state = self.world_model.dynamics.initial(batch)
        return state | {"action": state["h"].new_zeros(batch, self.action_size)}

    def draw_noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """What a sampled step of play of so many rounds takes its chance from: (batch, numbers), a row for each.

        From ``generator``, or the agent's own.
        """
        source = self.generator if generator is None else generator
        return torch.cat([self.world_model.dynamics.noise(batch, source), self.behavior.policy.noise(batch, source)], 1)

    @torch.no_grad()
    def act(
        self,
        state: State,
        obs: Tensor,
        is_first: Tensor,
        *,
        deterministic: bool = False,
        noise: Tensor | None = None,
    ) -> tuple[State, Tensor]:
        """One step of play for a batch of rounds: (next state, action (batch, action) in [-1, 1]).

        obs (batch, obs), is_first (batch,) marks the rows where a round begins. Deterministic play draws nothing;
        otherwise latent and action are drawn with ``noise`` (batch, ...) as ``draw_noise`` makes it, by itself if None.
        On a CPU a row is the same, bit for bit, alone and in any batch. Where a network gives numbers that are not
        finite, so is the action.
        """
        if deterministic:
            noise = None
        elif noise is None:
            noise = self.draw_noise(len(obs))
        native = self._native_play if self.device.type == "cpu" and kernels.kind() != "plain" else None
        with kernels.plainly():
            return (native or self.play)(state, obs, is_first, noise)

    def play(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        """``act`` as written in the modules; deterministic where ``noise`` is None.

        On a CPU row by row: a product sums in an order that depends on its shape and on where its numbers lie.
        """
        if self.device.type != "cpu" or len(obs) == 1:
            return self._play(state, obs, is_first, noise)
        noises = [None] * len(obs) if noise is None else list(torch.split(noise, 1))
        rows = []
        for row, chance in enumerate(noises):
            one = slice(row, row + 1)
            before = {key: table[one] for key, table in state.items()}
            rows.append(self._play(before, obs[one], is_first[one], chance))
        after = {key: torch.cat([row[key] for row, _ in rows]) for key in ("h", "z", "action")}
        return after, after["action"]

    def _play(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        policy, of_latent, of_action = self.behavior.policy, _mode, _mode
        if noise is not None:
            chance = torch.split(noise, [noise.shape[1] - self.action_size, self.action_size], 1)
            of_latent, of_action = (methodcaller("draw", part) for part in chance)
        embed = self.world_model.encode(obs)
        after = self.world_model.dynamics.filter_step(state, state["action"], embed, is_first, choose=of_latent)
        output = policy.net(features(after))
        # A choice among classes is made from NaN as well, and what comes of it looks as finite as any other.
        sound = torch.stack([after[key].flatten(1).sum(1) for key in after if key not in ("h", "z")] + [output.sum(1)])
        action = of_action(policy.distribution(output)).masked_fill(~torch.isfinite(sound).all(0)[:, None], torch.nan)
        return {"h": after["h"], "z": after["z"], "action": action}, action

    def fit_normalizer(self, observations: Tensor) -> None:
        """Fix the scale of the inputs from observations (n, obs), once, before learning starts."""
        self.world_model.fit_normalizer(observations)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update of world model, critic and actor on sequences (time, batch, ...) from EpisodeBuffer.sample.

        Returns metrics by name. An update with a non-finite loss or gradient changes nothing and reports
        ``skipped`` = 1.
        """
        sound, posteriors, metrics = self.update_world(batch)
        if sound:
            sound, behavior_metrics = self.update_behavior(batch, posteriors, self.world_model)
            metrics |= behavior_metrics
        self.updates += 1
        return {key: float(value) for key, value in metrics.items()} | {"skipped": float(not sound)}

    def train_prelude(self, batch: Batch) -> dict[str, float]:
        """One update before there is anything to dream of: the world, the critic on real returns, imitation.

        A policy that learns in the dreams of a world model that knows nothing learns what it has to unlearn later.
        """
        sound, posteriors, metrics = self.update_world(batch)
        if sound:
            sound, behavior_metrics = self.imitate(batch, posteriors)
            metrics |= behavior_metrics
        self.updates += 1
        return {key: float(value) for key, value in metrics.items()} | {"skipped": float(not sound)}

    def learn_world(self, batch: Batch) -> dict[str, float]:
        """One update of the world model alone; metrics as from ``train_step``."""
        sound, _, metrics = self.update_world(batch)
        self.updates += 1
        return {key: float(value) for key, value in metrics.items()} | {"skipped": float(not sound)}

    def update_world(self, batch: Batch) -> tuple[bool, State, dict[str, Tensor]]:
        """Loop 2, fit the world model to what really happened: (done, posteriors without gradients, metrics)."""
        loss, posteriors, metrics = self.world_loss(batch, self.context)
        norm = self.world_learner.apply(loss)
        posteriors = {key: value.detach() for key, value in posteriors.items()}
        if norm is None:
            return False, posteriors, metrics
        if self.config.replay.context == "stream":  # the next window of every lane continues from here
            self.context = {key: posteriors[key][-1].clone() for key in ("h", "z")}
        return True, posteriors, metrics | {"grad/world": torch.tensor(norm)}

    def world_loss(self, batch: Batch, context: State | None) -> tuple[Tensor, State, dict[str, Tensor]]:
        """What loop 2 minimises: (loss scalar, posteriors (time, batch, ...), metrics)."""
        with self.products():
            loss, posteriors, metrics = self.world_model.compute_loss(batch, context, self.learning_generator)
        return loss, posteriors, metrics | {"loss/world": loss.detach()}

    def update_behavior(self, batch: Batch, posteriors: State, world: WorldModel) -> tuple[bool, dict[str, Tensor]]:
        """Loop 3, dream in ``world`` from real states and improve actor and critic there: (done, metrics)."""
        settings, generator = self.config.behavior, self.dreaming_generator
        start = world.get_start_states(posteriors, batch, settings.starts // settings.siblings, generator)
        scale = copy.deepcopy(self.behavior.return_scale.state_dict())
        loss, metrics = self.behavior_loss(batch, posteriors, world, start)
        norm = self.behavior_learner.apply(loss)
        if norm is None:
            self.behavior.return_scale.load_state_dict(scale)
            return False, metrics
        self.behavior.update_slow_value()
        return True, metrics | {"grad/behavior": torch.tensor(norm)}

    def imitate(self, batch: Batch, posteriors: State) -> tuple[bool, dict[str, Tensor]]:
        """The prelude's loop 3, fit the critic to real returns and the policy to the lessons: (done, metrics)."""
        replayed = self.behavior.replay_value_loss(posteriors, batch)
        imitation = self.behavior.imitation_loss(posteriors, batch)
        sound = self.behavior_learner.apply(replayed + imitation) is not None
        if sound:
            self.behavior.update_slow_value()
        return sound, {"loss/replay_value": replayed.detach(), "loss/imitation": imitation.detach()}

    def behavior_loss(
        self, batch: Batch, posteriors: State, world: WorldModel, start: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What loop 3 minimises in dreams from ``start`` (count, ...): (loss scalar, metrics)."""
        settings, generator = self.config.behavior, self.dreaming_generator
        with self.products():
            dream = world.imagine(self.behavior.policy, start, settings.horizon, generator, settings.siblings)
            actor_loss, critic_loss, _, metrics = self.behavior.train_step(*dream, generator)
            loss = actor_loss + critic_loss
            if settings.replay_value:
                replayed = self.behavior.replay_value_loss(posteriors, batch)
                metrics["loss/replay_value"] = replayed.detach()
                loss = loss + settings.replay_value * replayed
        return loss, metrics

    def snapshot(self) -> "Dreamer":
        """A frozen copy on the CPU that plays on by itself; the original's learning does not touch it."""
        twin = Dreamer(self.config, self.obs_size, self.action_size)
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin.requires_grad_(False)

    def _initialize(self, seed: int) -> None:
        initialize(self, torch.Generator().manual_seed(seed))
        self.world_model.reward_head.zero_output()
        self.behavior.value.zero_output()
        self.behavior.policy.soften_output()
        self.behavior.synchronize()


_mode = methodcaller("mode")
