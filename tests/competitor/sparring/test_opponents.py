"""Whom the learner meets, and how the pool of past selves is kept and drawn from."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from competitor.players import Player, RandomPlayer, make_player
from competitor.sparring import opponents as module
from competitor.sparring.opponents import Opponents, SavedOpponents


def named(name: str) -> Player:
    player = RandomPlayer(0)
    player.name = name
    return player


def opponents(**shares: float) -> Opponents:
    return Opponents(shares, named("self"), lambda name: make_player(name, seed=0), np.random.default_rng(3))


def drawn(who: Opponents, rounds: int = 2000) -> Counter[str]:
    return Counter(setup.opponent for setup in islice(who.setups(), rounds))


def test_kinds_are_met_by_their_shares_and_an_empty_pool_by_nobody() -> None:
    counts = drawn(opponents(weak=0.1, self=0.3, pool=0.6))
    assert set(counts) == {"weak", "self"}
    assert counts["self"] / 2000 == pytest.approx(0.75, abs=0.03)


def test_the_pools_share_grows_with_the_pool() -> None:
    who = opponents(weak=0.4, pool=0.6)
    for number in range(16):
        who.add_member(named(f"{number}"))
        if number in (0, 3, 7, 15):
            share = 1 - drawn(who)["weak"] / 2000
            grown = 0.6 * min(1.0, (number + 1) / 8)
            assert share == pytest.approx(grown / (grown + 0.4), abs=0.04)


def test_sides_and_starts_are_balanced_against_each_kind() -> None:
    who = opponents(weak=0.5, strong=0.5)
    for kind in ("weak", "strong"):
        met = [setup for setup in islice(who.setups(), 200) if setup.opponent == kind][:80]
        ways = Counter((setup.one_starting, setup.side) for setup in met)
        assert set(ways.values()) == {20}


def test_past_selves_that_take_points_are_met_more_and_nobody_is_forgotten() -> None:
    who = opponents(weak=0.0001, pool=1.0)
    who.add_member(named("hard"))
    who.add_member(named("easy"))
    for _ in range(200):
        who.enter("easy", 1)
        who.enter("hard", -1)
    counts = drawn(who)
    assert counts["hard"] / 2000 == pytest.approx(1 / 1.05, abs=0.02)
    assert counts["easy"] > 40


def test_of_a_full_pool_the_oldest_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_SIZE", 2)
    who = opponents(weak=0.1, pool=0.9)
    for name in ("first", "second", "third"):
        who.add_member(named(name))
    assert who.pool == ["second", "third"]
    assert "first" not in drawn(who)
    who.enter("first", 1)  # a round that it had begun before
    assert "first" not in who.scores()


def test_running_scores_are_means_of_points() -> None:
    who = opponents(weak=1.0)
    assert who.scores() == {}
    who.enter("weak", 1)
    assert who.scores() == {"weak": 0.75}
    who.enter("weak", 0)
    assert who.scores() == {"weak": pytest.approx(0.75 + (0.5 - 0.75) / 3)}


def test_a_restored_league_goes_on_as_the_one_before() -> None:
    who = opponents(weak=0.5, pool=0.5)
    for name in ("first", "second"):
        who.add_member(named(name))
        who.enter(name, -1)
    drawn(who, 50)
    state = who.state()
    other = opponents(weak=0.5, pool=0.5)
    other.restore(SavedOpponents.model_validate_json(json.dumps(state)), named)
    assert other.scores() == who.scores() and other.pool == ["first", "second"]
    assert list(islice(other.setups(), 30)) == list(islice(who.setups(), 30))
