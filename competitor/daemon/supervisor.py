"""The main thread of a daemon: signals, `--until` and the reports, while the network thread plays.

Nothing heavy is imported here: signals are heard before the rest is loaded.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

from competitor.daemon.logs import CONSOLE
from competitor.screen import match_count
from competitor.system import Handler, ending_at_once, handling

if TYPE_CHECKING:
    from competitor.daemon.reconnecting import ReconnectingWire

Event = Literal["stop", "reload", "ended"]
Phase = Literal["playing", "finishing", "leaving"]

TICK_S = 1.0
LEAVE_WITHIN_S = 5.0
STOPS = (signal.SIGINT, signal.SIGTERM)
HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # Windows has none
NOTHING_PLAYED = b"asked to stop: nothing has been played yet\n"

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class Lifecycle:
    """Phase and budget, shared by all connections; every method may be called from any thread.

    A match uses up its place in the budget in three steps: `wants_match` reserves it, `begun` takes it, and
    `ended` spends it for good. `released` (before it began) and `abandoned` give it back.
    """

    def __init__(self, games: int | None = None) -> None:
        """Play `games` finished matches at most; None is without limit."""
        self._games = games
        self._lock = threading.Lock()
        self.phase: Phase = "playing"  # never goes back
        self.in_play = self.finished = 0  # matches; abandoned ones are never finished
        self._reserved = 0

    @property
    def is_spent(self) -> bool:
        """Whether as many matches have ended as were asked for."""
        return self._games is not None and self.finished >= self._games

    def finish(self) -> None:
        """Take no new match; those in play go on."""
        with self._lock:
            if self.phase == "playing":
                self.phase = "finishing"

    def leave(self) -> None:
        """Nothing goes on."""
        with self._lock:
            self.phase = "leaving"

    def wants_match(self) -> bool:
        """Reserve a place and return True, or return False when there is none or the daemon is on its way out."""
        with self._lock:
            taken = self._reserved + self.in_play + self.finished
            if self.phase != "playing" or (self._games is not None and taken >= self._games):
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
            self.in_play += 1

    def ended(self) -> None:
        """A match in play has ended and counts."""
        with self._lock:
            self.in_play -= 1
            self.finished += 1

    def abandoned(self) -> None:
        """A match in play cannot go on; it does not count."""
        with self._lock:
            self.in_play -= 1


class Signals:
    """What the user asks for by signals, in order; what comes before a Supervisor listens is kept for it."""

    def __init__(self) -> None:
        # A signal handler may put into a SimpleQueue at any moment, even while the main thread puts or gets.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._reload_is_due = False
        self.is_stopping = False

    def stop(self) -> None:
        """Ask to finish what is in play; the second time to leave at once. For signal handlers."""
        self.is_stopping = True
        self._events.put("stop")

    def reload(self) -> None:
        """Ask for the newest weights and settings. For signal handlers."""
        if not self._reload_is_due:  # one reload does for all who have asked until then
            self._reload_is_due = True
            self._events.put("reload")

    def ended(self) -> None:
        """The network thread has ended."""
        self._events.put("ended")

    def next(self, timeout_s: float) -> Event | None:
        """Return what was asked for next, None if it was nothing for so long."""
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if event == "reload":
            self._reload_is_due = False
        return event


class Supervisor:
    """Runs a wire in the network thread and tells it when to finish and when to leave.

    reload and report are called in the main thread: reload when SIGHUP came, report about once a second.
    """

    def __init__(
        self,
        wire: ReconnectingWire,
        lifecycle: Lifecycle,
        *,
        signals: Signals,
        reload: Callable[[], None],
        report: Callable[[], None],
        time_is_up: Callable[[], str | None] = lambda: None,
        tick_s: float = TICK_S,
        leave_within_s: float = LEAVE_WITHIN_S,
    ) -> None:
        self._wire, self._lifecycle, self._signals = wire, lifecycle, signals
        self._reload, self._report = reload, report
        self._time_is_up, self._tick_s, self._leave_within_s = time_is_up, tick_s, leave_within_s
        self._was_asked = False
        self._error: BaseException | None = None

    def run(self) -> bool:
        """Play until nothing is left to play; False: left at once instead, as asked by a second stop.

        Raises the fatal error that ended the wire.
        """
        thread = threading.Thread(target=self._play, name="network", daemon=True)
        thread.start()
        while (event := self._signals.next(self._tick_s)) != "ended":
            if event == "stop" and self._was_asked:
                self._leave()
                break
            if event == "stop":
                self._was_asked = True
                self._finish("asked to stop")
            elif event == "reload":
                self._reload()
            self._tick()
        thread.join(self._leave_within_s)
        if thread.is_alive():
            log.warning("the connections did not close within %g s: left without them", self._leave_within_s)
        if self._lifecycle.phase == "leaving":
            return False
        if self._error is not None:
            raise self._error
        return True

    def _play(self) -> None:
        try:
            self._wire.run()
        except BaseException as error:
            self._error = error
        finally:
            self._signals.ended()

    def _tick(self) -> None:
        if self._lifecycle.phase == "playing":
            if reason := self._time_is_up():
                self._finish(reason)
            elif self._lifecycle.is_spent:
                self._finish("all games are played")
        self._report()

    def _finish(self, why: str) -> None:
        self._lifecycle.finish()
        self._wire.finish()
        playing = self._lifecycle.in_play
        matches = f"finishing {match_count(playing)} in play" if playing else "no match is in play"
        again = "Ctrl-C (or SIGTERM) again leaves at once" if self._was_asked else "Ctrl-C twice leaves at once"
        console.info("%s: %s, taking no new ones; %s", why, matches, again)

    def _leave(self) -> None:
        playing = self._lifecycle.in_play
        given_up = f"{match_count(playing)} in play {'is' if playing == 1 else 'are'} given up"
        console.info("asked again: leaving at once, %s", given_up if playing else "no match is in play")
        self._lifecycle.leave()
        self._wire.leave()


@contextmanager
def starting() -> Iterator[None]:
    """While the program is loaded, SIGINT and SIGTERM end it with exit code 0, and SIGHUP does nothing."""
    with ending_at_once(STOPS, NOTHING_PLAYED), handling(dict.fromkeys(HANGUP, signal.SIG_IGN)):
        yield


def signals_to(signals: Signals) -> AbstractContextManager[None]:
    """SIGINT, SIGTERM and SIGHUP go to `signals` within the block; the handlers before are put back."""
    stop: Handler = lambda number, frame: signals.stop()  # noqa: E731
    reload: Handler = lambda number, frame: signals.reload()  # noqa: E731
    return handling({**dict.fromkeys(STOPS, stop), **dict.fromkeys(HANGUP, reload)})
