"""Whether the daemon takes another match: it plays, finishes what is in play, or leaves; and the games budget."""

from __future__ import annotations

import threading
from typing import Literal

Phase = Literal["playing", "finishing", "leaving"]


class Lifecycle:
    """Phase and budget, shared by all connections; every method may be called from any thread.

    A match uses up its place in the budget in three steps: `wants_match` reserves it, `begun` takes it, and
    `ended` spends it for good. `released` (before it began) and `abandoned` give it back.
    """

    def __init__(self, games: int | None = None) -> None:
        """Play `games` finished matches at most; None is without limit."""
        self._games = games
        self._lock = threading.Lock()
        self._phase: Phase = "playing"
        self._reserved = self._in_play = self._finished = 0

    @property
    def phase(self) -> Phase:
        """Where the daemon is on its way from playing to gone; it never goes back."""
        return self._phase

    @property
    def in_play(self) -> int:
        """Matches that have begun and not ended."""
        return self._in_play

    @property
    def finished(self) -> int:
        """Matches that have ended; abandoned ones do not count."""
        return self._finished

    @property
    def is_spent(self) -> bool:
        """Whether as many matches have ended as were asked for."""
        return self._games is not None and self._finished >= self._games

    def finish(self) -> None:
        """Take no new match; those in play go on."""
        with self._lock:
            if self._phase == "playing":
                self._phase = "finishing"

    def leave(self) -> None:
        """Nothing goes on."""
        with self._lock:
            self._phase = "leaving"

    def wants_match(self) -> bool:
        """Reserve a place and return True, or return False when there is none or the daemon is on its way out."""
        with self._lock:
            taken = self._reserved + self._in_play + self._finished
            if self._phase != "playing" or (self._games is not None and taken >= self._games):
                return False
            self._reserved += 1
            return True

    def released(self, places: int = 1) -> None:
        """Give back reserved places: no match will come of them."""
        with self._lock:
            self._reserved -= places

    def begun(self, *, was_reserved: bool) -> None:
        """A match has begun, in a reserved place or, should the server not have asked, without one."""
        with self._lock:
            self._reserved -= was_reserved
            self._in_play += 1

    def ended(self) -> None:
        """A match in play has ended and counts."""
        with self._lock:
            self._in_play -= 1
            self._finished += 1

    def abandoned(self) -> None:
        """A match in play cannot go on; it does not count."""
        with self._lock:
            self._in_play -= 1
