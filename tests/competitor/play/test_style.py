"""How a player plays, counted in views that are known."""

import numpy as np
import pytest

from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.play.style import shots_in, style_of
from competitor.players import BasicPlayer


def view(keeps: list[int], puck_speeds: dict[int, tuple[float, float]]) -> np.ndarray:
    seen = np.zeros((len(keeps), 18), np.float32)
    seen[:, 16] = keeps
    seen[:, 0] = -2.0
    for step, (vx, vy) in puck_speeds.items():
        seen[step, 14:16] = vx, vy
    return seen


def test_a_shot_has_its_speed_its_angle_and_the_steps_since_the_catch() -> None:
    seen = view([0, 15, 14, 13, 0, 0], {4: (30.0, -40.0)})
    assert shots_in(seen) == [(pytest.approx(50.0), pytest.approx(53.130, abs=1e-3), 3)]


def test_a_puck_let_go_or_shot_backwards_is_no_shot() -> None:
    assert shots_in(view([0, 15, 14, 0], {3: (9.9, 30.0)})) == []
    assert shots_in(view([0, 15, 14, 0], {3: (-40.0, 0.0)})) == []


def test_each_shot_counts_from_its_own_catch() -> None:
    seen = view([15, 14, 0, 15, 0, 0], {2: (20.0, 0.0), 4: (20.0, 0.0)})
    assert [held for _, _, held in shots_in(seen)] == [2, 1]


def test_the_style_is_that_of_player_a_in_whatever_side() -> None:
    seen = view([0, 15, 0], {2: (20.0, 0.0)})
    other = np.zeros_like(seen)
    actions = np.zeros((2, 2, 4), np.float32)
    actions[1, :, :2] = 1.0
    info = np.zeros((2, 2, 4))
    round_ = Round(RoundSetup(one_starting=True, seed=0, side=1), np.stack([other, seen]), actions, info)
    style = style_of([round_])
    assert (style.rounds, style.shots, style.shot_speed, style.steps_held) == (1, 1.0, 20.0, 1.0)
    assert style.x == pytest.approx(-2.0) and style.holds == pytest.approx(1 / 3)
    assert style.bang_bang == 0.5 and style.draws == 1.0


def test_without_a_shot_there_is_no_speed() -> None:
    seen = view([0, 0], {})
    round_ = Round(
        RoundSetup(one_starting=True, seed=0),
        np.stack([seen, seen]),
        np.zeros((2, 1, 4), np.float32),
        np.zeros((2, 1, 4)),
    )
    style = style_of([round_])
    assert (style.shots, style.shot_speed, style.shot_angle, style.steps_held) == (0.0, None, None, None)


def test_the_strong_opponent_shoots_on_the_real_rink() -> None:
    setups = [RoundSetup(one_starting=place % 2 == 0, seed=place) for place in range(12)]
    style = style_of(play_rounds(BasicPlayer(weak=False, seed=1), BasicPlayer(weak=True, seed=2), setups, rinks=12))
    assert style.rounds == 12 and style.shots > 0.5
    assert style.shot_speed is not None and style.shot_speed > 30.0
    assert style.steps_held is not None and 7 <= style.steps_held <= 10
    assert -4.0 < style.x < -1.0
