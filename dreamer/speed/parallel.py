"""Large passes on two cores: rows are cut into parts, and a thread that has to wait takes some of them meanwhile.

torch's own threads meet at a barrier after every operation and spin there; beside another busy thread that costs more
than it brings. Parts that run through many operations meet once, and nobody waits for a helper that has not begun.
How rows are cut does not depend on who helps, so results repeat, whatever the threads' speed and number.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

FEWEST_ROWS = 400  # of a part; less work than that is done faster than it is shared
MOST_PARTS = 4
Part = TypeVar("Part")

_changed = threading.Condition()


class _Pass(Generic[Part]):
    """One large pass: the parts that nobody has taken yet, and what came of the others."""

    def __init__(self, work: Callable[[slice], Part], slices: list[slice]) -> None:
        self._work = work
        self.open = deque(enumerate(slices))
        self._missing = len(slices)
        self._results: dict[int, Part] = {}
        self._error: BaseException | None = None

    @torch.no_grad()
    def take_parts(self) -> None:
        """Do one part after the other until none is open."""
        while (taken := self._take()) is not None:
            number, rows = taken
            try:
                self._results[number] = self._work(rows)
            except BaseException as error:  # for the thread whose pass it is
                self._error = error
            with _changed:
                self._missing -= 1
                _changed.notify_all()

    def results(self) -> list[Part]:
        """What all parts returned, in order; waits for those that another thread has taken, raises what one raised."""
        with _changed:
            _changed.wait_for(lambda: self._missing == 0)
        if self._error is not None:
            raise self._error
        return [self._results[number] for number in sorted(self._results)]

    def _take(self) -> tuple[int, slice] | None:
        with _changed:
            return self.open.popleft() if self.open else None


_passes: list[_Pass[Any]] = []


def parts(rows: int) -> list[slice]:
    """How ``rows`` are cut: into equal, contiguous parts."""
    count = min(MOST_PARTS, max(1, rows // FEWEST_ROWS))
    edges = [rows * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def over_rows(work: Callable[[slice], Part], rows: int) -> list[Part]:
    """What ``work`` returns for each part, in order; it runs without gradients, in this thread and those that help."""
    slices = parts(rows)
    if len(slices) == 1:
        with torch.no_grad():
            return [work(slices[0])]
    shared = _Pass(work, slices)
    with _changed:
        _passes.append(shared)
        _changed.notify_all()
    shared.take_parts()
    with _changed:
        _passes.remove(shared)
    return shared.results()


def help_until(done: Callable[[], bool]) -> None:
    """Take parts of other threads' passes until ``done``; whoever makes it true calls ``wake`` then."""
    while True:
        with _changed:
            _changed.wait_for(lambda: done() or any(one.open for one in _passes))
            if done():
                return
            shared = next(one for one in _passes if one.open)
        shared.take_parts()


def wake() -> None:
    """Let those who help look again whether they are done."""
    with _changed:
        _changed.notify_all()
