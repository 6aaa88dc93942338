"""One whole update: the losses of the loops, the steps along their gradients, and what is skipped.

An ``Updater`` holds what learning needs beside the agent: optimisers, generators, and the context of the streams. The
world model and the dream each draw from a generator of their own, so that neither changes the chance of the other.
"""

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Generator, Tensor

from dreamer.agent import Dreamer
from dreamer.optimizer import Learner
from dreamer.replay import Batch
from dreamer.sequence_model import State, carried
from dreamer.world_model import WorldModel

Result = tuple[bool, dict[str, Tensor]]


class Updater:
    """Makes the updates of ``agent``, one after the other: ``train_step(batch)``."""

    def __init__(self, agent: Dreamer) -> None:
        self.agent = agent
        self.learning_generator = self._generator(1)
        self.dreaming_generator = self._generator(2)
        self.context: State | None = None

    def _generator(self, place: int) -> Generator:
        return Generator(self.agent.device).manual_seed(self.agent.seed + place)

    @cached_property
    def world_learner(self) -> Learner:
        rates = self.agent.config.optimizer
        return Learner(rates, [(self.agent.world_model, rates.world_rate)], decay_after=rates.decay_after)

    @cached_property
    def behavior_learner(self) -> Learner:
        rates, behavior = self.agent.config.optimizer, self.agent.behavior
        return Learner(rates, [(behavior.policy, rates.actor_rate), (behavior.value, rates.critic_rate)])

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update of world model, critic and actor on sequences (time, batch, ...) from EpisodeBuffer.sample.

        Returns metrics by name. An update with a non-finite loss or gradient changes nothing and reports
        ``skipped`` = 1.
        """
        return self._update(batch, lambda posteriors: self.update_behavior(batch, posteriors, self.agent.world_model))

    def train_prelude(self, batch: Batch) -> dict[str, float]:
        """One update before there is anything to dream of: the world, the critic on real returns, imitation.

        A policy that learns in the dreams of a world model that knows nothing learns what it has to unlearn later.
        """
        return self._update(batch, lambda posteriors: self.imitate(batch, posteriors))

    def learn_world(self, batch: Batch) -> dict[str, float]:
        """One update of the world model alone; metrics as from ``train_step``."""
        return self._update(batch, lambda _: (True, {}))

    def _update(self, batch: Batch, behave: Callable[[State], Result]) -> dict[str, float]:
        sound, posteriors, metrics = self.update_world(batch)
        if sound:
            sound, behavior_metrics = behave(posteriors)
            metrics |= behavior_metrics
        self.agent.updates += 1
        return {key: float(value) for key, value in metrics.items()} | {"skipped": float(not sound)}

    def update_world(self, batch: Batch) -> tuple[bool, State, dict[str, Tensor]]:
        """Loop 2, fit the world model to what really happened: (done, posteriors without gradients, metrics)."""
        loss, posteriors, metrics = self.world_loss(batch, self.context)
        norm = self.world_learner.apply(loss)
        posteriors = {key: value.detach() for key, value in posteriors.items()}
        if self.agent.config.replay.context == "stream":
            # Also where the step is not taken: the lanes of the replay have gone on, and their next windows follow.
            self.context = _finite({key: part[-1] for key, part in carried(posteriors).items()})
        if norm is None:
            return False, posteriors, metrics
        return True, posteriors, metrics | {"grad/world": torch.tensor(norm)}

    def world_loss(self, batch: Batch, context: State | None) -> tuple[Tensor, State, dict[str, Tensor]]:
        """What loop 2 minimises: (loss scalar, posteriors (time, batch, ...), metrics)."""
        loss, posteriors, metrics = self.agent.world_model.compute_loss(batch, context, self.learning_generator)
        return loss, posteriors, metrics | {"loss/world": loss.detach()}

    def update_behavior(self, batch: Batch, posteriors: State, world: WorldModel) -> Result:
        """Loop 3, dream in ``world`` from real states and improve actor and critic there: (done, metrics)."""
        settings, behavior = self.agent.config.behavior, self.agent.behavior
        count = settings.starts // settings.siblings
        start = world.get_start_states(posteriors, batch, count, self.dreaming_generator)
        scale = copy.deepcopy(behavior.return_scale.state_dict())
        loss, metrics = self.behavior_loss(batch, posteriors, world, start)
        norm = self.behavior_learner.apply(loss)
        if norm is None:
            behavior.return_scale.load_state_dict(scale)
            return False, metrics
        behavior.update_slow_value()
        return True, metrics | {"grad/behavior": torch.tensor(norm)}

    def behavior_loss(
        self, batch: Batch, posteriors: State, world: WorldModel, start: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What loop 3 minimises in dreams from ``start`` (count, ...): (loss scalar, metrics)."""
        behavior, generator = self.agent.behavior, self.dreaming_generator
        settings = behavior.config
        dream = world.imagine(behavior.policy, start, settings.horizon, generator, settings.siblings)
        actor_loss, critic_loss, returns, metrics = behavior.train_step(*dream, generator)
        loss = actor_loss + critic_loss
        if settings.replay_value:
            dreamed = start["place"], returns[0].view(settings.siblings, -1).mean(0)
            replayed = behavior.replay_value_loss(posteriors, batch, dreamed)
            metrics["loss/replay_value"] = replayed.detach()
            loss = loss + settings.replay_value * replayed
        return loss, metrics

    def imitate(self, batch: Batch, posteriors: State) -> Result:
        """The prelude's loop 3, fit the critic to real returns and the policy to the lessons: (done, metrics)."""
        behavior = self.agent.behavior
        replayed = behavior.replay_value_loss(posteriors, batch)
        imitation = behavior.imitation_loss(posteriors, batch)
        sound = self.behavior_learner.apply(replayed + imitation) is not None
        if sound:
            behavior.update_slow_value()
        return sound, {"loss/replay_value": replayed.detach(), "loss/imitation": imitation.detach()}


def _finite(state: State) -> State:
    """A copy of the state (batch, ...) whose rows that are not finite start anew."""
    sound = torch.stack([part.isfinite().all(-1) for part in state.values()]).all(0)
    return {key: part.masked_fill(~sound[:, None], 0.0) for key, part in state.items()}
