"""What commands print: tables, facts, lines and counters that can be read on any terminal and in a pipe.

- A table as wide as the terminal allows stands in columns; where it does not fit, its rows stand one below another,
  a line per cell. Nothing is cut, and no word is broken: a path or a digest can be copied whole.
- A pipe has no width: there every table stands in columns, unless the variable COLUMNS says how wide it may be.
- What comes from users, files and servers is shown as text: markup has no effect, control characters are escaped.
- What the output's encoding lacks is written in ASCII: +- for ±.
"""

import codecs
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from competitor.errors import StorageError, plain

PIPE_WIDTH = 100_000
"""Wider than any table: rich would otherwise take a pipe for a terminal of 80 columns."""
GAP = 2
"""Spaces between two columns."""
STACK_RULE = 20
"""Length of the line above a stacked row: short, so that it does not look like a table's."""
ASCII = {"±": "+-", "…": "...", "─": "-", "━": "-", "╸": "-", "╺": "-", "–": "-", "—": "-", "×": "x", "→": "->"}
Count = Callable[[int, int], None]
"""Called with how much has been done, of how much."""
uncounted: Count = lambda done, total: None  # noqa: E731


@dataclass(frozen=True)
class Table:
    """Cells as text. texts: how many of the first columns hold names or words, which stand to the left."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    texts: int = 1


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for standard output (or error) that is as wide as it may be, without end in a pipe."""
    environ = dict(os.environ)
    if not re.fullmatch("0*[1-9][0-9]{0,8}", environ.get("COLUMNS", "")):
        environ.pop("COLUMNS", None)  # rich takes 0 for a width, and shows nothing
    console = Console(stderr=stderr, _environ=environ)
    if not console.file.isatty():  # FORCE_COLOR makes rich take it for a terminal; colours are all it asks for
        console.is_interactive = False
        if "COLUMNS" not in environ:
            console.width = PIPE_WIDTH
    return console


def match_count(count: int) -> str:
    """In words: 1 match, 2 matches."""
    return "1 match" if count == 1 else f"{count} matches"


def print_table(table: Table, console: Console | None = None) -> None:
    """Print the table in columns, or stacked where the console is too narrow; nothing is printed without rows."""
    console = console or make_console()
    written = _written_table(table, console.encoding)
    if written.rows and table.title:
        print_line(written.title, console, style="bold")
    for line in table_lines(written, console.width):
        _print(line, console)


def print_facts(facts: Mapping[str, str], console: Console | None = None) -> None:
    """Print a line per fact: its name, then what it is."""
    console = console or make_console()
    written = [(_written(name, console.encoding), _written(value, console.encoding)) for name, value in facts.items()]
    for line in fact_lines(written, console.width):
        _print(line, console)


def print_line(text: str, console: Console | None = None, *, style: str = "") -> None:
    """Print one paragraph, wrapped between words."""
    console = console or make_console()
    for line in wrapped(_written(text, console.encoding), console.width):
        _print(line, console, style)


def _print(line: str, console: Console, style: str = "") -> None:
    console.print(Text(_written(line, console.encoding), style=style), soft_wrap=True)


def table_lines(table: Table, width: int) -> list[str]:
    """Return the rows as lines of at most `width` columns, except where one word is longer; an empty line ends them."""
    if not table.rows:
        return []
    return [*(_in_columns(table) if fits(table, width) else _stacked(table, width)), ""]


def fits(table: Table, width: int) -> bool:
    """Return whether the table can stand in columns within `width`."""
    return sum(_widths(table)) + GAP * (len(table.columns) - 1) <= width


def fact_lines(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return lines for (name, value) pairs: the value beside the name, or below it where it does not fit there."""
    indent = max((cell_len(name) for name, _ in facts), default=0) + GAP
    lines = []
    for name, value in facts:
        beside = wrapped(value, width - indent)
        if max(map(cell_len, beside)) <= width - indent:
            first, *rest = beside
            lines += [_padded(name, indent) + first, *(" " * indent + line for line in rest)]
        else:
            lines += [name, *(" " * GAP + line for line in wrapped(value, width - GAP))]
    return [line.rstrip() for line in lines]


def wrapped(text: str, width: int) -> list[str]:
    """Return `text` in lines of at most `width` columns, broken between words only; spaces within a line stay."""
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and cell_len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def duration(seconds: float) -> str:
    """A duration in a unit of which it has two at least, for example "90 s" or "3 h"."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _written(text: str, encoding: str) -> str:
    return plain(text).encode(encoding, ASCII_ERRORS).decode(encoding)


def _written_table(table: Table, encoding: str) -> Table:
    rows = [[_written(cell, encoding) for cell in row] for row in table.rows]
    columns = [_written(column, encoding) for column in table.columns]
    return Table(columns, rows, _written(table.title, encoding), table.texts)


def _widths(table: Table) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(table.columns, *table.rows, strict=True)]


def _in_columns(table: Table) -> list[str]:
    widths = _widths(table)
    head, *rows = (_in_a_line(cells, widths, table.texts) for cells in (table.columns, *table.rows))
    return [head, "─" * (sum(widths) + GAP * (len(widths) - 1)), *rows]


def _in_a_line(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    sized = [
        _padded(cell, width) if place < texts else " " * (width - cell_len(cell)) + cell
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return (" " * GAP).join(sized).rstrip()


def _stacked(table: Table, width: int) -> list[str]:
    lines: list[str] = []
    for row in table.rows:
        named = [(column, cell) for column, cell in zip(table.columns, row, strict=True) if cell]
        lines += ["─" * min(width, STACK_RULE), *fact_lines(named, width)]
    return lines


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(char) or char.encode("ascii", "backslashreplace").decode() for char in missing), error.end


ASCII_ERRORS = "competitor.in_ascii"
codecs.register_error(ASCII_ERRORS, _in_ascii)


class ReaderLeft(Exception):
    """Whoever read our standard output has closed it, as `head` does: there is nothing more to say, and no error."""


OUTPUT_LOST = (OSError, ReaderLeft, StorageError)
"""What printing may raise; for those whose work goes on without anybody who reads."""


class _Output(io.FileIO):
    """Standard output under errors of our own: those of the system would be taken by rich and click for theirs."""

    def write(self, content: Any) -> int:
        """Write bytes. Raises ReaderLeft, and StorageError when the disk behind the output is full or broken."""
        try:
            return super().write(content)
        except BrokenPipeError:
            error: Exception = ReaderLeft()
        except OSError as failed:
            error = StorageError(f"standard output cannot be written: {failed.strerror}")
        # What Python would still write when it ends goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        raise error


def open_output() -> None:
    """Let standard output and error take any text: what their encoding lacks becomes ASCII. For a whole process.

    Where the process was started with one of them closed, what is written to it goes nowhere.
    """
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115, cli.py has opened it
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ASCII_ERRORS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.flush()
        sys.stdout = text_output(sys.stdout.fileno(), sys.stdout.encoding)


def text_output(descriptor: int, encoding: str) -> io.TextIOWrapper:
    """Return a text stream that writes to the descriptor; errors as `_Output` says."""
    raw = _Output(descriptor, "w", closefd=False)
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding, errors=ASCII_ERRORS, line_buffering=raw.isatty())


def say(text: str) -> None:
    """Print a line, uncut, about work that goes on though nobody reads it any more, or nothing can be written."""
    with suppress(*OUTPUT_LOST):
        print(text, flush=True)


@contextmanager
def counter(what: str, console: Console | None = None) -> Iterator[Count]:
    """Yields a callback that shows how many of `what` are done; only where stderr is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = console or make_console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
