"""Warnings of the whole process as lines for the arena's terminal, few of them whatever happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from competitor.wire.names import one_line

MOST_KINDS = 20
"""Lines of different kinds between two calls of `tell_counts`; what is beyond them is only counted."""
EVERY_S = 60.0
LONGEST_LINE = 200
OTHERS = "other warnings"

Say = Callable[[str], None]


class LogLines(logging.Handler):
    """Says the first warning of a kind at once and counts those that follow. A kind is a logger with one text."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._counting = threading.Lock()
        self._counts: dict[str, int] = {}
        self._samples: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say or count a record; its traceback becomes the one line that matters."""
        kind = f"{record.name}: {str(record.msg).partition(chr(10))[0][:60]}"
        with self._counting:
            is_new = kind not in self._counts
            if is_new and len(self._counts) >= MOST_KINDS:
                kind, is_new = OTHERS, False
            self._counts[kind] = 0 if is_new else self._counts.get(kind, 0) + 1
            self._samples.setdefault(kind, OTHERS if kind == OTHERS else _line(record))
        if is_new:
            self._say(f"{record.levelname.lower()}: {self._samples[kind]}")

    def tell_counts(self) -> None:
        """Say how many more there were of each kind, and begin to count anew; call it every EVERY_S."""
        with self._counting:
            counts, samples = self._counts, self._samples
            self._counts, self._samples = {}, {}
        for kind, count in counts.items():
            if count:
                self._say(f"warning: {count:,} more like this: {samples[kind]}")


@contextmanager
def log_lines(say: Say) -> Iterator[LogLines]:
    """Have all warnings of the process go to `say` within the block."""
    handler = LogLines(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        handler.tell_counts()


def _line(record: logging.LogRecord) -> str:
    text = record.getMessage().strip().partition("\n")[0]
    if record.exc_info and (error := record.exc_info[1]) is not None:
        text += f": {type(error).__name__}: {error}"
    return one_line(text)[:LONGEST_LINE]
