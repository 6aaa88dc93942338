"""SAC, TQC, TD3 and CrossQ: learners that draw from a replay."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from competitor.sparring.actor import Actor, normalized
from competitor.sparring.recipes import Recipe
from competitor.sparring.replay import Replay, decisions
from competitor.sparring.sbx_model import Layer, SbxLearner, dense_layers, make_model
from dreamer.files import atomic_write

Array = NDArray[np.float32]

BATCH = 256
UPDATES_AT_ONCE = 16  # a call into JAX costs about as much as an update
CAPACITY = 800_000
LEAST_TRANSITIONS = 20_000
ACTOR_DELAY = 2  # critic updates per update of the policy, as TD3 has it; the others lose nothing by it
FIRST_ENTROPY = "auto_0.1"  # rewards are about 1, so the usual 1.0 would drown them for 10,000 updates
TD3_NOISE = 0.15
RENORM_EPSILON = 0.001  # sbx-rl's batch renormalisation
REPLAY = "replay.npz"


class ReplayLearner(SbxLearner):
    """Learns from both players' views of a round, the newest and older ones."""

    def __init__(self, recipe: Recipe, chance: np.random.Generator) -> None:
        entropy: dict[str, Any] = {} if recipe.algorithm == "TD3" else {"ent_coef": FIRST_ENTROPY}
        super().__init__(recipe, make_model(recipe, buffer_size=1, policy_delay=ACTOR_DELAY, **entropy))
        self.model.replay_buffer = self
        self.replay = Replay(CAPACITY)
        self._chance = chance
        self._frames_due = 0

    def enter(self, obs: Array, action: Array, reward: Array, *, terminal: bool, own: bool) -> None:
        """Take in one view of a round. Who decides in every frame can learn from the others' views, too."""
        recipe = self.recipe
        if own or recipe.repeat == 1:
            self.replay.add(
                decisions(
                    obs,
                    action,
                    reward,
                    terminal=terminal,
                    discount=recipe.discount,
                    repeat=recipe.repeat,
                    steps=recipe.steps,
                )
            )

    def learn(self, frames: int) -> bool:
        """Make the updates that are due; none before the replay holds a few rounds."""
        if self.replay.size < LEAST_TRANSITIONS:
            return False
        self._frames_due += frames
        price = UPDATES_AT_ONCE * self.recipe.frames_per_update
        if self._frames_due < price:
            return False
        self._frames_due -= price
        self.model.train(UPDATES_AT_ONCE, BATCH)
        self.updates += UPDATES_AT_ONCE
        return True

    def sample(self, count: int, env: object = None) -> ReplayBufferSamples:
        """What sbx-rl asks its replay for."""
        drawn = self.replay.draw(count, self._chance)
        reward, done, discount = (torch.from_numpy(column[:, None]) for column in drawn[3:])
        return ReplayBufferSamples(
            observations=torch.from_numpy(normalized(drawn.obs)),
            actions=torch.from_numpy(drawn.action),
            next_observations=torch.from_numpy(normalized(drawn.later_obs)),
            dones=done,
            rewards=reward,
            discounts=discount,
        )

    def actor(self) -> Actor:
        state = self.model.policy.actor_state
        tree = jax.tree.map(np.asarray, state.params)
        layers = dense_layers(tree.get("params", tree))
        if self.recipe.algorithm == "TD3":
            *hidden, mean = layers
            log_std = np.zeros_like(mean[0]), np.full(4, np.log(TD3_NOISE), np.float32)
            return Actor(hidden, mean, log_std, tanh_layers=False, squash=True, noise_after_squash=True)
        if self.recipe.algorithm == "CrossQ":
            layers = without_norms(layers, tree, jax.tree.map(np.asarray, state.batch_stats))
        *hidden, mean, log_std = layers
        return Actor(hidden, mean, log_std, tanh_layers=False, squash=True, noise_after_squash=False)

    def save(self, directory: Path) -> None:
        super().save(directory)
        atomic_write(directory / REPLAY, self.replay.save)

    def load(self, directory: Path, *, weights_only: bool = False) -> None:
        super().load(directory, weights_only=weights_only)
        if not weights_only:
            with (directory / REPLAY).open("rb") as file:
                self.replay.load(file)


def without_norms(layers: list[Layer], params: dict[str, Any], stats: dict[str, Any]) -> list[Layer]:
    """Fold the normalisation of each layer's inputs, with its running statistics, into that layer.

    Norm i stands before layer i; the last two layers (mean and deviation) share the last norm.
    """
    folded = []
    for place, (weight, bias) in enumerate(layers):
        name = f"BatchRenorm_{min(place, len(layers) - 2)}"
        scale = params[name]["scale"] / np.sqrt(stats[name]["var"] + RENORM_EPSILON)
        shift = params[name]["bias"] - stats[name]["mean"] * scale
        folded.append(((weight * scale).astype(np.float32), (bias + weight @ shift).astype(np.float32)))
    return folded
