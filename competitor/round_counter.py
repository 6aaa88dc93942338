"""A bar on the terminal that counts the rounds of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from competitor import evaluation

COLUMNS = (TextColumn("rounds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@contextmanager
def round_counter(console: Console | None = None) -> Iterator[evaluation.OnProgress]:
    """Yields a callback for `evaluate`; it draws on stderr, and only where that is a terminal."""
    console = console or Console(stderr=True)
    with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("rounds", total=None)

        def show(progress: evaluation.Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        yield show
