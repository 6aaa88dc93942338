"""Whatever comes in, four finite doubles within [-1, 1] go out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.engine.safety import SafeActor, UnsoundAction, sanitise
from competitor.rink import BasicOpponent
from tests.competitor.engine.fakes import play_obs, start_obs

fixed = settings(max_examples=300)
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.floats() | st.floats(width=32) | st.integers() | st.booleans() | st.none() | st.text(max_size=3)


def is_valid(action) -> bool:  # type: ignore[no-untyped-def]
    """What the server checks, on what it reads: the text of each number, as a double and as float32."""
    read = [float(repr(value)) for value in action]
    single = np.array(read, np.float32)
    return (
        type(action) is tuple
        and [type(value) for value in action] == [float] * 4
        and all(-1.0 <= value <= 1.0 for value in read)
        and bool((np.abs(single) <= 1.0).all())
    )


@fixed
@given(st.lists(finite, min_size=4, max_size=4))
def test_finite_numbers_are_clipped_and_otherwise_kept(values: list[float]) -> None:
    action = sanitise(values)
    assert is_valid(action)
    assert list(action) == [min(max(value, -1.0), 1.0) for value in values]


@fixed
@given(st.lists(anything, max_size=7) | anything)
def test_whatever_comes_in_is_valid_or_refused(values) -> None:  # type: ignore[no-untyped-def]
    try:
        action = sanitise(values)
    except UnsoundAction:
        return
    assert is_valid(action)


@pytest.mark.parametrize(
    "values",
    [
        [math.nan, 0, 0, 0],
        [0, 0, 0, math.inf],
        [-math.inf, 0, 0, 0],
        [0] * 3,
        [0] * 5,
        [],
        None,
        0.5,
        "four",
        [10**400, 0, 0, 0],
        np.zeros((4, 1, 2)),
        np.full(4, np.nan, np.float32),
    ],
)
def test_what_is_not_four_finite_numbers_is_refused(values) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsoundAction):
        sanitise(values)


def test_the_safe_actor_is_the_strong_opponent() -> None:
    actor = SafeActor(np.random.default_rng(5))
    strong = BasicOpponent(weak=False, generator=np.random.default_rng(5))
    for obs in play_obs(30):
        assert actor.act(obs) == strong.decide(obs)


@fixed
@given(st.lists(st.floats(), min_size=18, max_size=18) | st.lists(st.floats(), max_size=40) | st.just([None] * 18))
def test_the_safe_actor_never_fails(obs: list[float]) -> None:
    actor = SafeActor(np.random.default_rng(5))
    assert is_valid(actor.act(obs))
    assert is_valid(actor.act(start_obs()))
