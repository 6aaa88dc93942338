"""Decisions cut from rounds, and the ring that holds them."""

from io import BytesIO

import numpy as np
import pytest

from competitor.rink import ACTION_MIRROR, OBS_MIRROR
from competitor.sparring.replay import Replay, Transitions, decisions

DISCOUNT = 0.9


def a_round(time: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(time)
    obs = np.repeat(np.arange(time + 1, dtype=np.float32)[:, None], 18, axis=1)
    return obs, chance.normal(size=(time, 4)).astype(np.float32), chance.normal(size=time).astype(np.float32)


@pytest.mark.parametrize(("repeat", "steps"), [(1, 1), (1, 3), (2, 2), (3, 4)])
@pytest.mark.parametrize("terminal", [True, False])
def test_decisions_sum_their_discounted_rewards(repeat: int, steps: int, terminal: bool) -> None:
    obs, action, reward = a_round(11)
    cut = decisions(obs, action, reward, terminal=terminal, discount=DISCOUNT, repeat=repeat, steps=steps)
    begins = list(range(0, 11, repeat))
    assert len(cut.reward) == len(begins)
    for place, begin in enumerate(begins):
        end = min(begin + repeat * steps, 11)
        assert cut.obs[place, 0] == begin and cut.later_obs[place, 0] == end
        assert np.array_equal(cut.action[place], action[begin])
        summed = sum(DISCOUNT ** (time - begin) * reward[time] for time in range(begin, end))
        assert cut.reward[place] == pytest.approx(summed, rel=1e-5)
        assert cut.discount[place] == pytest.approx(DISCOUNT ** (end - begin), rel=1e-6)
        assert cut.done[place] == (terminal and end == 11)


def numbered(*numbers: int) -> Transitions:
    column = np.array(numbers, np.float32)
    return Transitions(
        np.repeat(column[:, None], 18, 1), np.repeat(column[:, None], 4, 1), np.repeat(column[:, None], 18, 1),
        column, column * 0, column * 0 + 1,
    )  # fmt: skip


def test_the_oldest_leave_a_full_ring() -> None:
    replay = Replay(4)
    replay.add(numbered(1, 2, 3))
    replay.add(numbered(4, 5, 6))
    assert replay.size == 4
    assert set(replay.draw(200, np.random.default_rng(0)).reward.tolist()) == {3, 4, 5, 6}


def test_half_of_what_is_drawn_is_mirrored_as_a_whole() -> None:
    replay = Replay(8)
    replay.add(numbered(1))
    drawn = replay.draw(400, np.random.default_rng(1))
    mirrored = drawn.obs[:, 1] < 0
    assert 140 < mirrored.sum() < 260
    for row, is_mirrored in enumerate(mirrored):
        signs = OBS_MIRROR if is_mirrored else np.ones(18)
        assert np.array_equal(drawn.obs[row], signs) and np.array_equal(drawn.later_obs[row], signs)
        assert np.array_equal(drawn.action[row], ACTION_MIRROR if is_mirrored else np.ones(4))
    assert np.array_equal(replay.draw(1, np.random.default_rng(2)).reward, [1])


def test_a_ring_is_read_back_in_its_order() -> None:
    replay, file = Replay(4), BytesIO()
    replay.add(numbered(1, 2, 3, 4, 5))
    replay.save(file)
    file.seek(0)
    other = Replay(4)
    other.load(file)
    other.add(numbered(6))
    assert set(other.draw(200, np.random.default_rng(0)).reward.tolist()) == {3, 4, 5, 6}
