"""The basic opponents: they run behind the puck and push it forward, and go home when it flies away."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOME_X = -3.5
"""Where the opponent waits, relative to the centre."""
MAX_TARGET_ANGLE = math.pi / 3
PHASE_STEP = 0.2
DAMPING_GAIN = 0.5


Obs = Sequence[float] | NDArray[np.floating]


class BasicOpponent:
    """The course's hand-written player, weak or strong.

    Args:
        weak: gain 0.5 instead of 10.
        keep_mode: act with 4 numbers, the last of them shoots; otherwise with 3.
        generator: source of the phase, by which it swings its stick; None is NumPy's global generator, as
            in the reference.
    """

    def __init__(self, weak: bool = True, keep_mode: bool = True, generator: np.random.Generator | None = None) -> None:
        self.weak = weak
        self.keep_mode = keep_mode
        self._generator = generator
        self._take_chance()
        self.phase: float = math.pi * self._random()

    def _take_chance(self) -> None:
        # high * random() is uniform(0, high), bit for bit, at a fifth of its price.
        self._random = np.random.random_sample if self._generator is None else self._generator.random

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the generator's method: a copy of NumPy's global one would be global no more."""
        return {key: value for key, value in vars(self).items() if key != "_random"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take_chance()

    def act(self, obs: Obs, verbose: bool = False) -> NDArray[np.float64]:
        """The action, (4,) or (3,) floats in [-1, 1], for the own view (18,) or (16,) of the rink."""
        return np.array(self.decide(obs.tolist() if isinstance(obs, np.ndarray) else obs))

    def decide(self, obs: Sequence[float]) -> tuple[float, ...]:
        """What act returns, from plain floats to plain floats."""
        self.phase += PHASE_STEP * self._random()
        x, y, angle, vx, vy, spin, _, _, _, _, _, _, puck_x, puck_y, puck_vx, puck_vy, *keep = obs
        if puck_vx >= 0.5:
            target_x, target_y = HOME_X, 0.0
        elif x < puck_x and -0.5 < y - puck_y < 0.5:
            dx, dy = x - puck_x, y - puck_y
            target_x, target_y = puck_x + 0.2, puck_y + puck_vy * math.sqrt(dx * dx + dy * dy) * 0.1
        else:
            target_x, target_y = HOME_X, puck_y
        gain = 0.5 if self.weak else 10.0
        push_x = _approach(target_x - x, vx, gain, 0.1)
        push_y = _approach(target_y - y, vy, gain / 5, 0.1)
        turn = _approach(MAX_TARGET_ANGLE * math.sin(self.phase) - angle, spin, gain / 2, 1.0)
        if not self.keep_mode:
            return push_x, push_y, turn
        return push_x, push_y, turn, 1.0 if 0 < keep[0] < 7 else 0.0


def _approach(error: float, velocity: float, gain: float, brake_s: float) -> float:
    """A force towards a target; it brakes when the target is reached in less than brake_s seconds."""
    force, rate = error * gain, velocity + 0.01
    if rate != 0 and -brake_s < error / rate < brake_s:
        force -= velocity * DAMPING_GAIN
    return -1.0 if force < -1.0 else 1.0 if force > 1.0 else force
