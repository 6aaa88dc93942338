"""How a training looks on the console: a live panel on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from competitor.screen import OUTPUT_LOST, fact_lines
from competitor.train.report import Status

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
WIN_RATE = "/win_rate"
GAUNTLET = "gauntlet/points"
IN_A_LINE = ("phase", "steps", "updates", "win rate", "learning", "warning")
"""What of the panel stands in a line as well."""
GONE = (*OUTPUT_LOST, SystemExit)
"""What writing to a closed terminal or pipe raises; rich makes the system's broken pipe a SystemExit."""


def write_to_nowhere() -> None:
    """Send standard output nowhere from now on, so that its last flush does not fail either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display(AbstractContextManager["Display"]):
    """Shows a training; use it as a context manager and call it with each new status.

    On a terminal a panel is redrawn in place; elsewhere there is a line now and then, whenever the phase changes, and
    at the end. Once nothing can be written any more the training goes on unseen.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console or Console(), clock
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_interactive else None
        self._every_s = DRAW_EVERY_S if self._live else LINE_EVERY_S
        self._shown_at = float("-inf")
        self._shown: Status | None = None
        self._last: Status | None = None
        self._is_gone = False

    def __call__(self, status: Status) -> None:
        """Show the status if it is time."""
        self._last = status
        is_new = self._shown is None or self._shown.phase != status.phase
        if is_new or self._clock() - self._shown_at >= self._every_s:
            self._show(status)

    def __enter__(self) -> Display:
        if self._live:
            self._unless_gone(self._live.start)
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None and self._last is not self._shown:
            self._show(self._last)
        if self._live:
            self._unless_gone(self._live.stop)

    def _show(self, status: Status) -> None:
        self._shown_at, self._shown = self._clock(), status
        self._unless_gone(lambda: self._draw(status))

    def _draw(self, status: Status) -> None:
        if self._live:
            self._live.update(panel(status, self._console.width), refresh=True)
        else:
            self._console.print(status_line(status), soft_wrap=True, highlight=False, markup=False)

    def _unless_gone(self, write: Callable[[], object]) -> None:
        if self._is_gone:
            return
        try:
            write()
        except GONE:
            self._is_gone = True
            write_to_nowhere()


def status_line(status: Status) -> str:
    rows = [row for row in _rows(status) if row[0] in IN_A_LINE]
    return " | ".join(text if name == "phase" else f"{name}: {text}" for name, text in rows)


def phase(status: Status) -> str:
    """The phase and how far it is, such as `prelude 222 of 24,000, play begins in about 40 minutes`."""
    if not status.total:
        return status.phase
    text = f"{status.phase} {status.done:,} of {status.total:,}"
    if status.phase != "prelude":
        return f"{text} rounds"
    if status.speed.updates_per_s <= 0.0:
        return text
    minutes = max(1, round((status.total - status.done) / status.speed.updates_per_s / 60))
    return f"{text}, play begins in about {minutes:,} minute{'s' if minutes > 1 else ''}"


def panel(status: Status, width: int) -> RenderableType:
    """What is going on, a line for each fact, and a progress bar, for a terminal of `width` columns."""
    left = status.seconds_left
    total = None if left is None else status.seconds + left
    bar = ProgressBar(total=total, completed=status.seconds, width=min(60, width))
    return Group(Text("\n".join(fact_lines(_rows(status), width))), bar)


def _rows(status: Status) -> list[tuple[str, str]]:
    """What the panel shows: (name, text)."""
    counters, speed, league = status.counters, status.speed, status.league
    limit = f"{counters.environment_steps:,} of {status.environment_steps_limit:,}"
    skipped = f"; {counters.skipped} skipped" if counters.skipped else ""
    so_far = f"{duration(status.seconds)} so far, {duration(status.seconds_left)} left"
    rows = [
        ("phase", f"{phase(status)}; {so_far}"),
        ("steps", f"{limit}, {speed.steps_per_s:.0f}/s; {counters.rounds:,} rounds"),
        ("updates", f"{status.updates:,}, {speed.updates_per_s:.2f}/s{skipped}"),
        ("replay", f"{status.replay_steps:,} steps"),
        ("win rate", _win_rates(status)),
        ("league", f"{len(league.members)} past selves, rating {league.rating:+.0f} (weak opponent: 0)"),
        ("learning", ", ".join(_metrics(status)) or "no updates yet"),
        ("evaluation", _evaluation(status)),
    ]
    return [*rows, ("warning", status.warning)] if status.warning else rows


def _win_rates(status: Status) -> str:
    """Recent ones by opponent; a draw counts as half a win."""
    met = [record for record in status.league.opponents.values() if record.games]
    return ", ".join(f"{record.name} {record.win_rate:.0%} of {record.games:,}" for record in met) or "no rounds yet"


def _metrics(status: Status) -> list[str]:
    known = status.metrics
    return [f"{name} {known[key]:.3g}" for name, key in SHOWN_METRICS.items() if key in known]


def _evaluation(status: Status) -> str:
    rates = {key.removesuffix(WIN_RATE): rate for key, rate in status.evaluation.items() if key.endswith(WIN_RATE)}
    parts = [f"{name} {rate:.0%} won" for name, rate in rates.items()]
    if GAUNTLET in status.evaluation:
        parts.append(f"gauntlet {status.evaluation[GAUNTLET]:.0%} of the points")
    return ", ".join(parts) or "none yet"


def duration(seconds: float | None) -> str:
    """Seconds as 1:02:03, or a dash when unknown."""
    return "-" if seconds is None else str(timedelta(seconds=round(seconds)))
