"""Ratings follow results: who has more goals counts, draws are draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openskill.models import PlackettLuce

from competitor.arena.rating import Rating, rate

FRESH = Rating()
RATINGS = st.builds(Rating, st.floats(-20.0, 60.0), st.floats(0.5, 9.0))
SCORES = st.tuples(st.integers(0, 4), st.integers(0, 4))


def test_everybody_starts_at_zero() -> None:
    assert FRESH.shown == pytest.approx(0.0)


def test_it_is_openskills_own_number() -> None:
    model = PlackettLuce()
    (one,), (two,) = model.rate([[model.rating(30.0, 4.0)], [model.rating(20.0, 6.0)]], ranks=[2, 1])
    ours = rate(Rating(30.0, 4.0), Rating(20.0, 6.0), (0, 1))
    assert [(side.mu, side.sigma) for side in ours] == [(one.mu, one.sigma), (two.mu, two.sigma)]


@given(RATINGS, RATINGS, SCORES)
def test_nobody_is_favoured_for_being_first(one: Rating, two: Rating, scores: tuple[int, int]) -> None:
    forth = rate(one, two, scores)
    back = rate(two, one, scores[::-1])
    for left, right in zip(forth, reversed(back), strict=True):
        assert (left.mu, left.sigma) == pytest.approx((right.mu, right.sigma))


@given(RATINGS, RATINGS)
def test_the_margin_does_not_count(one: Rating, two: Rating) -> None:
    assert rate(one, two, (1, 0)) == rate(one, two, (4, 0))
