"""Each weight of the reward, alone, in frames that are known."""

import numpy as np
import pytest

from competitor.sparring.recipes import Reward

NOTHING = {
    "goal": 0.0, "conceded": 0.0, "closeness": 0.0, "touch": 0.0,
    "direction": 0.0, "possession": 0.0, "bank": 0.0, "forward": 0.0, "hurry": 0.0,
}  # fmt: skip


def rewards(winner: int = 0, **weights: float) -> list[float]:
    """Three frames: the puck lies still, is held, and flies to the goal with (20, -8) in the other half."""
    obs = np.zeros((4, 18), np.float32)
    obs[:, 0] = [0.0, -3.0, -2.0, -1.0]
    obs[2, 16] = 15
    obs[3, 12:16] = 2.0, 0.0, 20.0, -8.0
    info = np.zeros((3, 4))
    info[:, 0] = [-0.1, 0.0, 0.0]
    info[1, 1] = 1.0
    info[:, 2] = [0.0, 0.0, 0.0032]
    info[-1, 3] = winner
    values: list[float] = Reward(**NOTHING | weights).of(obs, info).tolist()
    return values


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"closeness": 2.0}, [-0.2, 0, 0]),
        ({"touch": 3.0}, [0, 3, 0]),
        ({"direction": 100.0}, [0, 0, 0.32]),
        ({"possession": 0.5}, [0, 0.5, 0]),
        ({"bank": 0.25}, [0, 0, 2]),
        ({"forward": 2.0}, [-6, -4, -2]),
        ({"forward": -1.0}, [3, 2, 1]),
        ({"hurry": 0.5}, [-0.5, -0.5, -0.5]),
        ({"goal": 7.0}, [0, 0, 0]),
    ],
)
def test_a_weight_pays_for_its_own_frames(weights: dict[str, float], expected: list[float]) -> None:
    assert rewards(**weights) == pytest.approx(expected, abs=1e-6)


def test_goals_count_once_at_the_end_and_each_side_by_its_weight() -> None:
    assert rewards(winner=1, goal=7.0, conceded=3.0) == [0, 0, 7]
    assert rewards(winner=-1, goal=7.0, conceded=3.0) == [0, 0, -3]
