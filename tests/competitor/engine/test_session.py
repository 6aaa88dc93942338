"""Where rounds begin, for all recorded games and for anything else; what a session notes down."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.engine.session import START_POSE, Session, Source
from tests.competitor.engine.fakes import start_obs

RECORDED = Path(__file__).parents[2] / "data" / "comprl_rounds_public.npz"
fixed = settings(max_examples=200)

sides = st.sampled_from((-1.0, 1.0))
pucks = st.tuples(st.floats(1, 2), sides, st.floats(-1, 1)).map(lambda p: (p[0] * p[1], p[2]))
numbers = st.floats(allow_nan=True, allow_infinity=True)


def recorded_views() -> list[tuple[str, np.ndarray, list[int]]]:
    with np.load(RECORDED) as games:
        return [
            (f"{game}_{view}", games[f"{game}_{view}_obs"], games[f"{game}_starts"].tolist())
            for game in games["games"]
            for view in ("p1", "p2")
        ]


def found(rows) -> list[int]:  # type: ignore[no-untyped-def]
    session = Session("m")
    session.take([np.nan] * 18)  # the first step of a match always begins a round
    return [index for index, obs in enumerate(rows) if session.take(obs).is_first]


def test_no_start_is_missed_and_none_is_false_in_the_recorded_games() -> None:
    views = recorded_views()
    assert len(views) == 24
    for name, obs, starts in views:
        assert found(obs) == starts, name


def test_a_puck_that_moved_only_from_zero_to_negative_zero_has_not_moved() -> None:
    assert found([start_obs(1.5, 0.0), start_obs(1.5, -0.0)]) == [0]


def test_a_nan_between_two_equal_start_poses_starts_nothing() -> None:
    assert found([start_obs(), [np.nan] * 18, start_obs(), start_obs()[:17], start_obs()]) == [0]


@fixed
@given(puck=pucks, holding=st.tuples(numbers, numbers), repeats=st.integers(1, 5))
def test_every_start_pose_starts_one_round(puck, holding, repeats) -> None:  # type: ignore[no-untyped-def]
    obs = [*START_POSE, *puck, 0.0, 0.0, *holding]
    assert found([obs] * repeats) == [0]


@fixed
@given(st.lists(pucks, min_size=1, max_size=8))
def test_in_the_start_pose_only_a_moved_puck_starts_a_round(places) -> None:  # type: ignore[no-untyped-def]
    expected = [index for index, place in enumerate(places) if index == 0 or place != places[index - 1]]
    assert found([start_obs(*place) for place in places]) == expected


@fixed
@given(puck=pucks, index=st.integers(0, 15), value=numbers)
def test_one_number_off_is_no_start(puck, index, value) -> None:  # type: ignore[no-untyped-def]
    obs = start_obs(*puck)
    obs[index] = value
    in_strip = 1.0 <= abs(obs[12]) <= 2.0 and abs(obs[13]) <= 1.0
    is_start = in_strip and obs[:12] == list(START_POSE) and obs[14] == obs[15] == 0.0
    assert found([obs]) == ([0] if is_start else [])


@fixed
@given(st.lists(st.lists(numbers, min_size=18, max_size=18), max_size=5), pucks)
def test_nothing_seen_before_hides_a_start(before, puck) -> None:  # type: ignore[no-untyped-def]
    before = [obs for obs in before if (obs[12], obs[13]) != puck]
    assert found([*before, start_obs(*puck)])[-1:] == [len(before)]


@fixed
@given(st.integers(0, 40).filter(lambda size: size != 18))
def test_another_length_starts_nothing_and_is_forgotten(size: int) -> None:
    obs = (start_obs() * 3)[:size]
    assert found([obs, start_obs(), obs, start_obs()]) == [1]


@pytest.mark.parametrize("obs", [None, 3.0, "text", [None] * 18, ["a"] * 18, [[0.0]] * 18, np.zeros((18, 18))])
def test_what_is_not_numbers_starts_nothing(obs) -> None:  # type: ignore[no-untyped-def]
    assert found([obs]) == []


BAD = [
    [np.nan] * 18,
    [0.0] * 17 + [np.inf],
    [0.0] * 17 + [1e39],  # infinite in float32
    [0.0] * 17,
    [0.0] * 19,
    [],
    [None] * 18,
    "18 letters, no more",
]


@pytest.mark.parametrize("obs", BAD)
def test_a_bad_observation_is_not_for_the_network_but_in_the_trace(obs) -> None:  # type: ignore[no-untyped-def]
    session = Session("m")
    good = session.take(start_obs())
    bad = session.take(obs)
    assert good.row is not None and bad.row is None
    assert good.last_good == bad.last_good == start_obs()
    for request in (good, bad):
        session.answered(request.index, (0.0,) * 4, Source.POLICY, 1.0)
    kept = session.trace().obs[1]
    is_a_vector = len(obs) == 18 and not isinstance(obs, str)
    expected = np.array(obs, np.float64) if is_a_vector else np.full(18, np.nan)
    assert np.array_equal(kept, expected, equal_nan=True)


def test_the_trace_holds_what_was_seen_and_done() -> None:
    session = Session("m")
    rows = [start_obs(), [0.25] * 18, start_obs(-1.5)]
    for index, obs in enumerate(rows):
        session.take(obs)
        session.answered(index, (0.1 * index, -1.0, 1.0, -0.0), Source(index), 10.0 * index)
    trace = session.trace()
    assert np.array_equal(trace.obs, rows)
    assert np.array_equal(trace.actions, [[0.1 * index, -1.0, 1.0, -0.0] for index in range(3)])
    assert trace.is_first.tolist() == [True, False, True]
    assert trace.source.tolist() == [0, 1, 2] and trace.source.dtype == np.uint8
    assert trace.latency_ms.tolist() == [0.0, 10.0, 20.0] and trace.latency_ms.dtype == np.float32


def test_the_trace_ends_before_the_first_step_without_an_answer() -> None:
    session = Session("m")
    for _ in range(4):
        session.take(start_obs())
    for index in (0, 1, 3):
        session.answered(index, (0.0,) * 4, Source.POLICY, 1.0)
    trace = session.trace()
    assert {len(part) for part in vars(trace).values()} == {2}
