"""The rink as gymnasium sees it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from competitor.rink import HockeyEnv, HockeyEnv_BasicOpponent, Mode


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.parametrize(("name", "kind"), [("Hockey-v0", HockeyEnv), ("Hockey-One-v0", HockeyEnv_BasicOpponent)])
def test_make(name: str, kind: type[HockeyEnv]) -> None:
    env = gymnasium.make(name, mode=Mode.TRAIN_SHOOTING)
    assert type(env.unwrapped) is kind
    assert env.observation_space.contains(env.reset(seed=1)[0])
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert obs in env.observation_space
    assert (type(reward), type(terminated), type(truncated), type(info)) == (float, bool, bool, dict)
    env.close()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: gymnasium.make("Hockey-v0").unwrapped,
        lambda: gymnasium.make("Hockey-One-v0").unwrapped,
        HockeyEnv,
        HockeyEnv_BasicOpponent,
        lambda: HockeyEnv(keep_mode=False),
        lambda: HockeyEnv(mode=Mode.TRAIN_DEFENSE),
    ],
)
def test_environment_checker(make: Any) -> None:
    np.random.seed(0)
    check_env(make())


def test_vectorised() -> None:
    envs = gymnasium.make_vec("Hockey-One-v0", num_envs=3, vectorization_mode="sync")
    assert envs.reset(seed=0)[0].shape == (3, 18)
    assert envs.step(envs.action_space.sample())[0].shape == (3, 18)
    envs.close()
