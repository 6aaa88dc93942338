"""`--until`: times of day, dates and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.daemon.until import parse_until

ZONE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 23, 14, 30, 20, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW + timedelta(minutes=90)),
        ("2h", NOW + timedelta(hours=2)),
        ("1h30m", NOW + timedelta(minutes=90)),
        ("1d", NOW + timedelta(days=1)),
        ("45s", NOW + timedelta(seconds=45)),
        ("18:00", NOW.replace(hour=18, minute=0, second=0)),
        ("14:31", NOW.replace(minute=31, second=0)),
        ("14:30", NOW.replace(day=24, second=0)),
        ("9:05", NOW.replace(day=24, hour=9, minute=5, second=0)),
        ("2026-11-24T08:00", datetime(2026, 11, 24, 8, tzinfo=ZONE)),
        (" 2026-11-24 08:00:30 ", datetime(2026, 11, 24, 8, 0, 30, tzinfo=ZONE)),
        ("2026-11-24T08:00Z", datetime(2026, 11, 24, 8, tzinfo=UTC)),
    ],
)
def test_forms(text: str, expected: datetime) -> None:
    assert parse_until(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "24:00", "12:60", "90", "h", "-5m", "5m2h", "1:2", "2026-13-01", "0m x"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: expected HH:MM"):
        parse_until(text, NOW)


@pytest.mark.parametrize("text", ["0m", "2026-11-23T14:30", "2020-01-01"])
def test_what_has_passed(text: str) -> None:
    with pytest.raises(ValueError, match="has passed already"):
        parse_until(text, NOW)


@given(st.one_of(st.text(), st.from_regex(r"[0-9dhms:T-]{1,20}")))
def test_any_text_is_later_than_now_or_a_value_error(text: str) -> None:
    try:
        moment = parse_until(text, NOW)
    except ValueError:
        return
    assert moment > NOW
