"""The matches played on servers, as a table on the screen and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from competitor.daemon.database import ListedMatch, MatchRow, MatchTally
from competitor.evaluate.statistics import wilson_interval

WIDTH = 100
LONGEST_NAME = 15
ENDINGS = {"opponent left": "left", "abandoned": "cut"}
TEXTS = ("time", "opponent", "score", "", "end")
COLUMNS = ("time", "opponent", "score", "", "W/D/L", "win rate", "95 %", "rating", "steps", "p99 ms", "end")
SPARE = ("95 %", "steps", "p99 ms")  # left out, in this order, where there is no room
LEGEND = (
    "W/D/L and the win rate count all matches up to this one that were played to their end. "
    "end: left = the opponent left, cut = given up by us or by the connection; p99: of the answers' latency."
)


def print_matches(
    listed: Sequence[ListedMatch], directory: Path, *, console: Console | None = None, zone: tzinfo | None = None
) -> None:
    """Print a line per match, oldest first, in at most 100 columns. zone: of the times shown; None: the local one."""
    console = console or _console()
    if not listed:
        console.print(f"no matches are recorded in {directory}", highlight=False, markup=False, soft_wrap=True)
        return
    rows = [dict(zip(COLUMNS, _cells(match, zone), strict=True)) for match in listed]
    width = min(WIDTH, console.width)
    console.print(_fitting_table(rows, console, width), width=width)
    console.print(_summary(listed[-1].tally), highlight=False, markup=False, width=width)
    console.print(LEGEND, style="dim", highlight=False, markup=False, width=width)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)  # a pipe has no width of its own


def _fitting_table(rows: Sequence[dict[str, str]], console: Console, width: int) -> Table:
    """Return the table with as many columns as have room."""
    for spared in range(len(SPARE) + 1):
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        names = [name for name in COLUMNS if name not in SPARE[:spared]]
        for name in names:
            table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(row[name]) for name in names))
        if console.measure(table, options=console.options.update(width=10 * WIDTH)).maximum <= width:
            break
    return table


def matches_json(listed: Sequence[ListedMatch]) -> str:
    """Return everything the table of matches knows of them; times as ISO 8601 in UTC and as unix seconds."""
    tally = listed[-1].tally if listed else MatchTally()
    low, high = wilson_interval(tally.wins, tally.matches)
    summary = asdict(tally) | {"matches": tally.matches, "win_rate": _win_rate(tally), "ci95": [low, high]}
    return json.dumps({"summary": summary, "matches": [_facts(match) for match in listed]}, indent=2) + "\n"


def _facts(match: ListedMatch) -> dict[str, Any]:
    facts = asdict(match.row)
    ended = datetime.fromtimestamp(match.row.ended_at, UTC).isoformat(timespec="milliseconds")
    rounds = [asdict(one) for one in match.rounds]
    return facts | {"ended": ended, "answers": json.loads(match.row.answers), "rounds": rounds}


def _cells(match: ListedMatch, zone: tzinfo | None) -> list[str]:
    row, tally = match.row, match.tally
    low, high = wilson_interval(tally.wins, tally.matches)
    rate = _win_rate(tally)
    return [
        f"{datetime.fromtimestamp(row.ended_at, UTC).astimezone(zone):%m-%d %H:%M}",
        _short(row.opponent or "?"),
        "-" if row.ending == "abandoned" else f"{row.own}:{row.other}",
        row.result or "",
        f"{tally.wins}/{tally.draws}/{tally.losses}",
        "-" if rate is None else f"{100 * rate:.1f} %",
        f"{100 * low:.0f}-{100 * high:.0f}",
        "-" if row.rating is None else f"{row.rating:.2f}",
        str(row.steps),
        _latency(row),
        ENDINGS.get(row.ending, ""),
    ]


def _short(name: str) -> str:
    """Return a name that a server sent as it can be shown: without control characters, cut where it is long."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1] + "…"


def _latency(row: MatchRow) -> str:
    return "-" if row.latency_p99_ms is None else f"{row.latency_p99_ms:.1f}"


def _win_rate(tally: MatchTally) -> float | None:
    return tally.wins / tally.matches if tally.matches else None


def _summary(tally: MatchTally) -> str:
    rate = _win_rate(tally)
    if rate is None:
        return "no match has been played to its end yet"
    low, high = wilson_interval(tally.wins, tally.matches)
    won = f"{tally.wins} won, {tally.draws} drawn, {tally.losses} lost"
    return f"{tally.matches} matches: {won}; win rate {100 * rate:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})"
