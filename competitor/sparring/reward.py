"""What a sparring partner is paid for: this, beside the algorithm, makes its style."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamer.strict import Strict

Array = NDArray[np.float32]

OWN_X, PUCK_X, PUCK_VX, PUCK_VY, OWN_KEEP = 0, 12, 14, 15, 16


class Reward(Strict):
    """Weights of what happens in a frame, summed up to its reward; recipes.toml says what each one weighs."""

    goal: float
    conceded: float
    closeness: float
    touch: float
    direction: float
    possession: float
    bank: float
    forward: float
    hurry: float

    def of(self, obs: Array, info: NDArray[np.float64]) -> Array:
        """Rewards (steps,) of one player's view of a round: obs (steps + 1, 18), info (steps, 4)."""
        seen = obs[1:].astype(np.float64)
        holds = seen[:, OWN_KEEP] > 0
        shot_flies = (seen[:, PUCK_VX] > 0) & (seen[:, PUCK_X] > 0) & ~holds
        total: NDArray[np.float64] = info @ np.array([self.closeness, self.touch, self.direction, 0.0])
        total += self.possession * holds
        total += self.bank * shot_flies * np.abs(seen[:, PUCK_VY])
        total += self.forward * seen[:, OWN_X] - self.hurry
        winner = info[-1, 3]
        total[-1] += self.goal * max(winner, 0.0) + self.conceded * min(winner, 0.0)
        return total.astype(np.float32)
