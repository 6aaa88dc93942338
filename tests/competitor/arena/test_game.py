"""The game of a match: what both players see, round for round, as the real server was seen to play it."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from competitor.arena.game import Game

RECORDED = Path(__file__).parents[2] / "data" / "comprl_rounds_public.npz"
STILL = (0.0, 0.0, 0.0, 0.0)
LONGEST = 251
SHOOT = (0.0, 0.0, 0.0, 1.0)


def play_still(game: Game) -> NDArray[np.float64]:
    """All that both players see, (steps, 2, 18), when nobody moves."""
    seen = []
    while not game.over:
        seen.append(game.observations)
        game.step(STILL, STILL)
    return np.array(seen)


def play_lively(game: Game) -> tuple[NDArray[np.float64], list[int]]:
    """All that both players see when both run after the puck, and where the rounds start. One holds it, one shoots."""
    seen, starts = [], [0]
    while not game.over:
        seen.append(game.observations)
        before = game.round
        game.step(*(chase(obs, shoot) for obs, shoot in zip(seen[-1], (0.0, 1.0), strict=True)))
        if game.round != before:
            starts.append(len(seen))
    return np.array(seen), starts


def chase(obs: list[float], shoot: float) -> tuple[float, ...]:
    force_x, force_y = (max(-1.0, min(1.0, 4.0 * (obs[12 + axis] - obs[axis]))) for axis in (0, 1))
    return force_x, force_y, 0.0, shoot


def mirrored(obs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The other player's view by the rule of the protocol page."""
    other = np.concatenate([obs[:, 6:12], obs[:, 0:6], obs[:, 12:16], obs[:, [17, 16]]], axis=1)
    turned = [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 14, 15]
    other[:, turned] = -other[:, turned]
    return other


@pytest.fixture(scope="module")
def recorded() -> dict[str, NDArray[np.float64]]:
    with np.load(RECORDED) as archive:
        return dict(archive)


def test_rounds_start_as_on_the_real_server(recorded: dict[str, NDArray[np.float64]]) -> None:
    game = Game(seed=3)
    seen = play_still(game)[::LONGEST]
    assert len(seen) == 4
    for name in recorded["games"]:
        starts = recorded[f"{name}_starts"].astype(int)
        for view in (0, 1):
            real = recorded[f"{name}_p{view + 1}_obs"][starts]
            for real_start, start in zip(real, seen[:, view], strict=True):
                # The 12 numbers of the players, with the signs of their zeros; the puck's side and its speed.
                assert start[:12].tobytes() == real_start[:12].tobytes()
                assert np.copysign(1, start[12]) == np.copysign(1, real_start[12])
                assert start[14:16].tobytes() == real_start[14:16].tobytes()
    assert ((np.abs(seen[:, :, 12]) >= 1) & (np.abs(seen[:, :, 12]) <= 2) & (np.abs(seen[:, :, 13]) <= 1)).all()


def test_a_game_of_two_who_stand_still_is_as_long_as_the_recorded_one(recorded: dict[str, NDArray[np.float64]]) -> None:
    game = Game(seed=3)
    seen = play_still(game)
    assert len(seen) == len(recorded["i000_p1_obs"]) == 1004
    assert np.flatnonzero(np.diff(seen[:, 0, 12]) != 0).tolist() == [250, 501, 752]
    assert game.scores == (0, 0) and game.round == 4


def test_the_second_player_sees_the_mirror_picture_bit_for_bit() -> None:
    seen, _ = play_lively(Game(seed=11))
    assert seen[:, 1].tobytes() == mirrored(seen[:, 0]).tobytes()
    assert seen.tobytes() == seen.astype(np.float32).astype(np.float64).tobytes()


def test_rounds_end_at_goals_and_the_score_counts_them() -> None:
    scores = []
    for seed in range(6):
        game = Game(seed=seed)
        seen, starts = play_lively(game)
        lengths = np.diff([*starts, len(seen)])
        assert len(lengths) == 4 and (lengths <= LONGEST).all()
        # A goal may fall in the very last step of a round.
        assert (lengths < LONGEST).sum() <= sum(game.scores) <= 4
        scores.append(game.scores)
    first, second = np.sum(scores, axis=0)
    assert first > 0 and second > 0


def test_holding_counters_survive_the_end_of_a_round() -> None:
    seen, starts = play_lively(Game(seed=0))
    start = starts[2]
    before, announced, after = seen[start - 1 : start + 2, 0]
    assert (before[16], announced[16], after[16]) == (14, 13, 12)
    # The puck jumps from where it was shown to the player who holds it.
    assert announced[12] > 1.0 and math.dist(after[12:14], after[:2]) < 0.5


def test_a_seed_repeats_a_game_and_another_one_does_not() -> None:
    one, two, other = (play_still(Game(seed=seed)) for seed in (5, 5, 6))
    assert one.tobytes() == two.tobytes() != other.tobytes()
    assert len({tuple(start) for start in one[::LONGEST, 0, 12:14]}) == 4


def test_the_last_view_shows_the_outcome() -> None:
    game = Game(seed=0, rounds=1)
    play_lively(game)
    assert game.over and game.round == 1
    assert game.observations[0][:2] != [-3.0, 0.0]


@pytest.mark.parametrize(
    "action", [(), STILL[:3], (*STILL, 0.0), (math.nan, 0, 0, 0), (0, -math.inf, 0, 0), (0, 0, 0, 1.0000001192092896)]
)
def test_what_is_no_action_is_refused_and_changes_nothing(action: tuple[float, ...]) -> None:
    game = Game(seed=1)
    before = game.observations
    with pytest.raises(ValueError, match="not an action"):
        game.step(STILL, action)
    with pytest.raises(ValueError, match="not an action"):
        game.step(action, STILL)
    assert game.observations == before and game.log.steps == 0
    game.step((1.0, -1.0, -0.0, 0.5), SHOOT)
    assert game.log.round(0).actions.tolist() == [[[1.0, -1.0, -0.0, 0.5], [*SHOOT]]]


def test_every_step_is_logged() -> None:
    game = Game(seed=11)
    seen, starts = play_lively(game)
    rounds = [game.log.round(number) for number in range(game.log.rounds)]
    assert (
        game.log.steps == len(seen) and [len(one.actions) for one in rounds] == np.diff([*starts, len(seen)]).tolist()
    )
    assert np.concatenate([one.views[:-1] for one in rounds]).astype(np.float64).tobytes() == seen[:, 0].tobytes()
    assert rounds[-1].views[-1].tolist() == game.observations[0]
    chosen = [[chase(view, shoot) for view, shoot in zip(step, (0.0, 1.0), strict=True)] for step in seen.tolist()]
    assert np.concatenate([one.actions for one in rounds]).tolist() == np.array(chosen).tolist()
    winners = [one.winner for one in rounds]
    assert (winners.count(1), winners.count(-1)) == game.scores != (0, 0)
    assert rounds[3].score == (winners[:3].count(1), winners[:3].count(-1))
    tail = game.log.round(1, skip=7)
    assert tail.views.tolist() == rounds[1].views[7:].tolist() and len(tail.actions) == len(rounds[1].actions) - 7


def test_nothing_can_be_played_after_the_end() -> None:
    game = Game(seed=1, rounds=1)
    play_still(game)
    with pytest.raises(ValueError, match="over"):
        game.step(STILL, STILL)
