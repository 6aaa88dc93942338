"""The deadline guard: watches the steps that wait for an answer, and raises the alarm when one waits too long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Request(Protocol):
    """Something that waits for an answer: since when, and the answer once it is decided."""

    received_s: float

    @property
    def is_answered(self) -> bool: ...


Watched = TypeVar("Watched", bound=Request)


class DeadlineGuard(Generic[Watched]):
    """Calls `overdue` in a thread of its own for every step that has had no answer for `deadline_s`."""

    def __init__(self, deadline_s: float, overdue: Callable[[Watched], None], clock: Callable[[], float]) -> None:
        """`clock` is the one that the steps' `received_s` was read from, in seconds; `overdue` must not raise."""
        self._deadline_s, self._overdue, self._clock = deadline_s, overdue, clock
        self._changed = threading.Condition()
        self._watched: deque[Watched] = deque()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="deadline guard", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def set_deadline(self, deadline_s: float) -> None:
        """Steps have so long from now on, those that wait already as well."""
        with self._changed:
            self._deadline_s = deadline_s
            self._changed.notify()

    def watch(self, request: Watched) -> None:
        """Keep an eye on a step; steps come in the order in which they were received."""
        with self._changed:
            self._watched.append(request)
            if len(self._watched) == 1:  # else the thread waits for an earlier one
                self._changed.notify()

    def stop(self) -> list[Watched]:
        """End the thread without waiting for it; returns the steps that are still without an answer."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
            return [request for request in self._watched if not request.is_answered]

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (request := self._next_overdue()) is not None:
            self._overdue(request)

    def _next_overdue(self) -> Watched | None:
        """Wait for a step to be overdue and take it; None at the end."""
        with self._changed:
            while not self._is_stopped:
                while self._watched and self._watched[0].is_answered:
                    self._watched.popleft()
                left_s = self._watched[0].received_s + self._deadline_s - self._clock() if self._watched else None
                if left_s is not None and left_s <= 0:
                    return self._watched.popleft()
                self._changed.wait(left_s)
            return None
