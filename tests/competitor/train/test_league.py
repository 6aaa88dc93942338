"""The league: choice, ratings, bounds, persistence."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.train.facts import SavedLeague
from competitor.train.league import ELO_STEP, EXAM_ROUNDS, League, Member, expected_score, pfsp_weights

RATES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


LISTED = ("weak", "strong", "self", "past")


def league_of(*steps: int, pool_size: int = 20, listed: Sequence[str] = LISTED) -> League:
    league = League(listed, pool_size)
    for step in steps:
        league.add(f"step-{step}", step)
    return league


def test_weights_are_squares_of_the_loss_rate_above_an_even_tenth() -> None:
    assert pfsp_weights([0.0, 0.5]) == pytest.approx([0.9 * 0.8 + 0.05, 0.9 * 0.2 + 0.05])
    forgotten = pfsp_weights([0.5] * 9 + [0.95])[-1]
    assert 0.01 < forgotten == pytest.approx(0.01 + 0.9 * 0.0025 / (9 * 0.25 + 0.0025))
    assert pfsp_weights([1.0, 1.0]) == pytest.approx([0.5, 0.5])


@given(RATES)
def test_weights_are_probabilities_and_the_harder_are_never_less_likely(rates: list[float]) -> None:
    weights = pfsp_weights(sorted(rates))
    assert weights.shape == (len(rates),)
    assert np.all(weights >= 0) and weights.sum() == pytest.approx(1.0)
    assert np.all(np.diff(weights) <= 1e-12)


def test_drawn_frequencies_follow_the_weights() -> None:
    league = league_of(1, 2)
    league.members[0].win_rate, league.members[1].win_rate, league.members[1].wins = 0.0, 0.5, EXAM_ROUNDS
    generator = np.random.default_rng(0)
    drawn = [league.draw(1, generator)[0] for _ in range(4000)]
    assert drawn.count("step-1") / 4000 == pytest.approx(0.77, abs=0.03)
    alike = [league.draw(1, generator, evenly=True)[0] for _ in range(4000)]
    assert alike.count("step-1") / 4000 == pytest.approx(0.5, abs=0.03)


def test_the_newest_is_met_until_it_can_be_examined_against() -> None:
    league, generator = league_of(1, 2, 3), np.random.default_rng(0)
    for _ in range(EXAM_ROUNDS):
        assert league.draw(2, generator)[0] == "step-3"
        league.record("step-3", 1)
    assert {league.draw(1, generator)[0] for _ in range(500)} == {"step-1", "step-2", "step-3"}


def test_who_enters_has_beaten_the_basic_opponents_and_the_newest_member() -> None:
    league = league_of()
    league.opponents["weak"].win_rate, league.opponents["strong"].win_rate = 0.9, 0.69
    assert not league.is_examined(0.7, 0.6)
    league.opponents["strong"].win_rate = 0.7
    assert league.is_examined(0.7, 0.6)  # nobody is in it yet
    league.add("step-1", 1)
    for result in (1, 1, 1, 0, -1):
        assert not league.is_examined(0.7, 0.6)  # not met often enough
        for _ in range(EXAM_ROUNDS // 5):
            league.record("step-1", result)
    assert league.members[0].points == pytest.approx(0.7)
    assert league.is_examined(0.7, 0.7) and not league.is_examined(0.7, 0.71)
    assert league_of(1).is_examined(0.0, 0.0)


def test_the_other_starts_more_often_as_long_as_more_is_lost_there() -> None:
    member = Member("other", 0)
    assert member.other_start_share == 0.5
    for _ in range(200):
        member.record(1, own_start=True)
        member.record(-1, own_start=False)
    assert (round(member.own_start, 2), round(member.other_start, 2)) == (1.0, 0.0)
    assert member.other_start_share == 0.75
    for _ in range(200):
        member.record(0, own_start=False)
    assert member.other_start_share == 0.75  # 0.6 / (0.6 + 0.1) is more than may be
    for _ in range(400):
        member.record(1, own_start=False)
        member.record(-1, own_start=True)
    assert member.other_start_share == 0.5


def test_draw_gives_different_members_and_no_more_than_there_are() -> None:
    league = league_of(1, 2, 3)
    league.members[0].win_rate = 1.0
    assert sorted(league.draw(5, np.random.default_rng(0))) == ["step-1", "step-2", "step-3"]
    assert League(LISTED, 3).draw(2, np.random.default_rng(0)) == []


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
    league, step = League(LISTED, pool_size), 0
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
    assert league.opponents["weak"].rating == 0.0 and league.rating > ELO_STEP / 2
    assert expected_score(400.0, 0.0) == pytest.approx(10 / 11)


def test_elo_settles_where_the_score_says() -> None:
    league, generator = League(LISTED, 3), np.random.default_rng(0)
    ratings = []
    for _ in range(6000):
        league.record("weak", 1 if generator.random() < 0.76 else -1)
        ratings.append(league.rating)
    assert np.mean(ratings[1000:]) == pytest.approx(400 * np.log10(0.76 / 0.24), abs=25)


def test_rounds_are_counted_by_entry_of_the_list_even_for_evicted_members() -> None:
    league = league_of(1)
    for name in ("weak", "strong", "self", "step-1", "long gone"):
        league.record(name, -1)
    assert {kind: record.losses for kind, record in league.opponents.items()} == {
        "weak": 1,
        "strong": 1,
        "self": 1,
        "past": 2,
    }
    assert league.members[0].losses == 1


def test_any_player_may_be_listed_and_has_a_rating_of_its_own() -> None:
    league = league_of(1, listed=("sparring:wall", "champion", "past"))
    for name in ("sparring:wall", "champion", "step-1", "weak"):
        league.record(name, 1)
    assert [(name, record.wins) for name, record in league.opponents.items()] == [
        ("sparring:wall", 1),
        ("champion", 1),
        ("past", 2),
    ]
    assert league.opponents["sparring:wall"].rating == pytest.approx(-ELO_STEP / 2)
    assert league.opponents["past"].rating == 0.0


def test_a_changed_list_keeps_the_records_of_those_that_stay() -> None:
    league = league_of(1)
    league.record("strong", -1)
    league.record("self", 1)
    copy = league_of(listed=("champion", "strong"))
    copy.restore(json.loads(json.dumps(league.to_json())))
    assert copy.opponents.keys() == {"champion", "strong"}
    assert copy.opponents["strong"].losses == 1 and copy.opponents["champion"].games == 0
    copy.record("step-1", 1)  # its round was in play when past selves were struck off the list
    assert copy.members[0].wins == 1


@pytest.mark.parametrize("key", ["opponents", "kinds"])  # the second in version 0.2
def test_state_survives_json_exactly(key: str) -> None:
    league = league_of(1, 5, 9)
    for name, result in (("weak", 1), ("step-5", -1), ("self", 0)):
        league.record(name, result)
    state = league.to_json()
    state[key] = state.pop("opponents")
    copy = league_of()
    copy.restore(SavedLeague.model_validate_json(json.dumps(state)).model_dump())
    assert copy.to_json() == league.to_json()


def test_a_smaller_pool_thins_out_what_it_takes_over() -> None:
    copy = League(LISTED, 3)
    copy.restore(league_of(*range(10)).to_json())
    assert len(copy.members) == 3 and copy.members[0].name == "step-0" and copy.members[-1].name == "step-9"
