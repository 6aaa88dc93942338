"""How a training looks on the console: a live panel on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from competitor.train.league import BASIC
from competitor.train.status import Status

LINE_EVERY_S = 10.0
DRAW_EVERY_S = 0.25
SHOWN_METRICS = {
    "world": "loss/world",
    "critic": "loss/critic",
    "actor": "loss/actor",
    "entropy": "policy/entropy",
    "return scale": "return/scale",
    "return": "return/mean",
}


class Display(Protocol):
    """Shows a training; use it as a context manager and call it with each new status."""

    def __call__(self, status: Status) -> None: ...

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_display(console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> Display:
    """The display that suits the console."""
    console = console or Console()
    return LiveDisplay(console, clock) if console.is_terminal else LineDisplay(console, clock)


class LineDisplay:
    """One plain line every ten seconds, and one at the end and whenever the phase changes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._printed_at = float("-inf")
        self._printed: Status | None = None
        self._last: Status | None = None

    def __call__(self, status: Status) -> None:
        """Print the status if it is time."""
        new_phase = self._printed is None or self._printed.phase != status.phase
        self._last = status
        if new_phase or self._clock() - self._printed_at >= LINE_EVERY_S:
            self._print(status)

    def _print(self, status: Status) -> None:
        self._printed_at, self._printed = self._clock(), status
        self._console.print(status_line(status), soft_wrap=True, highlight=False, markup=False)

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None and self._last is not self._printed:
            self._print(self._last)


class LiveDisplay:
    """A panel that is redrawn in place a few times a second."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn_at = float("-inf")
        self._last: Status | None = None
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __call__(self, status: Status) -> None:
        """Redraw the panel if it is time."""
        self._last = status
        if self._clock() - self._drawn_at >= DRAW_EVERY_S:
            self._drawn_at = self._clock()
            self._live.update(panel(status), refresh=True)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None:
            self._live.update(panel(self._last), refresh=True)
        self._live.__exit__(kind, error, trace)


def status_line(status: Status) -> str:
    """The status as one line of text."""
    parts = [
        status.phase,
        f"{status.environment_steps:,} steps ({status.steps_per_s:.0f}/s)",
        f"{status.updates:,} updates ({status.updates_per_s:.1f}/s)",
        f"{status.rounds:,} rounds",
    ]
    won = [f"{kind} {record.win_rate:.0%}" for kind, record in status.kinds.items() if record.games]
    if won:
        parts.append("win rate " + " ".join(won))
    parts += _metrics(status)
    if status.skipped:
        parts.append(f"{status.skipped} updates skipped")
    parts.append(f"left {duration(status.seconds_left)}")
    return " | ".join(parts)


def panel(status: Status) -> RenderableType:
    """The status as a small table of what is going on, and a progress bar."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("phase", f"{status.phase}, {duration(status.seconds)} so far, {duration(status.seconds_left)} left")
    limit = f"{status.environment_steps:,} of {status.environment_steps_limit:,}"
    table.add_row("steps", f"{limit}, {status.steps_per_s:.0f}/s; {status.rounds:,} rounds")
    skipped = f"; {status.skipped} skipped" if status.skipped else ""
    table.add_row("updates", f"{status.updates:,}, {status.updates_per_s:.2f}/s{skipped}")
    table.add_row("replay", f"{status.replay_steps:,} steps")
    table.add_row("win rate", _win_rates(status))
    table.add_row("league", f"{status.members} past selves, rating {status.rating:+.0f} (weak opponent: 0)")
    table.add_row("learning", ", ".join(_metrics(status)) or "no updates yet")
    table.add_row("evaluation", _evaluation(status))
    left = status.seconds_left
    total = None if left is None else status.seconds + left
    return Group(table, ProgressBar(total=total, completed=status.seconds, width=60))


def _win_rates(status: Status) -> str:
    """Recent ones by kind of opponent; a draw counts as half a win."""
    played = [
        f"{kind} {record.win_rate:.0%} of {record.games}" for kind, record in status.kinds.items() if record.games
    ]
    return ", ".join(played) or "no rounds yet"


def _metrics(status: Status) -> list[str]:
    known = status.metrics
    return [f"{name} {known[key]:.3g}" for name, key in SHOWN_METRICS.items() if key in known]


def _evaluation(status: Status) -> str:
    result = status.evaluation
    rates = {name: result.get(f"{name}/win_rate") for name in BASIC}
    won = [f"{name} {rate:.0%} won" for name, rate in rates.items() if rate is not None]
    return ", ".join(won) or "none yet"


def duration(seconds: float | None) -> str:
    """Seconds as 1:02:03, or a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
