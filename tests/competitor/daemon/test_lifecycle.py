"""Phases and the games budget."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.daemon.supervisor import Lifecycle

fixed = settings(derandomize=True, deadline=None, max_examples=100)


def test_without_a_budget_there_is_always_a_match() -> None:
    lifecycle = Lifecycle()
    assert all(lifecycle.wants_match() for _ in range(1000))
    assert not lifecycle.is_spent


def test_a_match_uses_a_place_from_reservation_to_end() -> None:
    lifecycle = Lifecycle(games=1)
    assert lifecycle.wants_match() and not lifecycle.wants_match()
    lifecycle.begun(was_reserved=True)
    assert lifecycle.in_play == 1 and not lifecycle.wants_match()
    lifecycle.ended()
    assert (lifecycle.in_play, lifecycle.finished) == (0, 1)
    assert lifecycle.is_spent and not lifecycle.wants_match()


def test_a_released_place_and_an_abandoned_match_are_free_again() -> None:
    lifecycle = Lifecycle(games=1)
    assert lifecycle.wants_match()
    lifecycle.released()
    assert lifecycle.wants_match()
    lifecycle.begun(was_reserved=True)
    lifecycle.abandoned()
    assert not lifecycle.is_spent and lifecycle.wants_match()


def test_a_match_nobody_asked_for_counts_as_well() -> None:
    lifecycle = Lifecycle(games=2)
    lifecycle.begun(was_reserved=False)
    assert lifecycle.wants_match() and not lifecycle.wants_match()


def test_phases_go_one_way() -> None:
    lifecycle = Lifecycle()
    assert lifecycle.phase == "playing"
    lifecycle.finish()
    assert lifecycle.phase == "finishing" and not lifecycle.wants_match()
    lifecycle.leave()
    lifecycle.finish()
    assert lifecycle.phase == "leaving" and not lifecycle.wants_match()


def test_a_match_in_play_goes_on_while_finishing() -> None:
    lifecycle = Lifecycle()
    assert lifecycle.wants_match()
    lifecycle.finish()
    lifecycle.begun(was_reserved=True)
    lifecycle.ended()
    assert lifecycle.finished == 1


def test_many_threads_share_one_budget() -> None:
    lifecycle = Lifecycle(games=100)

    def play_on(_: int) -> int:
        played = 0
        while lifecycle.wants_match():
            lifecycle.begun(was_reserved=True)
            lifecycle.ended()
            played += 1
        return played

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(play_on, range(8))) == 100
    assert lifecycle.finished == 100


@fixed
@given(st.integers(0, 5), st.lists(st.sampled_from(("ask", "begin", "release", "end", "abandon")), max_size=60))
def test_never_more_matches_than_asked_for(games: int, events: list[str]) -> None:
    lifecycle = Lifecycle(games)
    reserved = playing = finished = 0
    for event in events:
        if event == "ask":
            wanted = lifecycle.wants_match()
            assert wanted == (reserved + playing + finished < games)
            reserved += wanted
        elif event == "begin" and reserved:
            lifecycle.begun(was_reserved=True)
            reserved, playing = reserved - 1, playing + 1
        elif event == "release" and reserved:
            lifecycle.released()
            reserved -= 1
        elif event == "end" and playing:
            lifecycle.ended()
            playing, finished = playing - 1, finished + 1
        elif event == "abandon" and playing:
            lifecycle.abandoned()
            playing -= 1
    assert (lifecycle.in_play, lifecycle.finished) == (playing, finished)
    assert finished <= games
