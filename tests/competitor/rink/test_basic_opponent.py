"""The basic opponents against their formulae, written once more with arrays."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from competitor.rink import BasicOpponent


def formula(obs: Any, phase: float, weak: bool) -> Any:
    kp, kd = (0.5 if weak else 10.0), 0.5
    p, v, puck, speed = obs[0:3], obs[3:6], obs[12:14], obs[14:16]
    if speed[0] < 0.5:
        if p[0] < puck[0] and abs(p[1] - puck[1]) < 0.5:
            distance = np.sqrt(np.sum((p[:2] - puck) ** 2))
            target = [puck[0] + 0.2, puck[1] + speed[1] * distance * 0.1]
        else:
            target = [-3.5, puck[1]]
    else:
        target = [-3.5, 0.0]
    error = np.array([*target, (np.pi / 3) * np.sin(phase)]) - p
    brake = np.abs(error / (v + 0.01)) < [0.1, 0.1, 1.0]
    move = np.clip(error * [kp, kp / 5, kp / 2] - v * brake * kd, -1, 1)
    return np.hstack([move, float(0 < obs[16] < 7)])


def observations(count: int) -> Any:
    """Random ones, some of them close to the puck, and with counters on all sides of the limits."""
    random = np.random.default_rng(0)
    obs = random.uniform(-4, 4, (count, 18))
    obs[::3, 1] = obs[::3, 13] + 0.3
    obs[:, 16] = random.integers(0, 16, count)
    return obs.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("weak", [True, False])
def test_acts_by_the_formula(weak: bool) -> None:
    opponent = BasicOpponent(weak=weak, generator=np.random.default_rng(1))
    for obs in observations(3000):
        action = opponent.act(obs)
        expected = formula(obs, opponent.phase, weak)
        assert_array_equal(action[[0, 1, 3]], expected[[0, 1, 3]])
        assert action[2] == pytest.approx(expected[2], abs=1e-15)


def test_phase_comes_from_numpys_global_generator() -> None:
    np.random.seed(3)
    opponent = BasicOpponent()
    phases = [opponent.phase]
    for obs in observations(5):
        opponent.act(obs)
        phases.append(opponent.phase)
    np.random.seed(3)
    expected = np.cumsum([np.random.uniform(0, np.pi), *(np.random.uniform(0, 0.2) for _ in range(5))])
    assert phases == expected.tolist()


def test_own_generator_leaves_the_global_one_alone() -> None:
    before = np.random.get_state()[1]
    BasicOpponent(generator=np.random.default_rng(0)).act(np.zeros(18))
    assert_array_equal(before, np.random.get_state()[1])


def test_without_keep_mode_three_numbers() -> None:
    opponent = BasicOpponent(keep_mode=False)
    action = opponent.act(np.zeros(16))
    assert action.shape == (3,)
    assert np.abs(action).max() <= 1


def test_takes_float32_and_plain_lists() -> None:
    obs = observations(1)[0]
    actions = [
        BasicOpponent(generator=np.random.default_rng(0)).act(given)
        for given in (obs, obs.astype(np.float32), obs.tolist())
    ]
    assert_array_equal(actions[0], actions[1])
    assert_array_equal(actions[0], actions[2])


def test_speed_that_divides_by_zero() -> None:
    obs = np.zeros(18)
    obs[3:6] = -0.01
    assert np.isfinite(BasicOpponent().act(obs)).all()
