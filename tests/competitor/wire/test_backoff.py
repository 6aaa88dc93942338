"""The waits between two attempts to connect."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.wire.backoff import Backoff


class Fixed(random.Random):
    """Always draws the same place between the bounds."""

    def __init__(self, place: float) -> None:
        super().__init__(0)
        self._place = place

    def uniform(self, a: float, b: float) -> float:
        return a + self._place * (b - a)


@pytest.mark.parametrize(
    ("place", "waits"),
    [(0.0, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]), (1.0, [1.5, 3.0, 6.0, 10.0, 10.0, 10.0])],
    ids=["shortest", "longest"],
)
def test_waits_double_up_to_the_cap(place: float, waits: list[float]) -> None:
    backoff = Backoff(1.0, 10.0, Fixed(place))
    assert [backoff.next_s() for _ in waits] == waits


def test_reset_begins_again() -> None:
    backoff = Backoff(1.0, 60.0, Fixed(0.5))
    waits = [backoff.next_s() for _ in range(4)]
    backoff.reset()
    assert [backoff.next_s() for _ in range(4)] == waits == [1.0, 2.0, 4.0, 8.0]


@given(st.floats(0.001, 100.0), st.floats(0.001, 1000.0), st.integers(0, 2**32), st.integers(1, 200))
def test_no_wait_is_longer_than_the_cap_or_nothing(first_s: float, cap_s: float, seed: int, count: int) -> None:
    backoff = Backoff(first_s, cap_s, random.Random(seed))
    waits = [backoff.next_s() for _ in range(count)]
    assert all(0.5 * min(first_s, cap_s) <= wait <= cap_s for wait in waits)


def test_clients_that_lost_the_server_together_come_back_apart() -> None:
    clients = [Backoff(1.0, 60.0, random.Random(seed)) for seed in range(100)]
    for attempt in range(10):
        waits = sorted(client.next_s() for client in clients)
        assert waits[-1] / waits[0] > 1.8, attempt
