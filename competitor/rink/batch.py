"""Many rinks behind one call, for training and evaluation."""

from struct import Struct
from typing import Any

import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import ArrayLike, NDArray

from competitor.rink.constants import OBSERVATION_SIZE, Mode
from competitor.rink.engines import RinkRound, check_engine, make_round
from competitor.rink.observation import VIEW

INFO = Struct("4d")
pack_info = INFO.pack_into


class RinkBatch(EzPickle):
    """N rinks that are stepped together; each plays one round and then waits for its next reset.

    A copy, and what a pickle gives back, is a new batch made with the same arguments, without rounds.

    Args:
        count: number of rinks.
        engine: "builtin" or "hockey"; raises EngineError if it is not there.
        keep_mode: whether players can hold and shoot the puck.

    Attributes, all preallocated and overwritten by reset and step:
        obs: float32 (2, count, 18): player one's views, player two's views (16 numbers without keep mode).
        info: float64 (2, count, 4): closeness, touch, direction and winner of the last step, for each player.
        done: bool (count,): the round is over, or none has begun.
    """

    def __init__(self, count: int, *, engine: str = "builtin", keep_mode: bool = True) -> None:
        super().__init__(count, engine=engine, keep_mode=keep_mode)
        check_engine(engine)
        self.engine, self.keep_mode = engine, keep_mode
        self._rounds: list[RinkRound | None] = [None] * count
        self._playing: set[int] = set()
        views = np.zeros((2, count, OBSERVATION_SIZE), np.float32)
        self.obs = views if keep_mode else views[:, :, :16]
        self.info = np.zeros((2, count, 4))
        self.done = np.ones(count, np.bool_)
        self._actions = np.zeros((count, 8 if keep_mode else 6), np.float32)
        self._view_bytes, self._info_bytes = _bytes(views), _bytes(self.info)

    def __len__(self) -> int:
        return len(self._rounds)

    def reset(self, index: int, *, one_starting: bool, seed: int, mode: Mode | str | int = Mode.NORMAL) -> None:
        """Begin a round on one rink, with a fresh rink object: the same arguments always give the same round.

        Fills obs[:, index], zeroes info[:, index] and clears done[index].
        """
        played = make_round(self.engine, self.keep_mode, Mode.parse(mode), one_starting, int(seed))
        index = range(len(self))[index]
        self._rounds[index] = played
        self._playing.add(index)
        self._write_views(index, played)
        self.info[:, index] = 0.0
        self.done[index] = False

    def step(self, actions: ArrayLike) -> None:
        """Play one step on every rink whose round is not over; the others are left untouched.

        actions: (count, 8): player one's 4 numbers, then player two's; (count, 6) without keep mode.
        They are clipped to [-1, 1]. Raises ValueError for another shape, and for NaN on a rink that plays.
        """
        rows = self._checked(actions)
        ended = []
        for index in self._playing:
            played = self._rounds[index]
            assert played is not None
            if played.step(rows[index]):
                ended.append(index)
            self._write_views(index, played)
            self._write_infos(index, played)
        for index in ended:
            self.done[index] = True
            self._playing.remove(index)

    def _checked(self, actions: ArrayLike) -> list[list[float]]:
        values = np.asarray(actions, np.float32)
        if values.shape != self._actions.shape:
            raise ValueError(f"actions of shape {self._actions.shape} were expected, got {values.shape}")
        np.clip(values, -1.0, 1.0, out=self._actions)
        broken = np.isnan(self._actions).any(axis=1) & ~self.done
        if broken.any():
            raise ValueError(f"actions must not contain NaN, but those of rink {int(broken.argmax())} do")
        rows: list[list[float]] = self._actions.tolist()
        return rows

    def _write_views(self, index: int, played: RinkRound) -> None:
        played.write_views(self._view_bytes, index * VIEW.size, (len(self._rounds) + index) * VIEW.size)

    def _write_infos(self, index: int, played: RinkRound) -> None:
        one, two = played.infos()
        pack_info(self._info_bytes, index * INFO.size, *one)
        pack_info(self._info_bytes, (len(self._rounds) + index) * INFO.size, *two)


def _bytes(array: NDArray[Any]) -> memoryview:
    """The memory of an array, for writing rows of plain floats at a tenth of the price of an assignment."""
    return array.data.cast("B")
