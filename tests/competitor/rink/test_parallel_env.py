"""The rink as a parallel environment of PettingZoo, by its own checkers and beside HockeyEnv."""

import importlib
import sys
import warnings
from typing import Any

import numpy as np
import pytest

from competitor.errors import PackageError
from competitor.rink import HockeyEnv, Mode

pytest.importorskip("pettingzoo", reason="the extra `pettingzoo` is not installed")
from competitor.rink.parallel_env import ONE, TWO, HockeyParallelEnv

with warnings.catch_warnings(action="ignore"):  # its checkers load games of its own, by a way that it calls old
    from pettingzoo.test import parallel_api_test, parallel_seed_test


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker's: bounds of observations are infinite
@pytest.mark.parametrize("options", [{}, {"keep_mode": False}, {"mode": "TRAIN_SHOOTING"}])
def test_its_own_checkers_are_content(options: dict[str, Any]) -> None:
    parallel_api_test(HockeyParallelEnv(**options), num_cycles=600)
    parallel_seed_test(lambda: HockeyParallelEnv(**options), num_cycles=300)


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.TRAIN_DEFENSE])
def test_each_side_is_that_of_the_rink_and_both_end_together(mode: Mode) -> None:
    env, rink = HockeyParallelEnv(mode=mode), HockeyEnv(mode=mode, fresh_on_seed=True)
    chance = np.random.default_rng(0)
    seen, _ = env.reset(seed=3)
    expected, _ = rink.reset(seed=3)
    steps = 0
    while env.agents:
        assert np.array_equal(seen[ONE], expected) and np.array_equal(seen[TWO], rink.obs_agent_two())
        actions = {name: chance.uniform(-1, 1, 4) for name in env.agents}
        seen, rewards, terminated, truncated, infos = env.step(actions)
        expected, reward, done, _, info = rink.step(np.hstack([actions[ONE], actions[TWO]]))
        assert (rewards[ONE], infos[ONE]) == (reward, info)
        assert rewards[TWO] == rink.get_reward_agent_two(rink.get_info_agent_two())
        steps += 1
    cut = mode is not Mode.NORMAL and info["winner"] == 0
    assert done and terminated == {ONE: not cut, TWO: not cut} and truncated == {ONE: cut, TWO: cut}
    assert np.array_equal(env.state(), expected) and steps > 1


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(PackageError, match=r"hockey-dreamer\[pettingzoo\]"):
        importlib.reload(sys.modules["competitor.rink.parallel_env"])
