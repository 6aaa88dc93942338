"""How much of something there may be: so much at once, and so much a second in the long run."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable

MOST_REMEMBERED = 1024


class Budget:
    """So many things at once, and so many a second in the long run (a token bucket)."""

    def __init__(self, at_once: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once, self._per_s, self._clock = float(at_once), per_s, clock
        self._left, self._seen_s = float(at_once), clock()

    def spend(self) -> bool:
        """Take one; False when there is none left."""
        now_s = self._clock()
        self._left = min(self._at_once, self._left + (now_s - self._seen_s) * self._per_s)
        self._seen_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Budgets:
    """A Budget for each of those who ask, an address for example; of the last MOST_REMEMBERED."""

    def __init__(self, at_once: int, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once, self._per_s, self._clock = at_once, per_s, clock
        self._budgets: OrderedDict[Hashable, Budget] = OrderedDict()

    def spend(self, who: Hashable) -> bool:
        """Take one from somebody's budget; False when there is none left."""
        budget = self._budgets.pop(who, None) or Budget(self._at_once, self._per_s, self._clock)
        self._budgets[who] = budget
        if len(self._budgets) > MOST_REMEMBERED:
            self._budgets.popitem(last=False)
        return budget.spend()


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
