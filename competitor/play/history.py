"""What has happened so far in rounds that are not over yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from competitor.players import Array
from competitor.rink.constants import MOST_STEPS


class History:
    """Rounds on several rinks so far, in arrays as long as the longest round; axis 0 is the side, axis 1 the rink.

    obs (2, rinks, 252, features), one more than steps; actions (2, rinks, 251, action size); info (2, rinks, 251, 4).
    """

    def __init__(self, rinks: int, features: int, action_size: int) -> None:
        self.obs: Array = np.zeros((2, rinks, MOST_STEPS + 1, features), dtype=np.float32)
        self.actions: Array = np.zeros((2, rinks, MOST_STEPS, action_size), dtype=np.float32)
        self.info = np.zeros((2, rinks, MOST_STEPS, 4))

    def of_round(self, rink: int, steps: int) -> tuple[Array, Array, NDArray[np.float64]]:
        """Return obs, actions and info of the first `steps` steps on `rink`, as arrays of their own."""
        obs, actions, info = self.obs[:, rink, : steps + 1], self.actions[:, rink, :steps], self.info[:, rink, :steps]
        return obs.copy(), actions.copy(), info.copy()
