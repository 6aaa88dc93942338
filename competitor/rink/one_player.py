"""The rink for one agent: the basic opponent sits on the other side."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike

from competitor.rink.actions import checked_action
from competitor.rink.basic_opponent import BasicOpponent
from competitor.rink.env import HockeyEnv, Info, Observation
from competitor.rink.modes import Mode


class HockeyEnv_BasicOpponent(HockeyEnv):
    """HockeyEnv with player two played by the basic opponent; actions are player one's 4 numbers.

    Args:
        mode: kind of round, as a member, name or number of Mode.
        weak_opponent: the weak instead of the strong opponent.
        render_mode: see HockeyEnv.
    """

    def __init__(
        self,
        mode: Mode | str | int = Mode.NORMAL,
        weak_opponent: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(keep_mode=True, mode=mode, render_mode=render_mode)
        self.opponent = BasicOpponent(weak=weak_opponent)
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, Info]:
        """Play one step with player one's action, 4 numbers; see HockeyEnv.step."""
        own = checked_action(action, 4)
        return super().step([*own, *self.opponent.decide(self.obs_agent_two().tolist())])
