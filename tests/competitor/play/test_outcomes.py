"""Who scored: checked against recorded games, rounds played here, and all assignments that are possible."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.play.outcomes import (
    LARGEST,
    MOST_ROUNDS,
    MOST_STEPS,
    RoundResult,
    last_step,
    plausible,
    rounds_of,
    settle,
    with_known_score,
)
from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import BasicPlayer, Player, RandomPlayer
from tests.competitor.play.made_matches import finished, recorded, recorded_match, views

RESULTS: tuple[RoundResult, ...] = (1, 0, -1, None)


@pytest.fixture(scope="module")
def local_rounds() -> list[Round]:
    setups = [RoundSetup(one_starting=number % 2 == 0, seed=number) for number in range(40)]
    strong, weak = BasicPlayer(weak=False, keep_mode=True), BasicPlayer(weak=True, keep_mode=True)
    opponents: list[Player] = [weak, RandomPlayer(seed=3)]
    return [played for opponent in opponents for played in play_rounds(strong, opponent, setups, rinks=40)]


@pytest.mark.parametrize(("game", "player"), views())
def test_recorded_games_by_the_rink_alone(game: str, player: str) -> None:
    """Without knowing the score: the actions of these games are not known either, made-up ones do as well."""
    match = recorded_match(game, player)
    ends = [*np.flatnonzero(match.is_first)[1:], len(match.obs)]
    steps = [last_step(match.obs[end - 1], match.actions[end - 1]) for end in ends]
    winners = [step.winner for step in steps if step is not None]
    assert len(winners) == 4
    assert (winners.count(1), winners.count(-1)) == (match.own, match.other)


@pytest.mark.parametrize(("game", "player"), views())
def test_recorded_games(game: str, player: str) -> None:
    match = recorded_match(game, player)
    rounds = rounds_of(match)
    results = [played.result for played in rounds]
    assert None not in results
    assert (results.count(1), results.count(-1)) == (match.own, match.other)
    assert [played.first for played in rounds] == recorded()[f"{game}_starts"].tolist()
    assert sum(played.steps for played in rounds) == len(match.obs)
    mine = ["other", "own"] if match.obs[0, 12] > 0 else ["own", "other"]
    assert [played.starter for played in rounds] == 2 * mine


def test_both_players_agree_about_every_round() -> None:
    for game in recorded()["games"]:
        one, two = (rounds_of(recorded_match(str(game), player)) for player in ("p1", "p2"))
        assert [played.result for played in one] == [-(played.result or 0) for played in two]


def test_rounds_played_here(local_rounds: list[Round]) -> None:
    """Also the last observation, which no server sends, comes out right but for what the opponent did."""
    offs = []
    for played, view in itertools.product(local_rounds, (0, 1)):
        step = last_step(played.obs[view, -2].astype(float), played.actions[view, -1].astype(float))
        assert step is not None
        assert step.winner == (played.winner if view == 0 else -played.winner)
        offs.append(np.abs(step.obs - played.obs[view, -1]))
    assert len({played.winner for played in local_rounds}) == 3
    off = np.array(offs)
    assert off[:, :2].max() < 1e-2 and off[:, 6:8].max() < 0.06
    assert np.median(off[:, [*range(6), *range(12, 18)]]) == 0.0


def test_no_goal_before_the_last_step(local_rounds: list[Round]) -> None:
    for played in local_rounds[::4]:
        for obs, action in zip(played.obs[0, -12:-2], played.actions[0, -11:-1], strict=True):
            step = last_step(obs.astype(float), action.astype(float))
            assert step is not None and step.winner == 0


@given(st.lists(st.floats(width=32) | st.floats(-9.0, 9.0), min_size=18, max_size=18))
def test_any_observation_is_taken(values: list[float]) -> None:
    obs = np.array(values)
    step = last_step(obs, np.ones(4))
    assert (step is None) == (not bool(plausible(obs[None])[0]))
    assert step is None or np.isfinite(step.obs).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_plausible_looks_at_every_number(value: float) -> None:
    for place in range(18):
        obs = np.zeros((3, 18))
        obs[1, place] = value
        assert plausible(obs).tolist() == [True, False, True]
    assert plausible(LARGEST[None]).all() and not plausible(LARGEST[None] * 1.01).any()


played_rounds = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([1, -1]), st.integers(1, MOST_STEPS)), st.tuples(st.just(0), st.just(MOST_STEPS))
    ),
    max_size=6,
)


def score_of(results: list[RoundResult]) -> tuple[int, int]:
    return results.count(1), results.count(-1)


@given(played_rounds, st.data())
def test_unknown_guesses_are_never_filled_in_wrongly(rounds: list[tuple[int, int]], data: st.DataObject) -> None:
    results: list[RoundResult] = [result for result, _ in rounds]
    guesses = [data.draw(st.sampled_from([result, None])) for result in results]
    settled = settle(guesses, [steps for _, steps in rounds], score_of(results), all_played=True)
    for mine, true, guess in zip(settled, results, guesses, strict=True):
        assert mine in (true, None)
        assert mine == true or guess is None


def by_hand(
    guesses: list[RoundResult], lengths: list[int], score: tuple[int, int], all_played: bool
) -> list[RoundResult]:
    """All assignments, one after the other."""
    found: dict[int, list[tuple[RoundResult, ...]]] = {}
    for results in itertools.product(RESULTS, repeat=len(guesses)):
        cost = 0
        for place, (result, guess, steps) in enumerate(zip(results, guesses, lengths, strict=True)):
            is_last = place == len(guesses) - 1
            if (result is None and not is_last) or (result == 0 and steps < MOST_STEPS):
                break
            if result is None:
                cost += 2 if all_played else int(guess in (1, -1))
            else:
                cost += guess is not None and guess != result
        else:
            if score_of(list(results)) == score:
                found.setdefault(cost, []).append(results)
    if not found:
        return [None] * len(guesses)
    return [column[0] if len(set(column)) == 1 else None for column in zip(*found[min(found)], strict=True)]


@settings(max_examples=200)
@given(st.data(), st.integers(0, 4), st.booleans())
def test_settle_finds_the_best_assignment(data: st.DataObject, count: int, all_played: bool) -> None:
    guesses = data.draw(st.lists(st.sampled_from(RESULTS), min_size=count, max_size=count))
    lengths = data.draw(st.lists(st.sampled_from([30, MOST_STEPS, 300]), min_size=count, max_size=count))
    score = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    assert settle(guesses, lengths, score, all_played=all_played) == by_hand(guesses, lengths, score, all_played)


def test_a_score_that_cannot_be_leaves_all_open() -> None:
    assert settle([1, 1], [50, 60], (5, 0), all_played=True) == [None, None]
    assert settle([1, 1], [50, 60], (-1, 2**70), all_played=True) == [None, None]


def test_endless_rounds_take_no_time() -> None:
    assert settle([1] * 5_000, [50] * 5_000, (5_000, 0), all_played=True) == [None] * 5_000
    steps = MOST_ROUNDS + 1
    match = finished(np.tile(recorded_match("m007").obs[-1], (steps, 1)), np.zeros((steps, 4)), list(range(steps)))
    assert {(played.result, played.final) for played in rounds_of(match)} == {(None, None)}


def test_a_broken_last_observation_is_decided_by_the_score() -> None:
    match = recorded_match("m007")
    match.obs[-1, 7] = np.nan
    last = rounds_of(match)[-1]
    assert last.result == -1 and last.final is None


def test_the_round_the_opponent_left_is_open() -> None:
    whole = recorded_match("m007", ending="opponent left", own=2, other=0)
    cut = finished(whole.obs[:120], whole.actions[:120], [0, 56, 95], ending="opponent left", own=2, other=0)
    assert [played.result for played in rounds_of(cut)] == [1, 1, None]
    # By the score the goal of the last step still counted.
    cut = finished(whole.obs[:130], whole.actions[:130], [0, 56, 95], ending="opponent left", own=2, other=1)
    assert [played.result for played in rounds_of(cut)] == [1, 1, -1]


def test_an_abandoned_match_has_no_score_to_agree_with() -> None:
    match = recorded_match("m001", ending="abandoned", own=0, other=0)
    assert [played.result for played in rounds_of(match)] == [0, 1, 1, 0]


@pytest.mark.parametrize("game", ["m001", "m007"])
def test_the_score_of_a_match_whose_end_was_lost_is_inferred(game: str) -> None:
    whole = recorded_match(game)
    lost = replace(whole, ending="abandoned", own=0, other=0)
    known = with_known_score(lost, rounds_of(lost))
    assert (known.own, known.other, known.inferred) == (whole.own, whole.other, True)
    cut = finished(whole.obs[:-1], whole.actions[:-1], np.flatnonzero(whole.is_first).tolist(), ending="abandoned")
    assert rounds_of(cut)[-1].result is None  # a step before its end nobody knows


def test_a_score_that_was_told_stays_and_nothing_is_made_of_nothing() -> None:
    played = recorded_match("m007", own=0, other=0)
    assert with_known_score(played, rounds_of(played)) is played
    cut = finished(played.obs[:20], played.actions[:20], [0], ending="abandoned")
    assert with_known_score(cut, rounds_of(cut)) is cut


def test_an_end_that_is_taken_for_whole_gives_no_goal_to_the_cut_round() -> None:
    whole = recorded_match("m007")
    cut = finished(whole.obs[:120], whole.actions[:120], [0, 56, 95], own=2, other=0)
    assert [played.result for played in rounds_of(cut)] == [1, 1, None]


def test_no_steps_no_rounds() -> None:
    assert rounds_of(finished(np.zeros((0, 18)), np.zeros((0, 4)), [])) == []


def test_a_match_that_begins_within_a_round() -> None:
    whole = recorded_match("m007")
    rounds = rounds_of(finished(whole.obs[10:], whole.actions[10:], [46, 85, 120], own=2, other=2))
    assert [(played.first, played.result) for played in rounds] == [(0, 1), (46, 1), (85, -1), (120, -1)]
