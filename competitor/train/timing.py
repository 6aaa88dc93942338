"""How fast a training goes, how long it has lasted, and how long it may still last."""

from collections.abc import Callable
from dataclasses import dataclass

SPEED_WINDOW_S = 5.0
Clock = Callable[[], float]


@dataclass
class Speed:
    """Steps and updates per second over the last few seconds."""

    clock: Clock
    mark: tuple[float, int, int] | None = None
    steps_per_s: float = 0.0
    updates_per_s: float = 0.0

    def update(self, steps: int, updates: int) -> None:
        now = self.clock()
        if self.mark is None:
            self.mark = (now, steps, updates)
        elapsed = now - self.mark[0]
        if elapsed >= SPEED_WINDOW_S:
            self.steps_per_s = (steps - self.mark[1]) / elapsed
            self.updates_per_s = (updates - self.mark[2]) / elapsed
            self.mark = (now, steps, updates)


class Stopwatch:
    """Seconds of training: those of earlier starts, and those of this start, which may be limited.

    limit_s: how long this start may last; 0: without limit.
    """

    def __init__(self, clock: Clock, *, before_s: float, limit_s: float) -> None:
        self._clock, self._before_s, self._limit_s = clock, before_s, limit_s
        self._began = clock()

    def begin(self) -> None:
        self._began = self._clock()

    @property
    def total_s(self) -> float:
        """Seconds of training so far, in all starts together."""
        return self._before_s + self._clock() - self._began

    @property
    def left_s(self) -> float | None:
        """Seconds until the limit, at least 0; None without a limit."""
        return max(0.0, self._limit_s - (self._clock() - self._began)) if self._limit_s else None

    @property
    def left_share(self) -> float:
        """What is left of this start's time, 1 to 0; 1 without a limit."""
        left_s = self.left_s
        return 1.0 if left_s is None else left_s / self._limit_s
