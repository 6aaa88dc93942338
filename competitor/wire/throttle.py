"""Log records of one kind that come by the thousand, as whoever is at the other end can make them, are counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from competitor.wire.budget import MOST_REMEMBERED, Budgets


class Throttle:
    """Lets `burst` records of a kind pass, which `pause_s` gives back one by one; a kind is a logger and its words.

    To be used by one thread at a time, as a logging.Handler is.
    """

    def __init__(self, burst: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._budgets = Budgets(burst, 1 / pause_s, clock)
        self._left_out: Counter[tuple[str, str]] = Counter()

    def let_pass(self, record: logging.LogRecord) -> int | None:
        """Return how many of the kind were left out before this one, None if it is to be left out itself."""
        kind = record.name, str(record.msg)
        if self._budgets.spend(kind):
            return self._left_out.pop(kind, 0)
        if len(self._left_out) < MOST_REMEMBERED:
            self._left_out[kind] += 1
        return None
