"""A Twisted reactor of one's own: never the global one, so that it can be run in any thread and any number of times."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.logger import ILogObserver, STDLibLogObserver, globalLogBeginner
from twisted.python.failure import Failure

try:
    from twisted.internet.epollreactor import EPollReactor as PlatformReactor
except ImportError:  # not on Linux
    from twisted.internet.selectreactor import SelectReactor as PlatformReactor


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None: ...
    def reset(self, secondsFromNow: float) -> None: ...
    def active(self) -> int: ...


class Clock(Protocol):
    """What timers need: a reactor, or `twisted.internet.task.Clock` in tests."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Timer: ...


class OwnReactor(PlatformReactor):
    """Run it once with `run(installSignalHandlers=False)`, then `close()` it.

    Threads that come too late with `callFromThread` are not heard; without that, their wake-up call would be
    written to a file descriptor which somebody else may have by then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_closed = False
        # Reentrant: a signal handler may call in the middle of a call of the thread that it interrupts.
        self._gate = threading.RLock()

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Have `f` called by the reactor's thread; from any thread or signal handler."""
        with self._gate:
            if not self._is_closed:
                super().callFromThread(f, *args, **kwargs)

    def call_together(self, f: Callable[..., object], *args: object) -> None:
        """Like `callFromThread`, but without waking up a reactor that has been woken up for other calls already.

        With many answers at a time that is a tenth of the work. Not for signal handlers: one that comes between the two
        steps would hide them from each other.
        """
        with self._gate:
            if not self._is_closed:
                self.threadCallQueue.append((f, args, {}))
                if len(self.threadCallQueue) == 1:  # the reactor looks again after the calls that it is making
                    self.wakeUp()

    def close(self) -> None:
        """Free its file descriptors, after it has stopped."""
        with self._gate:
            self._is_closed = True
        self.removeAll()
        self.waker.connectionLost(Failure(ConnectionError("the reactor has stopped")))
        if hasattr(self, "_poller"):
            self._poller.close()


@functools.cache
def log_to_standard_library() -> None:
    """Once in a process: what goes wrong inside Twisted is logged as "twisted", not printed."""
    show_warning = warnings.showwarning
    observer = cast(ILogObserver, STDLibLogObserver("twisted"))
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    warnings.showwarning = show_warning
    logging.getLogger("twisted").setLevel(logging.WARNING)
