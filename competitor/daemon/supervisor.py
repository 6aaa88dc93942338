"""The main thread of a daemon: signals, `--until` and the reports, while the network thread plays."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Literal

from competitor.daemon.desk import Wire
from competitor.daemon.lifecycle import Lifecycle
from competitor.daemon.logs import CONSOLE
from competitor.system import STOP_SIGNALS

Event = Literal["stop", "reload", "ended"]

TICK_S = 1.0
LEAVE_WITHIN_S = 5.0

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class Supervisor:
    """Runs a wire in the network thread and tells it when to finish and when to leave.

    reload and report are called in the main thread: reload when SIGHUP came, report about once a second.
    """

    def __init__(
        self,
        wire: Wire,
        lifecycle: Lifecycle,
        *,
        reload: Callable[[], None],
        report: Callable[[], None],
        until: datetime | None = None,
        wall_clock: Callable[[], float] = time.time,
        tick_s: float = TICK_S,
        leave_within_s: float = LEAVE_WITHIN_S,
    ) -> None:
        self._wire, self._lifecycle = wire, lifecycle
        self._reload, self._report = reload, report
        self._until, self._wall_clock = until, wall_clock
        self._tick_s, self._leave_within_s = tick_s, leave_within_s
        # A signal handler may put into a SimpleQueue at any moment, even while the main thread puts or gets.
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._was_asked = self._reload_is_due = False
        self._error: BaseException | None = None

    def stop(self) -> None:
        """Ask to finish what is in play; the second time to leave at once. For signal handlers."""
        self._events.put("stop")

    def reload(self) -> None:
        """Ask for the newest weights and settings. For signal handlers."""
        if not self._reload_is_due:  # one reload does for all who have asked until then
            self._reload_is_due = True
            self._events.put("reload")

    def run(self) -> bool:
        """Play until nothing is left to play; False: left at once instead, as asked by a second stop.

        Raises the fatal error that ended the wire.
        """
        thread = threading.Thread(target=self._play, name="network", daemon=True)
        thread.start()
        while (event := self._next_event()) != "ended":
            if event == "stop" and self._was_asked:
                self._leave()
                break
            if event == "stop":
                self._was_asked = True
                self._finish("asked to stop")
            elif event == "reload":
                self._reload_is_due = False
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
            self._events.put("ended")

    def _next_event(self) -> Event | None:
        try:
            return self._events.get(timeout=self._tick_s)
        except queue.Empty:
            return None

    def _tick(self) -> None:
        if self._lifecycle.phase == "playing":
            if self._until is not None and self._wall_clock() >= self._until.timestamp():
                self._finish(f"it is {self._until:%H:%M}")
            elif self._lifecycle.is_spent:
                self._finish("all games are played")
        self._report()

    def _finish(self, why: str) -> None:
        self._lifecycle.finish()
        self._wire.finish()
        playing = self._lifecycle.in_play
        matches = f"finishing {_matches(playing)} in play" if playing else "no match is in play"
        again = "Ctrl-C (or SIGTERM) again leaves at once" if self._was_asked else "Ctrl-C twice leaves at once"
        console.info("%s: %s, taking no new ones; %s", why, matches, again)

    def _leave(self) -> None:
        playing = self._lifecycle.in_play
        given_up = f"{_matches(playing)} in play {'is' if playing == 1 else 'are'} given up"
        console.info("asked again: leaving at once, %s", given_up if playing else "no match is in play")
        self._lifecycle.leave()
        self._wire.leave()


@contextmanager
def hangups_ignored() -> Iterator[None]:
    """SIGHUP does nothing within the block, where there is nothing to reload yet or any more; else it would kill."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def signals_to(supervisor: Supervisor) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP go to the supervisor within the block; the handlers before are put back."""
    actions: dict[int, Callable[[], None]] = {number: supervisor.stop for number in STOP_SIGNALS}
    actions[signal.SIGHUP] = supervisor.reload

    def handle(number: int, frame: FrameType | None) -> None:
        actions[number]()

    before = {number: signal.signal(number, handle) for number in actions}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _matches(count: int) -> str:
    return "1 match" if count == 1 else f"{count} matches"
