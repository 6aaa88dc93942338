"""How long to wait before connecting again, and when to give up. Both protocols wait alike."""

import random
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

STEADY_S = 60.0  # a connection that has stood for so long after its login was useful, though nothing was played
LONGEST_ASKED_S = 3600.0  # that a server can make anybody wait: a mistyped year must not end a tournament


class Retries:
    """One connection's attempts, and the waits between them, which grow until a connection has been useful.

    They double from `first_s` up to `cap_s`, each drawn from half to one and a half of its nominal length. The draw
    keeps many clients apart that have lost their server at the same moment. No wait is longer than `cap_s`: at the cap
    they are drawn from the half below it.
    """

    def __init__(self, first_s: float, cap_s: float, random: random.Random, attempts: int = 0) -> None:
        """`attempts` in a row without a login are all there are; 0: there is no end to them."""
        self._first_s, self._cap_s = min(first_s, cap_s), cap_s
        self._random, self._attempts = random, attempts
        self._nominal_s = self._first_s
        self.failures = 0  # in a row

    def logged_in(self) -> None:
        """The server is there and lets us in."""
        self.failures = 0

    def useful(self) -> None:
        """A step was asked for, or the connection has stood for STEADY_S: the next wait is a short one."""
        self._nominal_s = self._first_s

    def failed(self) -> bool:
        """An attempt has not come to a login; return whether it was the last one."""
        self.failures += 1
        return 0 < self._attempts <= self.failures

    def next_s(self, asked_s: float | None = None) -> float:
        """Return the next wait; asked_s: the server's word on when to come back, which is followed within reason."""
        nominal_s = self._nominal_s
        self._nominal_s = min(2.0 * nominal_s, self._cap_s)
        wait_s = self._random.uniform(0.5 * nominal_s, min(1.5 * nominal_s, self._cap_s))
        return max(wait_s, min(asked_s or 0.0, LONGEST_ASKED_S))


def retry_after_s(text: str, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, a number or a date; None when it is neither.

    Of several numbers, as proxies join them, the first counts. now_s: unix seconds, by the server's clock if known.
    """
    if number := re.match(r"\s*([0-9]{1,12})[0-9]*(\.[0-9]{1,9})?\s*(,|$)", text):
        return float(number[1] + (number[2] or ""))
    date_s = http_date_s(text)
    return None if date_s is None else max(0.0, date_s - now_s)


def http_date_s(text: str) -> float | None:
    """Return the unix seconds of a header's date, which is GMT where it names no zone; None if it is none."""
    try:
        date = parsedate_to_datetime(text.strip())
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
