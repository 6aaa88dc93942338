"""The learner's policy as NumPy sees it: what collects rounds, and what is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competitor.players import ACTION_SIZE, Flags, playing_rows
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


class LearningPlayer:
    """Plays as the learner does now, with its noise; an action is kept for `repeat` frames."""

    def __init__(self, name: str, actor: Callable[[], Actor], repeat: int, chance: np.random.Generator) -> None:
        self.name = name
        self._actor, self._repeat, self._chance = actor, repeat, chance
        self.reset(0)

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""
        self._kept: Array = np.zeros((slots, ACTION_SIZE), np.float32)
        self._frames: NDArray[np.intp] = np.zeros(slots, np.intp)

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4) for observations (slots, 18)."""
        self._frames[is_first] = 0
        rows = playing_rows(obs)
        deciding = rows[self._frames[rows] == 0]
        if deciding.size:
            noise = self._chance.standard_normal((len(deciding), ACTION_SIZE), np.float32)
            self._kept[deciding] = self._actor().sample(obs[deciding], noise)
        self._frames[rows] = (self._frames[rows] + 1) % self._repeat
        return self._kept.copy()
