"""The matches played on servers: one by one, and what was won against each opponent; as tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, tzinfo
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from competitor.daemon.database import COLUMNS as COLUMNS_KEPT
from competitor.daemon.database import SHOWN_DIGITS, ListedMatch, MatchRow, MatchTally, Wanted, reading
from competitor.evaluate.statistics import elo_with_error, wilson_interval
from competitor.screen import Table, fits, make_console, match_count, print_line, print_table
from competitor.wire.names import shown_name

LONGEST_NAME = 15
ENDINGS = {"opponent left": "left", "abandoned": "cut"}
COLUMNS = ("time", "opponent", "end", "", "score", "W/D/L", "win rate", "95 %", "rating", "steps", "p99 ms")
SPARE = ("95 %", "steps", "p99 ms")  # left out, in this order, where there is no room
LEGEND = (
    "W/D/L and the win rate count all matches up to this one that were played to their end. "
    "end: left = the opponent left, cut = given up by us or by the connection; a score with ~ is what the "
    "observations say of such a match, the server never sent it. p99: of the answers' latency."
)
STANDINGS_LEGEND = (
    "A drawn match is half a point. Elo: the difference that the points amount to, with its 95 % error, from whole "
    "matches. rounds: won and lost in these matches. off: matches that were not played to their end count nowhere else."
)


def print_matches(
    listed: Sequence[ListedMatch],
    directory: Path,
    *,
    damaged: int = 0,
    filtered: bool = False,
    console: Console | None = None,
    zone: tzinfo | None = None,
) -> None:
    """Print a row per match, oldest first.

    damaged: rows left out; filtered: not all were asked for; zone: of the times shown, None: the local one.
    """
    console = console or make_console()
    if listed:
        rows = [dict(zip(COLUMNS, _cells(match, zone), strict=True)) for match in listed]
        print_table(_fitting_table(rows, console.width), console)
        print_line(_summary(listed[-1].tally), console)
        print_line(LEGEND, console, style="dim")
    else:
        print_line(f"no matches are recorded in {directory}{' that fit' if filtered else ''}", console)
    if damaged:
        print_line(f"{damaged} rows of the table in {directory} are damaged and were left out", console)


def _fitting_table(rows: Sequence[dict[str, str]], width: int) -> Table:
    """Return the table with as many columns as have room; with all of them where it has to be stacked anyway."""
    tables = []
    for spared in range(len(SPARE) + 1):
        names = [name for name in COLUMNS if name not in SPARE[:spared]]
        tables.append(Table(names, [[row[name] for name in names] for row in rows], texts=4))
    return next((table for table in tables if fits(table, width)), tables[0])


def matches_json(listed: Sequence[ListedMatch], standings: Sequence[Standing] = ()) -> str:
    """Return everything the table of matches knows of them; times as ISO 8601 in UTC and as unix seconds."""
    tally = listed[-1].tally if listed else MatchTally()
    low, high = wilson_interval(tally.wins, tally.matches)
    summary = asdict(tally) | {"matches": tally.matches, "win_rate": _win_rate(tally), "ci95": [low, high]}
    everything = {
        "summary": summary,
        "standings": standings_json(standings),
        "matches": [_facts(match) for match in listed],
    }
    return json.dumps(everything, indent=2) + "\n"


def matches_csv(listed: Sequence[ListedMatch]) -> str:
    """Return a line per match, with a header; no cell is what a spreadsheet would calculate."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["ended", *COLUMNS_KEPT])
    for match in listed:
        facts = _facts(match)
        lines.writerow([_as_text(facts[name]) for name in ("ended", *COLUMNS_KEPT)])
    return text.getvalue()


def _as_text(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value)
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value


def _facts(match: ListedMatch) -> dict[str, Any]:
    facts = asdict(match.row)
    ended = datetime.fromtimestamp(match.row.ended_at, UTC).isoformat(timespec="milliseconds")
    rounds = [asdict(one) for one in match.rounds]
    more = {"expected_rounds": match.row.rounds, "rounds": rounds, "answers": json.loads(match.row.answers)}
    return facts | more | {"ended": ended}


def _cells(match: ListedMatch, zone: tzinfo | None) -> list[str]:
    row, tally = match.row, match.tally
    low, high = wilson_interval(tally.wins, tally.matches)
    rate = _win_rate(tally)
    return [
        f"{datetime.fromtimestamp(row.ended_at, UTC).astimezone(zone):%m-%d %H:%M}",
        _short(row.opponent or "?"),
        ENDINGS.get(row.ending, ""),
        row.result or "",
        _score(row),
        f"{tally.wins}/{tally.draws}/{tally.losses}",
        "-" if rate is None else f"{100 * rate:.1f} %",
        f"{100 * low:.0f}-{100 * high:.0f}",
        "-" if row.rating is None else f"{row.rating:.2f}",
        str(row.steps),
        "-" if row.latency_p99_ms is None else f"{row.latency_p99_ms:.1f}",
    ]


def _score(row: MatchRow) -> str:
    if row.ending == "abandoned" and not row.inferred:
        return "-"
    return f"{'~' * row.inferred}{row.own}:{row.other}"


def _short(name: str) -> str:
    """Return a name as it can be shown in a table: cut where it is long."""
    shown = shown_name(name)
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1] + "…"


def _win_rate(tally: MatchTally) -> float | None:
    return tally.wins / tally.matches if tally.matches else None


def _summary(tally: MatchTally) -> str:
    rate = _win_rate(tally)
    if rate is None:
        return "no match has been played to its end yet"
    low, high = wilson_interval(tally.wins, tally.matches)
    won = f"{tally.wins} won, {tally.draws} drawn, {tally.losses} lost"
    return (
        f"{match_count(tally.matches)}: {won}; win rate {100 * rate:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f})"
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
    checkpoint, digest, server, account, opponent = (None if text is None else str(text) for text in row[:5])
    wins, draws, losses, own, other, ended, matches = (int(number) for number in row[5:])
    who = str(checkpoint), str(digest), str(server), str(account)
    return Standing(*who, opponent, MatchTally(wins, draws, losses), own, other, matches - ended)


def standings_json(listed: Iterable[Standing]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in asdict(one).items() if key != "tally"}
        | asdict(one.tally)
        | {"matches": one.tally.matches, "points": one.points, "elo": one.elo[0], "elo_error95": one.elo[1]}
        for one in listed
    ]


def print_standings(listed: Sequence[Standing]) -> None:
    """Print a table of opponents for each player, server and account."""
    for title, group in groupby(listed, _title):
        rows = list(group)
        cells = [_standing_cells(shown_name(one.opponent or "?"), one) for one in rows]
        if len(rows) > 1:
            cells.append(_standing_cells("all", _sum(rows)))
        columns = ("opponent", "matches", "points", "W/D/L", "rounds", "off", "Elo")
        print_table(Table(columns, cells, title))
    if listed:
        print_line(STANDINGS_LEGEND, style="dim")


def _title(one: Standing) -> str:
    account = f", account {one.account}" if one.account else ""
    return f"{one.checkpoint} ({one.digest[:SHOWN_DIGITS]}) on {one.server}{account}"


def _sum(rows: Sequence[Standing]) -> Standing:
    wins, draws, losses = (sum(getattr(one.tally, name) for one in rows) for name in ("wins", "draws", "losses"))
    own, other, unfinished = (sum(getattr(one, name) for one in rows) for name in ("own", "other", "unfinished"))
    total = MatchTally(wins, draws, losses)
    return replace(rows[0], opponent=None, tally=total, own=own, other=other, unfinished=unfinished)


def _standing_cells(name: str, one: Standing) -> list[str]:
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
