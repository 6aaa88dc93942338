"""One object over many rounds: bodies are destroyed and made again in the same world."""

import gc

import numpy as np

from competitor.rink import HockeyEnv, RinkBatch


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
