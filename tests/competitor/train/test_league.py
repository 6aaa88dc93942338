"""The league: choice, ratings, bounds, persistence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.train.league import ELO_STEP, League, Member, expected_score, pfsp_weights

RATES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


def league_of(*steps: int, pool_size: int = 20, power: float = 2.0) -> League:
    league = League(pool_size, "hard", power)
    for step in steps:
        league.add(f"step-{step}", step)
    return league


def test_hard_weights_are_powers_of_the_loss_rate() -> None:
    assert pfsp_weights([0.0, 0.5], "hard", 2.0) == pytest.approx([0.8, 0.2])
    assert pfsp_weights([0.9, 0.5, 0.1], "hard", 0.0) == pytest.approx([1 / 3] * 3)


def test_variance_weights_prefer_equals() -> None:
    assert pfsp_weights([0.5, 0.9, 1.0], "variance", 2.0) == pytest.approx([0.25 / 0.34, 0.09 / 0.34, 0.0])


@pytest.mark.parametrize(("kind", "rates"), [("hard", [1.0, 1.0]), ("variance", [0.0, 1.0])])
def test_all_zero_weights_become_uniform(kind: str, rates: list[float]) -> None:
    assert pfsp_weights(rates, kind, 2.0) == pytest.approx([0.5, 0.5])  # type: ignore[arg-type]


@given(RATES, st.sampled_from(["hard", "variance"]), st.floats(0.0, 10.0))
def test_weights_are_probabilities(rates: list[float], kind: str, power: float) -> None:
    weights = pfsp_weights(rates, kind, power)  # type: ignore[arg-type]
    assert weights.shape == (len(rates),)
    assert np.all(weights >= 0) and weights.sum() == pytest.approx(1.0)


@given(RATES, st.floats(0.1, 5.0))
def test_harder_opponents_are_never_less_likely(rates: list[float], power: float) -> None:
    weights = pfsp_weights(sorted(rates), "hard", power)
    assert np.all(np.diff(weights) <= 1e-12)


def test_drawn_frequencies_follow_the_weights() -> None:
    league = league_of(1, 2)
    league.members[0].win_rate, league.members[1].win_rate = 0.0, 0.5
    generator = np.random.default_rng(0)
    drawn = [league.draw(1, generator)[0] for _ in range(4000)]
    assert drawn.count("step-1") / 4000 == pytest.approx(league.probabilities()["step-1"], abs=0.03)
    assert league.probabilities()["step-1"] == pytest.approx(0.8)


def test_draw_gives_different_members_and_no_more_than_there_are() -> None:
    league = league_of(1, 2, 3)
    league.members[0].win_rate = 1.0
    assert sorted(league.draw(5, np.random.default_rng(0))) == ["step-1", "step-2", "step-3"]
    assert League(3).draw(2, np.random.default_rng(0)) == []


def test_an_unknown_member_counts_as_even() -> None:
    assert Member("new", 0).win_rate == 0.5


def test_win_rate_is_a_mean_at_first_and_forgets_later() -> None:
    member = Member("old", 0)
    for result in (1, 1, -1):
        member.record(result)
    assert member.win_rate == pytest.approx((0.5 + 1 + 1 + 0) / 4)
    for _ in range(200):
        member.record(-1)
    assert member.win_rate < 0.01
    assert (member.wins, member.draws, member.losses, member.games) == (2, 0, 201, 203)


def test_the_pool_is_bounded_and_keeps_first_newest_and_spread() -> None:
    league = league_of(*range(0, 1000, 10), pool_size=5)
    steps = [member.environment_steps for member in league.members]
    assert len(steps) == 5 and steps[0] == 0 and steps[-1] == 990
    assert max(np.diff(steps)) <= 990 / 2


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 8))
@settings(max_examples=50)
def test_eviction_never_breaks_the_bound_nor_loses_the_newest(gaps: list[int], pool_size: int) -> None:
    league, step = League(pool_size), 0
    for number, gap in enumerate(gaps):
        step += gap
        evicted = league.add(f"m{number}", step)
        names = [member.name for member in league.members]
        assert len(names) == min(number + 1, pool_size)
        assert names[-1] == f"m{number}"
        assert not {member.name for member in evicted} & set(names)
        if pool_size >= 2:
            assert names[0] == "m0"


def test_a_name_cannot_come_twice_and_time_cannot_run_backwards() -> None:
    league = league_of(10)
    with pytest.raises(ValueError, match="already"):
        league.add("step-10", 20)
    with pytest.raises(ValueError, match="older"):
        league.add("step-5", 5)


def test_elo_moves_both_but_the_anchor() -> None:
    league = league_of(1)
    league.record("step-1", 1)
    assert league.rating == pytest.approx(ELO_STEP / 2)
    assert league.members[0].rating == pytest.approx(-ELO_STEP / 2)
    league.record("weak", 1)
    assert league.kinds["weak"].rating == 0.0 and league.rating > ELO_STEP / 2
    assert expected_score(400.0, 0.0) == pytest.approx(10 / 11)


def test_elo_settles_where_the_score_says() -> None:
    league, generator = League(3), np.random.default_rng(0)
    ratings = []
    for _ in range(6000):
        league.record("weak", 1 if generator.random() < 0.76 else -1)
        ratings.append(league.rating)
    assert np.mean(ratings[1000:]) == pytest.approx(400 * np.log10(0.76 / 0.24), abs=25)


def test_rounds_are_counted_by_kind_even_for_evicted_members() -> None:
    league = league_of(1)
    for name in ("weak", "strong", "self", "step-1", "long gone"):
        league.record(name, -1)
    assert {kind: record.losses for kind, record in league.kinds.items()} == {
        "weak": 1,
        "strong": 1,
        "self": 1,
        "past": 2,
    }
    assert league.members[0].losses == 1


def test_state_survives_json_exactly() -> None:
    league = league_of(1, 5, 9)
    for name, result in (("weak", 1), ("step-5", -1), ("self", 0)):
        league.record(name, result)
    copy = League(20, "hard", 2.0)
    copy.restore(json.loads(json.dumps(league.to_json())))
    assert copy.to_json() == league.to_json()
    assert copy.probabilities() == league.probabilities()


def test_a_smaller_pool_thins_out_what_it_takes_over() -> None:
    copy = League(3)
    copy.restore(league_of(*range(10)).to_json())
    assert len(copy.members) == 3 and copy.members[0].name == "step-0" and copy.members[-1].name == "step-9"
