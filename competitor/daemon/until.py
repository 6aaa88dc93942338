"""`--until TIME`: a time of day, a date with a time, or a duration from now."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

FORMS = "HH:MM, a date and time such as 2026-11-30T18:00, or a duration such as 90m, 2h or 1h30m"
_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,5})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,8})s)?"
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")


def parse_until(text: str, now: datetime) -> datetime:
    """The moment that `text` names, with a time zone. A time of day that has passed today means tomorrow's.

    now: with a time zone; a text without one is in it. Raises ValueError when `text` is none of FORMS or names
    a moment that has passed.
    """
    text = text.strip()
    moment = _duration(text, now) or _time_of_day(text, now) or _date(text, now)
    if moment is None:
        raise ValueError(f"'{text}' is not a time: expected {FORMS}")
    if moment <= now:
        raise ValueError(f"'{text}' has passed already")
    return moment


def _duration(text: str, now: datetime) -> datetime | None:
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    return now + timedelta(**{unit: int(count) for unit, count in found.groupdict("0").items()})


def _time_of_day(text: str, now: datetime) -> datetime | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    try:
        today = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    except ValueError:
        return None
    return today if today > now else today + timedelta(days=1)


def _date(text: str, now: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
