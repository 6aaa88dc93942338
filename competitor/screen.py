"""Bars on the terminal that count what has been done, for everything that takes more than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from competitor.evaluate import evaluation

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
Count = Callable[[int, int], None]
"""Is told how much has been done, of how much."""


@contextmanager
def counter(what: str, console: Console | None = None) -> Iterator[Count]:
    """Yields a callback that shows how many of `what` are done; only where stderr is a terminal."""
    console = console or Console(stderr=True)
    with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


@contextmanager
def round_counter(console: Console | None = None) -> Iterator[evaluation.OnProgress]:
    """Yields a callback for `evaluate` that counts its rounds."""
    with counter("rounds", console) as count:
        yield lambda progress: count(progress.done, progress.total)
