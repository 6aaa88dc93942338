"""What a dream knows of the puck alone: windows that nobody touches, and shots in flight."""

import math

import pytest
import torch
from torch import Tensor

from competitor.inspect.physics_check import GOAL_LINE, REACH, check_shots, untouched


def tracks(*shots: tuple[float, float, float, float], steps: int = 16) -> Tensor:
    """Observations (steps, windows, 18) of pucks (x, y, way along x and y in a step), the rackets far away."""
    obs = torch.zeros(steps, len(shots), 18)
    obs[..., 0], obs[..., 6] = -9.0, 9.0
    times = torch.arange(float(steps))
    for window, (x, y, dx, dy) in enumerate(shots):
        obs[:, window, 12], obs[:, window, 13], obs[:, window, 14] = x + dx * times, y + dy * times, 50.0 * dx
    return obs


def test_a_window_is_touched_when_either_racket_comes_near() -> None:
    obs = tracks(*[(0.0, 0.0, 0.0, 0.0)] * 4)
    obs[7, 1, :2] = torch.tensor([0.0, REACH - 0.01])
    obs[15, 2, 6:8] = torch.tensor([1.0, 1.0])
    obs[7, 3, :2] = torch.tensor([0.0, REACH + 0.01])
    assert untouched(obs).tolist() == [True, False, False, True]


def test_shots_are_judged_where_they_cross_the_line_of_their_side() -> None:
    real = tracks((0.0, 0.0, 0.5, 0.1), (0.0, 0.0, -0.5, 0.1), (0.0, 0.0, 0.1, 0.0), (0.0, 0.0, 0.5, 0.0))
    dreamed = tracks((0.0, 0.3, 0.5, 0.1), (0.0, 0.0, -0.5, 0.2), (0.0, 9.0, 0.1, 0.0), (0.0, 0.0, 0.0, 0.0))
    scores, expected = torch.tensor([True, False, False, True]), torch.tensor([True, True, False, False])
    report = check_shots(dreamed, real, scores, expected)
    ways = [0.3, 0.1 * GOAL_LINE / 0.5]  # the third puck is too slow, the fourth never arrives in the dream
    assert report.shots == 3 and report.arriving == pytest.approx(2 / 3)
    assert report.y_mean == pytest.approx(sum(ways) / 2) and report.y_median == pytest.approx(min(ways))
    assert (report.goals, report.goals_seen, report.false_alarms) == (2, 0.5, 1.0)


def test_without_shots_nothing_is_claimed() -> None:
    real = tracks((0.0, 0.0, 0.0, 0.0))
    report = check_shots(real, real, torch.tensor([False]), torch.tensor([False]))
    assert report.shots == 0 and math.isnan(report.y_mean) and math.isnan(report.goals_seen)
