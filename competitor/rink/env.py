"""HockeyEnv: one rink behind the interface of the course's environment and of gymnasium."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle, seeding
from numpy.typing import ArrayLike, NDArray

from competitor.rink.actions import checked_action, discrete_action
from competitor.rink.constants import FPS, TIME_STEP, WIN_REWARD, Mode
from competitor.rink.observation import VIEW, info_one, info_two, state_of_view, write_view_one, write_view_two
from competitor.rink.reference_names import FAR, ReferenceNames
from competitor.rink.rendering import Canvas
from competitor.rink.simulation import Simulation, fresh_simulation

Observation = NDArray[np.float64]
Info = dict[str, Any]
LARGEST = 1e6  # of a state's numbers: far beyond any rink, and far from the end of float32


class HockeyEnv(ReferenceNames, gymnasium.Env[Observation, NDArray[np.floating]], EzPickle):
    """Two players, one puck.

    A copy, and what a pickle gives back, is a new rink made with the same arguments, as in the reference: the
    physics engine's state cannot be copied. `set_state` takes a copy to where this one is.

    Args:
        keep_mode: players can hold and shoot the puck. Actions then have 8 numbers and observations 18,
            otherwise 6 and 16.
        mode: kind of round, as a member, name or number of Mode.
        verbose: print every goal.
        render_mode: what `render()` does without an argument, "human" or "rgb_array".
        fresh_on_seed: a reset with a seed forgets all rounds before it, so that the seed alone decides what
            comes, as gymnasium wants it. Otherwise, as in the reference, who starts alternates whatever the seed,
            and the counters of players who hold the puck outlive a round.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": FPS}
    timeStep = TIME_STEP

    def __init__(
        self,
        keep_mode: bool = True,
        mode: Mode | str | int = Mode.NORMAL,
        verbose: bool = False,
        render_mode: str | None = None,
        fresh_on_seed: bool = False,
    ) -> None:
        EzPickle.__init__(self, keep_mode, mode, verbose, render_mode, fresh_on_seed)
        self.keep_mode = keep_mode
        self.mode = Mode.parse(mode)
        self.verbose = verbose
        self.render_mode = render_mode
        self._fresh_on_seed = fresh_on_seed
        self._rink = self._new_rink()
        self._canvas: Canvas | None = None
        self._prepare_spaces()

    def _new_rink(self) -> Simulation:
        rink = fresh_simulation(self.keep_mode, self.mode)
        rink.score.verbose = self.verbose
        return rink

    def _prepare_spaces(self) -> None:
        self.num_actions = 4 if self.keep_mode else 3
        self._action_count = 2 * self.num_actions
        size = 18 if self.keep_mode else 16
        self._view_bytes = memoryview(bytearray(VIEW.size))
        self._view = np.frombuffer(self._view_bytes, np.float32, size)
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float64)
        self.action_space = spaces.Box(-1, 1, (self._action_count,), np.float32)
        self.discrete_action_space = spaces.Discrete(7)

    def seed(self, seed: int | None = None) -> list[int]:
        """Replace the generator; a reset with a seed does so as well. None: one that nobody can foresee."""
        self.np_random, used = seeding.np_random(None if seed is None else int(seed))
        return [used]

    def reset(  # gymnasium's arguments come last in the reference
        self,
        one_starting: bool | None = None,
        mode: Mode | str | int | None = None,
        seed: int | None = None,
        options: Info | None = None,
    ) -> tuple[Observation, Info]:
        """Begin a round and return player one's observation and info.

        Args:
            one_starting: whether the puck is on player one's side; None alternates. The training modes
                ignore it.
            mode: switches the mode for this and the following rounds.
            seed: of the generator that places puck and player; None goes on with the present one.
        """
        self.mode = Mode.parse(self.mode if mode is None else mode)
        if seed is not None:
            self.seed(seed)
            if self._fresh_on_seed:
                self._rink = self._new_rink()
        self.closest_to_goal_dist = FAR
        self._rink.start(self.mode, one_starting, self.np_random)
        return self._get_obs(), self._get_info()

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, Info]:
        """Play one step with both players' actions, 8 numbers (6 without keep mode); more than 1 is clipped.

        Raises ValueError for a wrong shape or NaN.
        """
        rink = self._rink
        rink.step(checked_action(action, self._action_count))
        info = self._get_info()
        write_view_one(rink, self._view_bytes, 0)
        return self._view.astype(np.float64), self.get_reward(info), rink.score.done, False, info

    def _get_obs(self) -> Observation:
        write_view_one(self._rink, self._view_bytes, 0)
        return self._view.astype(np.float64)

    def obs_agent_two(self) -> Observation:
        write_view_two(self._rink, self._view_bytes, 0)
        return self._view.astype(np.float64)

    def _get_info(self) -> Info:
        """Player one's rewards of the last step and the winner: 1, 0 or -1."""
        return _named(info_one(self._rink))

    def get_info_agent_two(self) -> Info:
        """Player two's rewards; the winner is 1 if player two won."""
        return _named(info_two(self._rink))

    def get_reward(self, info: Info) -> float:
        """Player one's reward: 10 for a goal, -10 for the other side's, and the closeness to the puck."""
        return float(WIN_REWARD * self._rink.score.winner + info["reward_closeness_to_puck"])

    def get_reward_agent_two(self, info_two: Info) -> float:
        return float(-WIN_REWARD * self._rink.score.winner + info_two["reward_closeness_to_puck"])

    def discrete_to_continous_action(self, discrete_action_index: int) -> list[float]:
        """One player's action: 0 nothing, 1/2 force x -/+, 3/4 force y -/+, 5/6 torque -/+, 7 shoot."""
        return discrete_action(discrete_action_index, self.keep_mode)

    def set_state(self, state: ArrayLike) -> None:
        """Put everything to where player one's observation says, counters included.

        Raises ValueError for a wrong shape or numbers that are not finite, or beyond a million: the physics engine
        would come to NaN, for good.
        """
        values = np.asarray(state, np.float64)
        if values.shape != self.observation_space.shape or not (np.abs(values) <= LARGEST).all():
            raise ValueError(
                f"a state is an observation of {self.observation_space.shape} finite numbers up to {LARGEST:g}"
            )
        self._rink.place(state_of_view(values))
        if self.keep_mode:
            score = self._rink.score
            score.held_1, score.held_2 = int(values[16]), int(values[17])

    def render(self, mode: str | None = None) -> NDArray[np.uint8] | None:
        """Draw the rink: mode "human" shows a window, "rgb_array" returns a picture (480, 600, 3).

        Without a mode the render_mode of the constructor counts, else "human". Raises PackageError without
        pygame, RenderError without a screen, and ValueError for another mode.
        """
        mode = mode or self.render_mode or "human"
        if mode not in self.metadata["render_modes"]:
            raise ValueError(f"unknown render mode {mode!r}: expected human or rgb_array")
        if self._canvas is None:
            self._canvas = Canvas()
        if mode == "rgb_array":
            return self._canvas.frame(self._rink)
        self._canvas.show(self._rink)
        return None

    def close(self) -> None:
        """Close the window, if there is one. The rink can still be played on."""
        if self._canvas is not None:
            self.isopen = self.screen is None
            self._canvas.close()
            self._canvas = None


def _named(info: tuple[float, float, float, int]) -> Info:
    closeness, touch, direction, winner = info
    return {
        "winner": winner,
        "reward_closeness_to_puck": closeness,
        "reward_touch_puck": touch,
        "reward_puck_direction": direction,
    }
