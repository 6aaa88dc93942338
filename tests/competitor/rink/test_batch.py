"""RinkBatch: the same game as HockeyEnv, on many rinks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from competitor.rink import RinkBatch


def test_idle_rinks_are_left_alone() -> None:
    batch = RinkBatch(3)
    assert batch.done.all()
    batch.reset(1, one_starting=True, seed=0)
    assert batch.done.tolist() == [True, False, True]
    before = batch.obs.copy()
    actions = np.full((3, 8), np.nan)
    actions[1] = 0.5
    batch.step(actions)
    assert_array_equal(batch.obs[:, [0, 2]], before[:, [0, 2]])
    assert (batch.obs[:, 1] != before[:, 1]).any()


def test_ended_rounds_keep_their_last_step_until_reset() -> None:
    batch = RinkBatch(1)
    batch.reset(0, one_starting=True, seed=0, mode="TRAIN_SHOOTING")
    for _ in range(81):
        batch.step(np.zeros((1, 8)))
    assert batch.done.all()
    before, info = batch.obs.copy(), batch.info.copy()
    batch.step(np.ones((1, 8)))
    assert_array_equal(batch.obs, before)
    assert_array_equal(batch.info, info)
    batch.reset(0, one_starting=True, seed=0)
    assert not batch.done.any()
    assert not batch.info.any()


def test_arrays_stay_the_same_objects() -> None:
    batch = RinkBatch(2)
    arrays = batch.obs, batch.info, batch.done
    batch.reset(0, one_starting=True, seed=0)
    batch.step(np.zeros((2, 8)))
    assert all(one is other for one, other in zip(arrays, (batch.obs, batch.info, batch.done), strict=True))
    assert (batch.obs.dtype, batch.info.dtype, batch.done.dtype) == (np.float32, np.float64, np.bool_)


def test_bad_actions() -> None:
    batch = RinkBatch(2)
    batch.reset(1, one_starting=True, seed=0)
    with pytest.raises(ValueError, match=r"\(2, 8\)"):
        batch.step(np.zeros((2, 6)))
    actions = np.zeros((2, 8))
    actions[1, 3] = np.nan
    with pytest.raises(ValueError, match="rink 1"):
        batch.step(actions)


@pytest.mark.parametrize("index", [2, -3])
def test_unknown_rink(index: int) -> None:
    with pytest.raises(IndexError):
        RinkBatch(2).reset(index, one_starting=True, seed=0)
