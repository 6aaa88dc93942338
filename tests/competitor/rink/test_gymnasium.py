"""The rink as gymnasium sees it."""

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


@pytest.mark.parametrize("name", ["Hockey-v0", "Hockey-One-v0"])
def test_a_seed_decides_everything_that_follows(name: str) -> None:
    """Two fresh environments, and one that has played before; with and without a seed at the later resets."""
    assert gymnasium.spec(name).nondeterministic is False
    used = gymnasium.make(name)
    play(used, seed=4)
    seen = [play(env, seed=5) for env in (gymnasium.make(name), gymnasium.make(name), used)]
    for other in seen[1:]:
        np.testing.assert_array_equal(seen[0], other)
    assert len(seen[0]) == len(play(used, seed=6)) and (seen[0] != play(used, seed=6)).any()


def play(env: Any, seed: int) -> Any:
    """The observations of three rounds, the second and third of which are reset without a seed."""
    chance = np.random.default_rng(0)
    seen = []
    for start in (seed, None, None):
        seen.append(env.reset(seed=start)[0])
        seen += [env.step(chance.uniform(-1, 1, env.action_space.shape))[0] for _ in range(40)]
    return np.array(seen)


@pytest.mark.filterwarnings("ignore:.*Official support for the `seed` function is dropped.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*minimum value is -infinity.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*maximum value is infinity.*:UserWarning")
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
