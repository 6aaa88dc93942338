"""Which rink to play on: the built-in one, or the course's `hockey` package where it is installed."""

import importlib
import sys
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from gymnasium.utils.seeding import np_random
from numpy.typing import NDArray

from competitor.errors import EngineError
from competitor.rink.constants import Mode
from competitor.rink.env import HockeyEnv
from competitor.rink.observation import INFO_KEYS, info_one, info_two, pack_view, write_view_one, write_view_two
from competitor.rink.one_player import register_rinks
from competitor.rink.simulation import fresh_simulation

ENGINES = ("builtin", "hockey")
HOCKEY_MODULE = "hockey.hockey_env"
HOW_TO_GET_HOCKEY = (
    "the rink engine 'hockey' needs the course's package, which is not installed, or cannot be loaded: run "
    "`pip install git+https://github.com/martius-lab/hockey-env.git`, or use engine 'builtin'"
)

Infos = tuple[tuple[float, ...], tuple[float, ...]]


class RinkRound(Protocol):
    """What RinkBatch needs of one rink: a new one for every round."""

    def step(self, action: list[float]) -> bool:
        """Play a step with 8 float32 values (6 without keep mode) in [-1, 1]; True when the round is over."""

    def write_views(self, buffer: memoryview, one_at: int, two_at: int) -> None:
        """Write both players' 18 float32 numbers into a buffer; only 16 count without keep mode."""

    def infos(self) -> Infos:
        """Both players' infos in the order of INFO_KEYS."""


class BuiltinRound:
    """A round on the built-in rink: what a new HockeyEnv plays after reset(one_starting, seed=seed)."""

    __slots__ = ("_rink",)

    def __init__(self, keep_mode: bool, mode: Mode, one_starting: bool, seed: int) -> None:
        self._rink = fresh_simulation(keep_mode, mode)
        self._rink.start(mode, one_starting, np_random(seed)[0])

    def step(self, action: list[float]) -> bool:
        self._rink.step(action)
        return self._rink.score.done

    def write_views(self, buffer: memoryview, one_at: int, two_at: int) -> None:
        write_view_one(self._rink, buffer, one_at)
        write_view_two(self._rink, buffer, two_at)

    def infos(self) -> Infos:
        return info_one(self._rink), info_two(self._rink)


class HockeyRound:
    """A round on the installed package's environment."""

    def __init__(self, keep_mode: bool, mode: Mode, one_starting: bool, seed: int) -> None:
        self._env = make_rink("hockey", keep_mode, mode)
        self._first: NDArray[np.float64]
        self._info: dict[str, Any]
        self._first, self._info = self._env.reset(one_starting, seed=seed)

    def step(self, action: list[float]) -> bool:
        self._first, _, done, _, self._info = self._env.step(np.array(action))
        return bool(done)

    def write_views(self, buffer: memoryview, one_at: int, two_at: int) -> None:
        unused = () if self._env.keep_mode else (0.0, 0.0)
        pack_view(buffer, one_at, *self._first, *unused)
        pack_view(buffer, two_at, *self._env.obs_agent_two(), *unused)

    def infos(self) -> Infos:
        second = self._env.get_info_agent_two()
        return tuple(self._info[key] for key in INFO_KEYS), tuple(second[key] for key in INFO_KEYS)


def make_rink(engine: str = "builtin", keep_mode: bool = True, mode: Mode | str | int = Mode.NORMAL) -> HockeyEnv | Any:
    """A new environment of the chosen engine: competitor.rink.HockeyEnv, or the installed package's.

    Raises EngineError if there is no such engine or its package is not installed.
    """
    mode = Mode.parse(mode)
    if engine == "builtin":
        return HockeyEnv(keep_mode=keep_mode, mode=mode)
    package = _hockey_package(engine)
    return package.HockeyEnv(keep_mode=keep_mode, mode=package.Mode(mode.value))


def make_round(engine: str, keep_mode: bool, mode: Mode, one_starting: bool, seed: int) -> RinkRound:
    """A new round on the chosen engine; raises EngineError like make_rink."""
    kind = BuiltinRound if engine == "builtin" else HockeyRound
    return kind(keep_mode, mode, one_starting, seed)


def check_engine(engine: str) -> None:
    """Raise EngineError unless the engine can be used here."""
    if engine != "builtin":
        _hockey_package(engine)


def _hockey_package(engine: str) -> ModuleType:
    """The module of the installed package that holds its environment."""
    if engine not in ENGINES:
        raise EngineError(f"unknown rink engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if sys.modules.get(HOCKEY_MODULE) is None:
        try:
            importlib.import_module(HOCKEY_MODULE)
        except Exception as error:  # a package that does not fit raises anything
            raise EngineError(HOW_TO_GET_HOCKEY) from error
        register_rinks()  # the package has just put its own entries over ours
    return sys.modules[HOCKEY_MODULE]
