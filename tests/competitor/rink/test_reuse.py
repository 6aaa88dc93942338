"""One object over many rounds: bodies are destroyed and made again in the same world."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
from numpy.testing import assert_array_equal

from competitor.rink import HockeyEnv, RinkBatch


def moves(seed: int) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (250, 8))


def rounds(env: HockeyEnv, seeds: range) -> list[Any]:
    """The observations of rounds played one after the other."""
    seen = []
    for seed in seeds:
        obs = [env.reset(one_starting=True, seed=seed)[0]]
        for move in moves(seed):
            step = env.step(move)
            obs.append(step[0])
            if step[2]:
                break
        seen.append(np.array(obs))
    return seen


def test_first_round_of_a_reused_object_is_that_of_a_fresh_one() -> None:
    assert_array_equal(rounds(HockeyEnv(), range(3))[0], rounds(HockeyEnv(), range(1))[0])


def test_world_holds_only_the_present_bodies() -> None:
    env = HockeyEnv()
    world = env.world
    bodies = len(world.bodies)
    for seed in range(20):
        env.reset(seed=seed)
        env.step(np.zeros(8))
    assert env.world is world
    assert len(world.bodies) == bodies == 5 + 6 + 2 + 3


def test_old_bodies_and_worlds_are_let_go() -> None:
    batch = RinkBatch(1)
    batch.reset(0, one_starting=True, seed=0)
    gc.collect()
    before = len(gc.get_objects())
    for seed in range(50):
        batch.reset(0, one_starting=True, seed=seed)
        batch.step(np.zeros((1, 8)))
    gc.collect()
    assert len(gc.get_objects()) < before + 100
