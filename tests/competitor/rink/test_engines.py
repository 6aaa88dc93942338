"""The installed package as engine, here a stand-in made of the built-in rink."""

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from competitor.arena.game import Game
from competitor.errors import EngineError
from competitor.evaluate.evaluation import evaluate
from competitor.play.recording import load_recording, play_back, record_round, verify_recording
from competitor.play.rounds import RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.rink import HockeyEnv, Mode, RinkBatch, engines, make_rink


class ForeignMode(Enum):
    NORMAL = 0
    TRAIN_SHOOTING = 1
    TRAIN_DEFENSE = 2


class ForeignEnv:
    """Has what the installed package's environment has, and nothing else; it takes its own Mode only."""

    made = 0

    def __init__(
        self, keep_mode: bool = True, mode: ForeignMode | int | str = ForeignMode.NORMAL, verbose: bool = False
    ) -> None:
        assert isinstance(mode, ForeignMode | int | str)
        self.__rink = HockeyEnv(keep_mode, mode.value if isinstance(mode, ForeignMode) else mode)
        self.keep_mode, self.mode = keep_mode, mode
        ForeignEnv.made += 1

    def reset(self, one_starting: bool | None = None, mode: Any = None, seed: int | None = None, options: Any = None):  # type: ignore[no-untyped-def]
        if mode is not None:
            raise TypeError("'int' object is not callable")
        return self.__rink.reset(one_starting, seed=seed)

    def step(self, action: np.ndarray):  # type: ignore[no-untyped-def]
        return self.__rink.step(action)

    def obs_agent_two(self) -> np.ndarray:
        return self.__rink.obs_agent_two()

    def get_info_agent_two(self) -> dict[str, Any]:
        return self.__rink.get_info_agent_two()

    def render(self, mode: str = "human") -> Any:
        return self.__rink.render(mode)

    def close(self) -> None:
        self.__rink.close()

    @property
    def max_timesteps(self) -> int:
        return self.__rink.max_timesteps


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("hockey.hockey_env")
    module.HockeyEnv, module.Mode = ForeignEnv, ForeignMode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hockey", ModuleType("hockey"))
    monkeypatch.setitem(sys.modules, "hockey.hockey_env", module)
    return module


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hockey", None)
    monkeypatch.setitem(sys.modules, "hockey.hockey_env", None)


def test_builtin_engine() -> None:
    env = make_rink("builtin", keep_mode=False, mode="TRAIN_DEFENSE")
    assert type(env) is HockeyEnv
    assert (env.keep_mode, env.mode) == (False, Mode.TRAIN_DEFENSE)


def test_installed_engine(package: ModuleType) -> None:
    env = make_rink("hockey", mode=Mode.TRAIN_SHOOTING)
    assert type(env) is ForeignEnv
    assert env.max_timesteps == 80


@pytest.mark.parametrize("keep_mode", [True, False])
def test_batch_on_the_installed_engine(package: ModuleType, keep_mode: bool) -> None:
    size = 8 if keep_mode else 6
    ours, theirs = (RinkBatch(2, engine=engine, keep_mode=keep_mode) for engine in ("builtin", "hockey"))
    made = ForeignEnv.made
    for batch in (ours, theirs):
        batch.reset(0, one_starting=True, seed=3)
        batch.reset(1, one_starting=False, seed=4, mode=Mode.TRAIN_DEFENSE)
    assert ForeignEnv.made == made + 2
    for actions in np.random.default_rng(0).uniform(-1, 1, (90, 2, size)):
        ours.step(actions)
        theirs.step(actions)
        assert_array_equal(ours.obs, theirs.obs)
        assert_array_equal(ours.info, theirs.info)
        assert_array_equal(ours.done, theirs.done)


@pytest.mark.parametrize("make", [make_rink, lambda engine: RinkBatch(1, engine=engine)])
def test_missing_package_is_one_sentence(no_package: None, make: type[RinkBatch]) -> None:
    with pytest.raises(EngineError, match="pip install") as caught:
        make(engine="hockey")  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def test_unknown_engine() -> None:
    with pytest.raises(EngineError, match="builtin, hockey"):
        make_rink("mujoco")


def test_registration_survives_the_package(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the package registers the same names with entry points that do not exist."""

    def import_module(name: str) -> None:
        gymnasium.envs.registration.registry.pop("Hockey-v0")
        gymnasium.register(id="Hockey-v0", entry_point="nowhere:HockeyEnv")
        sys.modules[name] = package

    monkeypatch.delitem(sys.modules, "hockey.hockey_env")
    monkeypatch.setattr(engines, "importlib", SimpleNamespace(import_module=import_module))
    assert type(make_rink("hockey")) is ForeignEnv
    assert type(gymnasium.make("Hockey-v0").unwrapped) is HockeyEnv


def test_rounds_are_evaluated_on_the_installed_engine(package: ModuleType) -> None:
    results = []
    for engine in ("builtin", "hockey"):
        made = ForeignEnv.made
        report = evaluate(BasicPlayer(weak=False), {"weak": BasicPlayer(weak=True)}, rounds=4, rinks=3, engine=engine)
        results.append(report.results)
        assert ForeignEnv.made - made == (4 if engine == "hockey" else 0)
    assert results[0] == results[1]


def test_a_game_of_the_arena_and_a_played_back_round_on_the_installed_engine(
    package: ModuleType, tmp_path: Path
) -> None:
    game = Game(seed=1, rounds=1, engine="hockey")
    while not game.over:
        game.step((1, 0, 0, 0), (0, 0, 0, 0))
    (played,) = play_rounds(
        BasicPlayer(weak=False),
        BasicPlayer(weak=True),
        [RoundSetup(one_starting=True, seed=3)],
        rinks=1,
        engine="hockey",
    )
    path = record_round(tmp_path, played, number=0, player="strong", engine="hockey", keep_mode=True)
    assert verify_recording(path, "hockey").identical
    rinks = list(play_back(load_recording(path), "hockey"))
    assert len(rinks) == played.steps + 1 and isinstance(rinks[0], ForeignEnv)
