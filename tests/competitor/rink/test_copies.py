"""Copies and pickles: of a rink a new one made alike, of an opponent the same one."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from competitor.rink import BasicOpponent, HockeyEnv, HockeyEnv_BasicOpponent, Mode, RinkBatch

COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]


@pytest.fixture(params=COPIES, ids=["copy", "deepcopy", "pickle"])
def copied(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return request.param  # type: ignore[no-any-return]


def test_a_copied_rink_is_a_new_one_made_alike(copied: Callable[[Any], Any]) -> None:
    env = HockeyEnv(keep_mode=False, mode="TRAIN_DEFENSE", verbose=True, render_mode="rgb_array")
    env.reset(seed=3)
    env.step(np.ones(6))
    other = copied(env)
    settings = (other.keep_mode, other.mode, other.verbose, other.render_mode, other.time)
    assert settings == (False, Mode.TRAIN_DEFENSE, True, "rgb_array", 0)
    assert env.time == 1
    fresh = HockeyEnv(keep_mode=False, mode="TRAIN_DEFENSE")
    assert_array_equal(other.reset(seed=4)[0], fresh.reset(seed=4)[0])
    for _ in range(20):
        assert_array_equal(other.step(np.ones(6))[0], fresh.step(np.ones(6))[0])
    assert env.time == 1


def test_a_copied_rink_for_one_player(copied: Callable[[Any], Any]) -> None:
    other = copied(HockeyEnv_BasicOpponent(mode=Mode.TRAIN_SHOOTING, weak_opponent=True))
    assert (other.mode, other.opponent.weak, other.action_space.shape) == (Mode.TRAIN_SHOOTING, True, (4,))
    other.reset(seed=1)
    assert other.step(np.ones(4))[0].shape == (18,)


def test_a_copied_batch_plays_the_same_rounds(copied: Callable[[Any], Any]) -> None:
    batch = RinkBatch(2, keep_mode=False)
    batch.reset(0, one_starting=True, seed=1)
    other = copied(batch)
    assert (len(other), other.keep_mode, other.done.all()) == (2, False, True)
    other.reset(0, one_starting=True, seed=1)
    for each in (batch, other):
        each.step(np.ones((2, 6)))
    assert_array_equal(batch.obs, other.obs)


def test_a_copied_opponent_goes_on_alike(copied: Callable[[Any], Any]) -> None:
    obs = np.random.default_rng(0).normal(size=(5, 18))
    bot = BasicOpponent(weak=False, generator=np.random.default_rng(1))
    bot.act(obs[0])
    if copied is copy.copy:
        other = copied(bot)
        assert other.phase == bot.phase
        return
    other = copied(bot)
    for row in obs:
        assert_array_equal(bot.act(row), other.act(row))


def test_a_copied_opponent_still_takes_numpy_s_global_chance(copied: Callable[[Any], Any]) -> None:
    bot = BasicOpponent()
    other = copied(bot)
    phases = []
    for each in (bot, other):
        np.random.seed(0)
        each.act(np.zeros(18))
        phases.append(each.phase)
    assert phases[0] == phases[1]
