"""The learner, and its policy as NumPy sees it: what collects rounds, and what is exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from competitor.players import ACTION_SIZE
from competitor.players.sparring import SmallPolicy

Array = NDArray[np.float32]
Layer = tuple[Array, Array]

_BODY = [1.5, 1.2, 0.6, 4.0, 4.5, 3.5]
SHIFT = np.array([-2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2], np.float32)
SCALE = np.array([*_BODY, *_BODY, 2.0, 1.7, 12.0, 10.0, 5.0, 5.0], np.float32)
"""About the means and deviations of the observation in rounds of the strong opponent against itself."""


def normalized(obs: Array) -> Array:
    """Observations (..., 18) in the units that the networks see."""
    return ((obs - SHIFT) / SCALE).astype(np.float32)


@dataclass(frozen=True)
class Actor:
    """A policy with its exploration: hidden layers, the action's mean, and the logarithm of its deviation.

    A layer is (weight (outputs, inputs), bias (outputs,)); the first takes normalised observations. A deviation that
    does not depend on the observation has weights of 0. noise_after_squash: the noise is added to the action in
    [-1, 1] (TD3), not to the number that is squashed into it.
    """

    hidden: list[Layer]
    mean: Layer
    log_std: Layer
    tanh_layers: bool
    squash: bool
    noise_after_squash: bool

    def sample(self, obs: Array, noise: Array) -> Array:
        """Actions (n, 4) for observations (n, 18) and standard normal noise (n, 4)."""
        values = normalized(obs)
        for weight, bias in self.hidden:
            values = values @ weight.T + bias
            values = np.tanh(values) if self.tanh_layers else np.maximum(values, 0.0)
        mean = values @ self.mean[0].T + self.mean[1]
        spread = np.exp(np.clip(values @ self.log_std[0].T + self.log_std[1], -20.0, 2.0)) * noise
        if self.noise_after_squash:
            actions = np.tanh(mean) + spread
        else:
            actions = np.tanh(mean + spread) if self.squash else mean + spread
        bounded: Array = np.clip(actions, -1.0, 1.0).astype(np.float32)
        return bounded

    def policy(self) -> SmallPolicy:
        """The policy without noise; the normalisation becomes part of the first layer."""
        weights, biases = map(list, zip(*self.hidden, self.mean, strict=True))
        weights[0] = weights[0] / SCALE
        biases[0] = biases[0] - weights[0] @ SHIFT
        return SmallPolicy(weights, biases, tanh_layers=self.tanh_layers, squash=self.squash)


@dataclass(frozen=True)
class Exploring:
    """Decides as the learner does now, with its noise."""

    actor: Callable[[], Actor]
    chance: np.random.Generator

    def decide(self, obs: Array) -> Array:
        """Actions (n, 4) for observations (n, 18)."""
        return self.actor().sample(obs, self.chance.standard_normal((len(obs), ACTION_SIZE), np.float32))


class Learner(Protocol):
    """What the trainer asks of an algorithm that learns from views of rounds, whatever library it comes from."""

    updates: int

    def enter(self, obs: Array, action: Array, reward: Array, *, terminal: bool, own: bool) -> None:
        """Take in one view of a round: obs (steps + 1, 18), action (steps, 4), reward (steps,).

        terminal: its end is a result, a goal or the clock's draw, so its last view has no value. own: the learner's
        policy played it.
        """

    def learn(self, frames: int) -> bool:
        """Make the updates that are due when `frames` more frames were played; say whether there were any."""

    def actor(self) -> Actor:
        """The policy as it is now."""

    def numbers(self) -> dict[str, float]:
        """Losses and the like of the last update."""

    def save(self, directory: Path) -> None:
        """Write everything that `load` needs into a directory."""

    def load(self, directory: Path, *, weights_only: bool = False) -> None:
        """Take over what `save` wrote: all of it, or what was learned without rounds and counters."""
