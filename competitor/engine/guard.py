"""Steps that wait for an answer, the matches they belong to, and the guard of their deadline."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from competitor.engine.safety import SafeActor
from competitor.engine.session import ZEROS, Action, Flags, Reply, Rows, Session, Source, Step


class Brain(Protocol):
    """Who plays many matches, a slot for each. The engine opens slots and has them act in its inference thread."""

    @property
    def name(self) -> str:
        """The player as the user named it."""

    @property
    def digest(self) -> str:
        """The sha256 of the weights, or of another player's file."""

    def open(self) -> int:
        """Return a free slot; what it remembers is void until a row with is_first."""

    def close(self, slot: int) -> None:
        """Free a slot, of which no step is under way. From any thread."""

    def act(self, slots: Sequence[int], obs: Rows, is_first: Flags, previous: Rows) -> Rows:
        """Return raw actions (n, 4) for obs (n, 18), is_first (n,) and the actions sent before, previous (n, 4).

        A row whose new state or action is not finite returns NaN and keeps its old state. If it raises, all
        states are as they were.
        """

    def self_test(self) -> None:
        """Act on ordinary observations, which also warms up; raises CheckpointError or PlayerError."""


@dataclass(eq=False)
class Match:
    """What the engine keeps of a session: who plays it, in which slot, and its open steps.

    `previous` and `is_fresh` belong to the inference thread, all else to the engine's lock.
    """

    brain: Brain | None  # None: the slot is free again
    safe: SafeActor
    slot: int | None = None
    previous: Action = ZEROS
    is_fresh: bool = True  # the state is void until the network has taken an observation of the round
    waiting: deque[Request] = field(default_factory=deque)
    is_closed: bool = False
    seen: set[Source] = field(default_factory=set)  # who has answered so far

    def free(self) -> None:
        """Give the slot back: nothing waits, and what still comes is answered by the safe actor."""
        brain, slot, self.brain, self.slot = self.brain, self.slot, None, None
        if brain is not None and slot is not None:
            brain.close(slot)


@dataclass(slots=True, eq=False)
class Request:
    """One step, from its arrival to its answer."""

    session: Session
    match: Match
    step: Step
    reply: Reply
    received_s: float
    action: Action | None = None  # the answer, once it is decided


class DeadlineGuard:
    """Calls `overdue` in a thread of its own for every step that has had no answer for `deadline_s`."""

    def __init__(self, deadline_s: float, overdue: Callable[[Request], None], clock: Callable[[], float]) -> None:
        """`clock` is the one that the steps' `received_s` was read from, in seconds; `overdue` must not raise."""
        self._deadline_s, self._overdue, self._clock = deadline_s, overdue, clock
        self._changed = threading.Condition()
        self._watched: deque[Request] = deque()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="deadline guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def set_deadline(self, deadline_s: float) -> None:
        """Steps have so long from now on, those that wait already as well."""
        with self._changed:
            self._deadline_s = deadline_s
            self._changed.notify()

    def watch(self, request: Request) -> None:
        """Keep an eye on a step; steps come in the order in which they were received."""
        with self._changed:
            self._watched.append(request)
            if len(self._watched) == 1:  # else the thread waits for an earlier one
                self._changed.notify()

    def stop(self) -> list[Request]:
        """End the thread without waiting for it; returns the steps that are still without an answer."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
            return [request for request in self._watched if request.action is None]

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (request := self._next_overdue()) is not None:
            self._overdue(request)

    def _next_overdue(self) -> Request | None:
        """Wait for a step to be overdue and take it; None at the end."""
        with self._changed:
            while not self._is_stopped:
                while self._watched and self._watched[0].action is not None:
                    self._watched.popleft()
                left_s = self._watched[0].received_s + self._deadline_s - self._clock() if self._watched else None
                if left_s is not None and left_s <= 0:
                    return self._watched.popleft()
                self._changed.wait(left_s)
            return None
