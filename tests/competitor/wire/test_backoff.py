"""The waits between two attempts to connect."""

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.wire.backoff import LONGEST_ASKED_S, Retries, retry_after_s


class Fixed(random.Random):
    """Always draws the same place between the bounds."""

    def __init__(self, place: float) -> None:
        super().__init__(0)
        self._place = place

    def uniform(self, a: float, b: float) -> float:
        return a + self._place * (b - a)


@pytest.fixture
def far_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock is hours from GMT."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("place", "waits"),
    [(0.0, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]), (1.0, [1.5, 3.0, 6.0, 10.0, 10.0, 10.0])],
    ids=["shortest", "longest"],
)
def test_waits_double_up_to_the_cap(place: float, waits: list[float]) -> None:
    retries = Retries(1.0, 10.0, Fixed(place))
    assert [retries.next_s() for _ in waits] == waits


@given(st.floats(0.001, 100.0), st.floats(0.001, 1000.0), st.integers(0, 2**32), st.integers(1, 200))
def test_no_wait_is_longer_than_the_cap_or_nothing(first_s: float, cap_s: float, seed: int, count: int) -> None:
    retries = Retries(first_s, cap_s, random.Random(seed))
    waits = [retries.next_s() for _ in range(count)]
    assert all(0.5 * min(first_s, cap_s) <= wait <= cap_s for wait in waits)


def test_clients_that_lost_the_server_together_come_back_apart() -> None:
    clients = [Retries(1.0, 60.0, random.Random(seed)) for seed in range(100)]
    for attempt in range(10):
        waits = sorted(client.next_s() for client in clients)
        assert waits[-1] / waits[0] > 1.8, attempt


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),  # has passed
        ("9" * 400, 999_999_999_999.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),  # the old forms: GMT without saying so
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:49:37", 37.0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 37.0),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 37.0),
        ("1.5", 1.5),
        ("120, 240", 120.0),
        ("120 240", None),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1e9", None),
        ("\u0661", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_the_servers_word_on_when_to_come_back(text: str, seconds: float | None, far_zone: None) -> None:
    assert retry_after_s(text, 784_111_740.0) == seconds


def test_a_server_can_make_us_wait_longer_not_shorter_and_not_for_ever() -> None:
    retries = Retries(8.0, 8.0, random.Random(1))
    assert retries.next_s(500.0) == 500.0
    assert 4.0 <= retries.next_s(0.5) <= 8.0
    assert retries.next_s(1e12) == LONGEST_ASKED_S


def test_waits_grow_until_a_connection_was_useful_and_attempts_count_until_a_login() -> None:
    retries = Retries(1.0, 64.0, random.Random(1), attempts=3)
    assert [retries.failed() for _ in range(2)] == [False, False]
    for _ in range(5):
        retries.next_s()
    retries.logged_in()
    assert retries.next_s() >= 16.0 and not retries.failed()
    retries.useful()
    assert retries.next_s() <= 1.5
    assert [retries.failed() for _ in range(2)] == [False, True]
    assert not any(Retries(1.0, 1.0, random.Random()).failed() for _ in range(10))
