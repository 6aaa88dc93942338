"""Where each millisecond of an update goes: matrix products, row kernels, and torch and Python between them.

One thread, in its processor time, so that other work on the machine counts as little as it can. Products are torch's
own (those that torch makes outside of the compiled chains count as torch); row kernels are what else the chains do.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.update_parts import work
from competitor.screen import Table
from dreamer.replay import EpisodeBuffer
from dreamer.speed import fused
from dreamer.speed.native import load
from dreamer.update import Updater

CHAINS = fused.CHAINS
TIMED = CHAINS._replace(
    source=str(Path(__file__).with_name("timed_products.c")), included=(CHAINS.source, *CHAINS.included)
)


class _Watched:
    """The functions of a compiled library, with the processor time that they have taken together."""

    def __init__(self, calls: ctypes.CDLL) -> None:
        self._calls, self.seconds = calls, 0.0

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._calls, name)

        def call(*arguments: Any) -> None:
            begun = time.thread_time()
            function(*arguments)
            self.seconds += time.thread_time() - begun

        return call


class Watch:
    """Milliseconds of products and of row kernels, and operations of products, since ``reset``."""

    def __init__(self, timed: ctypes.CDLL, watched: _Watched) -> None:
        self._seconds, self._operations = (ctypes.c_double.in_dll(timed, name) for name in ("seconds", "operations"))
        self._watched = watched

    def reset(self) -> None:
        """Begin to count."""
        self._seconds.value = self._operations.value = self._watched.seconds = 0.0

    def read(self) -> tuple[float, float, float]:
        """(ms of products, ms of row kernels, 10^9 operations)."""
        products = 1e3 * self._seconds.value
        return products, 1e3 * self._watched.seconds - products, self._operations.value / 1e9


@contextmanager
def watching() -> Iterator[Watch]:
    """The compiled chains tell inside the with block what they take. Raises SystemExit without a compiler."""
    library, timed = fused.load_chains(), load(TIMED)
    if library is None or timed is None:
        raise SystemExit("a profile is one of the compiled chains, and there is no C compiler here")
    watched, chains = _Watched(timed), fused.chains
    replaced = library._replace(calls=watched)  # type: ignore[arg-type]
    fused.chains = lambda: replaced
    try:
        yield Watch(timed, watched)
    finally:
        fused.chains = chains


def profile(updater: Updater, replay: EpisodeBuffer, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time by part of an update and by kind of work, and 10^9 operations of the products."""
    found = {}
    with watching() as watch:
        for name, part in {
            "whole update": lambda: updater.train_step(replay.sample()),
            **work(updater, replay),
        }.items():
            part()
            watch.reset()
            begun = time.thread_time()
            for _ in range(repeats):
                part()
            taken = 1e3 * (time.thread_time() - begun) / repeats
            products, kernels, gflop = (one / repeats for one in watch.read())
            rest = taken - products - kernels
            found[name] = {"ms": taken, "products": products, "rows": kernels, "torch, Python": rest, "GFLOP": gflop}
    return found


def profile_table(found: dict[str, dict[str, float]]) -> Table:
    """One line per part."""
    columns = list(next(iter(found.values())))
    return Table(["part", *columns], [[name, *(f"{one[key]:.1f}" for key in columns)] for name, one in found.items()])
