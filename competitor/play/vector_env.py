"""Many rinks as one environment of gymnasium, with any player on the other side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from competitor.players import Player, make_player
from competitor.players.player import SeededPlayer, checked_actions
from competitor.rink import Mode, RinkBatch
from competitor.rink.constants import FPS, WIN_REWARD
from competitor.rink.observation import INFO_KEYS

Rows = NDArray[np.float32]
CLOSENESS, WINNER = INFO_KEYS.index("reward_closeness_to_puck"), INFO_KEYS.index("winner")


class HockeyVectorEnv(VectorEnv[Rows, Rows, NDArray[Any]]):
    """`num_envs` rinks that are stepped together; you play on the left of each, the opponent on the right.

    Each round takes a fresh rink, and who starts alternates. A round that has ended begins anew at the next step, which
    ignores your action there (AutoresetMode.NEXT_STEP). Rewards are HockeyEnv's. A goal terminates a round, and so does
    the clock in an ordinary round, whose draw is a result; in the training modes the clock truncates.
    A reset with a seed decides everything that follows, as far as the opponent's chance belongs to the round
    (SeededPlayer) or to nobody.

    Args:
        num_envs: number of rinks.
        opponent: a Player, or what `make_player` makes one of: "weak", "strong", "champion", a checkpoint, ...
        mode: kind of round, as a member, name or number of Mode.
        engine, keep_mode: of the rinks, see RinkBatch.

    Raises PlayerError, CheckpointError or EngineError when there is no such opponent or engine.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": [], "render_fps": FPS}

    def __init__(
        self,
        num_envs: int,
        opponent: Player | str = "weak",
        *,
        mode: Mode | str | int = Mode.NORMAL,
        engine: str = "builtin",
        keep_mode: bool = True,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.opponent = make_player(opponent, seed=0, keep_mode=keep_mode) if isinstance(opponent, str) else opponent
        self._mode = Mode.parse(mode)
        self._rinks = RinkBatch(num_envs, engine=engine, keep_mode=keep_mode)
        self._action_size = 4 if keep_mode else 3
        self.single_observation_space = spaces.Box(-np.inf, np.inf, self._rinks.obs.shape[2:], np.float32)
        self.single_action_space = spaces.Box(-1, 1, (self._action_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._chances = [np.random.default_rng() for _ in range(num_envs)]
        self._rounds = [0] * num_envs
        self._is_first = np.zeros(0, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Rows, dict[str, Any]]:
        """Begin a round on every rink; returns observations (num_envs, 18) and infos.

        seed: of the first rink, the others take the numbers after it; or one for each. None goes on with the chance
        that is there. options: none is known.
        """
        seeds = [seed] * self.num_envs if seed is None else seed
        if isinstance(seeds, int | np.integer):
            seeds = [int(seeds) + place for place in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"one seed for each of {self.num_envs} rinks was expected, not {len(seeds)}")
        for place, one in enumerate(seeds):
            if one is not None:
                self._chances[place], self._rounds[place] = np.random.default_rng(one), 0
        self.opponent.reset(self.num_envs)
        for place in range(self.num_envs):
            self._begin(place)
        self._is_first = np.ones(self.num_envs, np.bool_)
        return self._rinks.obs[0].copy(), self._infos()

    def _begin(self, place: int) -> None:
        seed = int(self._chances[place].integers(2**31))
        self._rinks.reset(place, one_starting=self._rounds[place] % 2 == 0, seed=seed, mode=self._mode)
        self._rounds[place] += 1
        if isinstance(self.opponent, SeededPlayer):
            self.opponent.begin_round(place, (seed,))

    def step(
        self, actions: ArrayLike
    ) -> tuple[Rows, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play one step with your actions (num_envs, 4), clipped to [-1, 1].

        Returns observations, rewards, terminated, truncated and infos, a row for each rink. Raises PlayerError for
        actions of another shape, ValueError for NaN, ResetNeeded before the first `reset`.
        """
        if not self._is_first.size:
            raise ResetNeeded("call reset() before step()")
        own = checked_actions(actions, self.num_envs, self._action_size)
        ended = self._rinks.done.copy()
        seen = np.where(ended[:, None], np.nan, self._rinks.obs[1]).astype(np.float32)
        theirs = np.asarray(self.opponent.act(seen, self._is_first))[:, : self._action_size]
        self._rinks.step(np.hstack([own, theirs]))
        for place in np.flatnonzero(ended).tolist():
            self._begin(place)
        self._is_first = ended
        info = self._rinks.info[0]
        rewards = np.where(ended, 0.0, WIN_REWARD * info[:, WINNER] + info[:, CLOSENESS])
        cut = self._rinks.done & (info[:, WINNER] == 0) & (self._mode is not Mode.NORMAL)
        return self._rinks.obs[0].copy(), rewards, self._rinks.done & ~cut, cut, self._infos()

    def _infos(self) -> dict[str, Any]:
        present = np.ones(self.num_envs, np.bool_)
        infos = {key: self._rinks.info[0, :, place].copy() for place, key in enumerate(INFO_KEYS)}
        return infos | {f"_{key}": present for key in INFO_KEYS}
