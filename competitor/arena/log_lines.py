"""Warnings of the whole process as lines for the arena's terminal, few of them whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from competitor.wire.budget import Budget
from competitor.wire.names import one_line
from competitor.wire.throttle import Throttle

EVERY_S = 60.0
"""Between two lines of a kind."""
MOST_KINDS = 20
"""Lines of different kinds in that time; what is beyond them is left out."""
LONGEST_LINE = 200

Say = Callable[[str], None]


class LogLines(logging.Handler):
    """Says one warning of a kind a minute, and with the next one how many were left out."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._throttle, self._all = Throttle(1, EVERY_S), Budget(MOST_KINDS, MOST_KINDS / EVERY_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Say or count a record; its traceback becomes the one line that matters."""
        left_out = self._throttle.let_pass(record)
        if left_out is not None and self._all.spend():
            more = f" (and {left_out:,} more like this one)" if left_out else ""
            self._say(f"{record.levelname.lower()}: {_line(record)}{more}")


@contextmanager
def log_lines(say: Say) -> Iterator[None]:
    """Have all warnings of the process go to `say` within the block."""
    handler = LogLines(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _line(record: logging.LogRecord) -> str:
    text = record.getMessage().strip().partition("\n")[0]
    if record.exc_info and (error := record.exc_info[1]) is not None:
        text += f": {type(error).__name__}: {error}"
    return one_line(text)[:LONGEST_LINE]
