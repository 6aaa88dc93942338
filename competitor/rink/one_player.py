"""The rink for one agent, the basic opponent on the other side; and the names by which gymnasium.make finds both."""

from dataclasses import replace

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import register, registry, spec
from gymnasium.utils import EzPickle
from numpy.typing import ArrayLike

from competitor.rink.actions import checked_action
from competitor.rink.basic_opponent import BasicOpponent
from competitor.rink.constants import Mode
from competitor.rink.env import HockeyEnv, Info, Observation

OPPONENT = 2
"""Tells the opponent's chance from the rink's, which comes from the seed alone."""


class HockeyEnv_BasicOpponent(HockeyEnv):
    """HockeyEnv with player two played by the basic opponent; actions are player one's 4 numbers.

    Args:
        mode: kind of round, as a member, name or number of Mode.
        weak_opponent: the weak instead of the strong opponent.
        render_mode, fresh_on_seed: see HockeyEnv. With fresh_on_seed the opponent's chance comes from the seed as
            well, otherwise from NumPy's global generator, as in the reference.
    """

    def __init__(
        self,
        mode: Mode | str | int = Mode.NORMAL,
        weak_opponent: bool = False,
        render_mode: str | None = None,
        fresh_on_seed: bool = False,
    ) -> None:
        super().__init__(keep_mode=True, mode=mode, render_mode=render_mode, fresh_on_seed=fresh_on_seed)
        EzPickle.__init__(self, mode, weak_opponent, render_mode, fresh_on_seed)
        self.opponent = BasicOpponent(weak=weak_opponent)
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def reset(
        self,
        one_starting: bool | None = None,
        mode: Mode | str | int | None = None,
        seed: int | None = None,
        options: Info | None = None,
    ) -> tuple[Observation, Info]:
        if seed is not None and self._fresh_on_seed:
            chance = np.random.default_rng((int(seed), OPPONENT))
            self.opponent = BasicOpponent(weak=self.opponent.weak, generator=chance)
        return super().reset(one_starting, mode, seed, options)

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, Info]:
        """Play one step with player one's action, 4 numbers; see HockeyEnv.step."""
        own = checked_action(action, 4)
        return super().step([*own, *self.opponent.decide(self.obs_agent_two().tolist())])


def register_rinks() -> None:
    """Register Hockey-v0 and Hockey-One-v0, in place of the course package's entries, which point nowhere.

    Made that way a seed decides everything that follows. A class used directly is the reference's, where who starts
    alternates whatever the seed is: it carries a specification that says so.
    """
    for name, kind in (("Hockey-v0", HockeyEnv), ("Hockey-One-v0", HockeyEnv_BasicOpponent)):
        registry.pop(name, None)
        register(id=name, entry_point=f"{kind.__module__}:{kind.__name__}", kwargs={"fresh_on_seed": True})
        kind.spec = replace(spec(name), nondeterministic=True, kwargs={})
