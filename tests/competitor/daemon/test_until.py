"""`--until`: times of day, dates and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.daemon.options import parse_until

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
    assert parse_until(text, NOW.timestamp(), ZONE).at_s == expected.timestamp()


@pytest.mark.parametrize("text", ["", "soon", "24:00", "12:60", "90", "h", "-5m", "5m2h", "1:2", "2026-13-01", "0m x"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: expected HH:MM"):
        parse_until(text, NOW.timestamp(), ZONE)


@pytest.mark.parametrize("text", ["0m", "2026-11-23T14:30", "2020-01-01"])
def test_what_has_passed(text: str) -> None:
    with pytest.raises(ValueError, match="has passed already"):
        parse_until(text, NOW.timestamp(), ZONE)


@given(st.one_of(st.text(), st.from_regex(r"[0-9dhms:T-]{1,20}")))
def test_any_text_is_later_than_now_or_a_value_error(text: str) -> None:
    try:
        moment = parse_until(text, NOW.timestamp(), ZONE)
    except ValueError:
        return
    assert moment.at_s > NOW.timestamp()


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-10-24T20:00+02:00", "18:00", "2026-10-25T18:00+01:00"),  # summer time ends in between
        ("2026-03-28T20:00+01:00", "18:00", "2026-03-29T18:00+02:00"),  # and begins
        ("2026-03-28T20:00+01:00", "2026-03-29T18:00", "2026-03-29T18:00+02:00"),
        ("2026-10-25T01:00+02:00", "02:30", "2026-10-25T02:30+02:00"),  # an hour that comes twice: the first time,
        ("2026-10-25T02:45+02:00", "02:30", "2026-10-25T02:30+01:00"),  # or the second if the first has passed
        ("2026-03-29T01:00+01:00", "02:30", "2026-03-29T03:30+02:00"),  # an hour that is left out
        ("2026-10-24T20:00+02:00", "12h", "2026-10-25T07:00+01:00"),  # a duration is what a stopwatch shows
    ],
)
def test_a_time_of_day_is_that_of_the_zone_on_that_day(now: str, text: str, expected: str) -> None:
    moment = parse_until(text, datetime.fromisoformat(now).timestamp(), BERLIN)
    assert moment.at_s == datetime.fromisoformat(expected).timestamp()


def test_a_duration_does_not_care_about_the_wall_clock_and_a_time_of_day_does() -> None:
    wall, steady = [1e9], [50.0]
    duration, moment = (parse_until(text, 1e9, UTC) for text in ("90m", "04:00"))
    is_over = duration.watch(lambda: wall[0], lambda: steady[0])
    has_come = moment.watch(lambda: wall[0], lambda: steady[0])
    wall[0] += 1e6
    assert not is_over() and has_come()
    wall[0], steady[0] = 0.0, 50.0 + 5400.0
    assert is_over() and not has_come()
