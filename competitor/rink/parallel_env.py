"""The rink for two agents as PettingZoo's parallel environments are. Needs the extra `pettingzoo`."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from competitor.errors import needing
from competitor.rink.constants import FPS, Mode
from competitor.rink.env import HockeyEnv, Observation

with needing("competitor.rink.parallel_env", "pettingzoo"):
    from pettingzoo import ParallelEnv

ONE, TWO = "player_1", "player_2"
OfEach = dict[str, Any]


class HockeyParallelEnv(ParallelEnv):  # type: ignore[misc]
    """Two agents, `player_1` and `player_2`, who see the rink alike: each plays from left to right.

    Observations (18,), actions (4,) and rewards are HockeyEnv's for each side. A round ends for both: a goal terminates
    it, and so does the clock in an ordinary round, whose draw is a result; in the training modes the clock truncates.

    Args:
        mode, keep_mode, render_mode: see HockeyEnv.
    """

    metadata = {
        "name": "hockey_v0",
        "render_modes": ["human", "rgb_array"],
        "render_fps": FPS,
        "is_parallelizable": True,
    }

    def __init__(
        self, mode: Mode | str | int = Mode.NORMAL, keep_mode: bool = True, render_mode: str | None = None
    ) -> None:
        self._env = HockeyEnv(keep_mode=keep_mode, mode=mode, render_mode=render_mode, fresh_on_seed=True)
        self.render_mode = render_mode
        self.possible_agents = [ONE, TWO]
        self.agents: list[str] = []
        own = spaces.Box(-1, 1, (self._env.num_actions,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, self._env.observation_space)
        self.action_spaces = dict.fromkeys(self.possible_agents, own)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: OfEach | None = None) -> tuple[OfEach, OfEach]:
        """Begin a round; returns the observations and infos of both. A seed decides everything that follows."""
        self.agents = list(self.possible_agents)
        self._env.reset(seed=seed, options=options)
        return self._of_both(self._env._get_obs(), self._env.obs_agent_two()), self._infos()

    def step(self, actions: OfEach) -> tuple[OfEach, OfEach, OfEach, OfEach, OfEach]:
        """Play one step with the actions of both; returns observations, rewards, terminations, truncations and infos.

        Raises ValueError like HockeyEnv.step, KeyError when an agent's action is missing.
        """
        obs, _, done, _, _ = self._env.step(np.hstack([actions[ONE], actions[TWO]]))
        infos = self._infos()
        rewards = self._of_both(self._env.get_reward(infos[ONE]), self._env.get_reward_agent_two(infos[TWO]))
        seen = self._of_both(obs, self._env.obs_agent_two())
        cut = done and self._env.mode is not Mode.NORMAL and infos[ONE]["winner"] == 0
        if done:
            self.agents = []
        return seen, rewards, self._of_both(done and not cut, done and not cut), self._of_both(cut, cut), infos

    def _infos(self) -> OfEach:
        return self._of_both(self._env._get_info(), self._env.get_info_agent_two())

    @staticmethod
    def _of_both(one: Any, two: Any) -> OfEach:
        return {ONE: one, TWO: two}

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the rink as `render_mode` says; see HockeyEnv.render."""
        return self._env.render()

    def state(self) -> Observation:
        """Everything that there is to see, which is player_1's observation."""
        return self._env._get_obs()

    def close(self) -> None:
        self._env.close()
