"""Settings of the Python interpreter that keep answers quick while several threads are at work."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# How long a thread may hold the interpreter while others wait; Python's own 5 ms is long for an answer.
SWITCH_INTERVAL_S = 0.0005


@contextmanager
def low_latency() -> Iterator[None]:
    """Let threads change quickly, and spare the garbage collector all that is there already, within the block.

    Call it when everything is loaded: a full collection looks at every object of torch and the other libraries,
    190 ms on one core in which nobody gets an answer, and finds nothing among them.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval_s)
