"""What was won against each opponent, apart for each player, server and account that it was won with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from competitor.daemon.database import MatchTally, Wanted, reading
from competitor.evaluate.statistics import elo_with_error
from competitor.screen import Table, make_console, print_line, print_table
from competitor.wire.names import shown_name

SHOWN_DIGITS = 12
LEGEND = (
    "A drawn match is half a point. Elo: the difference that the points amount to, with its 95 % error, from whole "
    "matches. rounds: won and lost in these matches. off: matches that were not played to their end count nowhere else."
)


@dataclass(frozen=True)
class Standing:
    """The matches of one player with one account on one server against one opponent (None: the server named nobody)."""

    checkpoint: str
    digest: str
    server: str
    account: str
    opponent: str | None
    tally: MatchTally
    own: int  # rounds won in the matches played to their end
    other: int
    unfinished: int

    @property
    def points(self) -> float:
        """Of the matches played to their end."""
        return self.tally.wins + self.tally.draws / 2

    @property
    def elo(self) -> tuple[float, float]:
        """The Elo difference and the half-width of its 95 % interval; a match is the unit, as a pair is in evaluate."""
        return elo_with_error([self.tally.losses, 0, self.tally.draws, 0, self.tally.wins])


def standings(directory: Path, wanted: Wanted) -> list[Standing]:
    """The standings of all matches wanted, by player, server and account; the most matches first.

    Raises RecordingError like `reading`.
    """
    with reading(directory, wanted) as found:
        if found is None:
            return []
        connection, matches, values = found
        groups = "checkpoint, digest, server, account"
        results = ", ".join(f"SUM(result IS '{letter}')" for letter in "WDL")
        ended = "SUM(CASE WHEN result IN ('W', 'D', 'L') THEN {} ELSE 0 END)"
        sums = f"{results}, {', '.join(ended.format(column) for column in ('own', 'other', '1'))}, COUNT(*)"
        query = f"SELECT {groups}, opponent, {sums} FROM {matches} GROUP BY {groups}, opponent ORDER BY {groups}"
        return [_standing(row) for row in connection.execute(query + ", COUNT(*) DESC, opponent", values)]


def _standing(row: Sequence[Any]) -> Standing:
    *texts, opponent = (None if text is None else str(text) for text in row[:5])
    wins, draws, losses, own, other, ended, matches = (int(number) for number in row[5:])
    named = dict(zip(("checkpoint", "digest", "server", "account"), map(str, texts), strict=True))
    return Standing(
        **named,
        opponent=opponent,
        tally=MatchTally(wins, draws, losses),
        own=own,
        other=other,
        unfinished=matches - ended,
    )


def standings_json(listed: Iterable[Standing]) -> list[dict[str, Any]]:
    """Everything as JSON values."""
    return [
        {key: value for key, value in asdict(one).items() if key != "tally"}
        | asdict(one.tally)
        | {"matches": one.tally.matches, "points": one.points, "elo": one.elo[0], "elo_error95": one.elo[1]}
        for one in listed
    ]


def print_standings(listed: Sequence[Standing], console: Console | None = None) -> None:
    """Print a table of opponents for each player, server and account."""
    console = console or make_console()
    for title, group in groupby(listed, _title):
        rows = list(group)
        cells = [_cells(shown_name(one.opponent or "?"), one) for one in rows]
        if len(rows) > 1:
            cells.append(_cells("all", _sum(rows)))
        columns = ("opponent", "matches", "points", "W/D/L", "rounds", "off", "Elo")
        print_table(Table(columns, cells, title), console)
    if listed:
        print_line(LEGEND, console, style="dim")


def _title(one: Standing) -> str:
    account = f", account {one.account}" if one.account else ""
    return f"{one.checkpoint} ({one.digest[:SHOWN_DIGITS]}) on {one.server}{account}"


def _sum(rows: Sequence[Standing]) -> Standing:
    tallies = [one.tally for one in rows]
    wins, draws, losses = (sum(getattr(one, name) for one in tallies) for name in ("wins", "draws", "losses"))
    first = rows[0]
    return Standing(
        first.checkpoint,
        first.digest,
        first.server,
        first.account,
        None,
        MatchTally(wins, draws, losses),
        sum(one.own for one in rows),
        sum(one.other for one in rows),
        sum(one.unfinished for one in rows),
    )


def _cells(name: str, one: Standing) -> list[str]:
    tally = one.tally
    points = f"{one.points:g} ({100 * one.points / tally.matches:.1f} %)" if tally.matches else "-"
    elo, error = one.elo
    return [
        name,
        str(tally.matches),
        points,
        f"{tally.wins}/{tally.draws}/{tally.losses}",
        f"{one.own}:{one.other}",
        str(one.unfinished or ""),
        f"{elo:+.0f} ± {error:.0f}" if tally.matches else "-",
    ]
