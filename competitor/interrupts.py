"""Ctrl-C and SIGTERM as a polite request: the first asks the work to stop, the second ends the process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler that makes the signal a KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `stop` at the first SIGINT or SIGTERM within the block; a second one raises KeyboardInterrupt.

    Yields the list of the signals received so far. The handlers before are put back at the end.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise_interrupt(number, frame)
        received.append(number)
        stop()

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
