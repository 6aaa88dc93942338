"""The table of all matches: an SQLite file that several daemons write side by side and anybody can read.

Table `matches` has a row per match with the fields of MatchRow as columns; `rounds` has match (its id), number from 1,
steps, starter ("own", "other" or NULL: on whose side the puck lay) and result (+1, 0, -1 or NULL: not known).
"""

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from pydantic import TypeAdapter

from competitor.engine.session import Source
from competitor.errors import RecordingError
from competitor.play.finished_match import FinishedMatch, MatchFacts
from competitor.play.outcomes import PlayedRound

NAME = "matches.sqlite3"
SHOWN_DIGITS = 12  # of a sha256, wherever a person reads it
SCHEMA_VERSION = 3
BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class MatchRow(MatchFacts):
    """A match in the table: its facts and what they leave out. Times are unix seconds."""

    file: str  # beside the database
    result: str | None  # "W", "D" or "L" by the score; None unless played to its end
    steps: int
    latency_p50_ms: float | None  # of the answers; None without any
    latency_p99_ms: float | None
    latency_max_ms: float | None
    answers: str  # JSON: how many answers each Source gave
    code_version: str


_ROW = TypeAdapter(MatchRow)
COLUMNS = tuple(field.name for field in fields(MatchRow))
SQL_TYPES = {str: "TEXT", float: "REAL", int: "INTEGER", bool: "INTEGER"}


def _column(name: str, hint: Any) -> str:
    kinds = get_args(hint) or (hint,)
    kind = next(kind if isinstance(kind, type) else type(kind) for kind in kinds if kind is not type(None))
    return f"{name} {SQL_TYPES[kind]}{'' if type(None) in kinds else ' NOT NULL'}{' UNIQUE' * (name == 'file')}"


_MATCH_COLUMNS = ", ".join(_column(name, hint) for name, hint in get_type_hints(MatchRow).items())
SCHEMA = (
    f"CREATE TABLE matches (id INTEGER PRIMARY KEY, {_MATCH_COLUMNS})",
    """CREATE TABLE rounds (
    match INTEGER NOT NULL REFERENCES matches (id), number INTEGER NOT NULL, steps INTEGER NOT NULL,
    starter TEXT, result INTEGER, PRIMARY KEY (match, number)) WITHOUT ROWID""",
    "CREATE INDEX matches_by_time ON matches (ended_at, id)",
)
INSERT_MATCH = (
    f"INSERT INTO matches ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT (file) DO NOTHING"
)
INSERT_ROUND = "INSERT INTO rounds VALUES (?, ?, ?, ?, ?)"
ROUNDS = "SELECT number, steps, starter, result FROM rounds WHERE match = ? ORDER BY number"
_UPGRADE_2 = ("ALTER TABLE matches ADD COLUMN account TEXT NOT NULL DEFAULT ''",)
_UPGRADE_1 = (
    "ALTER TABLE matches RENAME COLUMN link TO connection",
    "ALTER TABLE matches RENAME COLUMN expected_rounds TO rounds",
    "ALTER TABLE matches ADD COLUMN inferred INTEGER NOT NULL DEFAULT 0",
)
UPGRADES = {1: (*_UPGRADE_1, *_UPGRADE_2), 2: _UPGRADE_2}


@dataclass(frozen=True)
class RoundRow:
    """A round in the table."""

    number: int
    steps: int
    starter: str | None
    result: int | None


@dataclass(frozen=True)
class MatchTally:
    """Matches played to their end."""

    wins: int = 0
    draws: int = 0
    losses: int = 0

    @property
    def matches(self) -> int:
        return self.wins + self.draws + self.losses


@dataclass(frozen=True)
class ListedMatch:
    """A match with its rounds and the tally of all matches up to it."""

    row: MatchRow
    rounds: list[RoundRow]
    tally: MatchTally


def row_of(match: FinishedMatch, file: str, code_version: str) -> MatchRow:
    """Return what the table keeps of a match whose file is called `file`."""
    counts = {source.name.lower(): int((match.source == source).sum()) for source in Source}
    latencies = np.percentile(match.latency_ms, (50, 99, 100)).tolist() if len(match.latency_ms) else [None] * 3
    p50_ms, p99_ms, max_ms = latencies
    return MatchRow(
        **{field.name: getattr(match, field.name) for field in fields(MatchFacts)},
        file=file,
        result=match.result if match.ending == "played" else None,
        steps=len(match.obs),
        latency_p50_ms=p50_ms,
        latency_p99_ms=p99_ms,
        latency_max_ms=max_ms,
        answers=json.dumps({name: count for name, count in counts.items() if count}),
        code_version=code_version,
    )


class Database:
    """The file opened for writing, made if it is not there. Use it from one thread at a time.

    Every method raises sqlite3.Error when the disk or another program is in the way, RecordingError when the
    file is of a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self.open()

    def open(self) -> sqlite3.Connection:
        """Return the connection, to a new file if somebody has taken the old one away."""
        if self._connection is None or not self._path.exists() or self._path.stat().st_ino != self._inode:
            self.close()
            self._connection = _connected(self._path)
            self._inode = self._path.stat().st_ino
        return self._connection

    def add(self, row: MatchRow, rounds: Sequence[PlayedRound]) -> bool:
        """Write a match safely to the disk; False when a match with this file is there already."""
        with self.open() as connection:  # all of it, or nothing
            connection.execute("BEGIN IMMEDIATE")
            added = connection.execute(INSERT_MATCH, astuple(row))
            if added.rowcount < 1:
                return False
            numbered = enumerate(rounds, start=1)
            values = [(added.lastrowid, number, one.steps, one.starter, one.result) for number, one in numbered]
            connection.executemany(INSERT_ROUND, values)
            return True

    def files(self) -> set[str]:
        """Return the names of the files of all matches in the table."""
        return {name for (name,) in self.open().execute("SELECT file FROM matches")}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True)
class Wanted:
    """Which matches: all that fit every pattern given, in which * and ? stand for anything; None: whatever it is.

    checkpoint: as given to `compete`, searching or not, or the beginning of its digest. since_s: unix seconds.
    """

    opponent: str | None = None
    checkpoint: str | None = None
    server: str | None = None
    account: str | None = None
    since_s: float | None = None


@contextmanager
def reading(directory: Path, wanted: Wanted) -> Iterator[tuple[sqlite3.Connection, str, dict[str, Any]] | None]:
    """Yield a connection that changes nothing, a table expression of the matches wanted, and its values.

    The expression has `id` and all of COLUMNS. None when nothing is recorded in `directory`. Raises RecordingError when
    the database is damaged or of another version.
    """
    path = directory / NAME
    if not path.is_file():
        yield None
        return
    try:
        with closing(_reader(path)) as file, closing(sqlite3.connect(":memory:")) as copy:
            connection = file
            if _is_empty(file) or _version(file) in UPGRADES:  # read as `compete` will take it over
                file.backup(copy)
                _prepare(connection := copy, path)
            _check(connection, path)
            values = {name: _as_kept(value) for name, value in vars(wanted).items() if value is not None}
            conditions = " AND ".join(["TRUE", *(_CONDITIONS[name] for name in values)])
            yield connection, f"(SELECT * FROM matches WHERE {conditions})", values
    except sqlite3.Error as error:
        # Where a daemon was killed, or runs, SQLite needs an index beside the file.
        is_place = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN
        advice = "; if its folder cannot be written, copy that to where you may write" * is_place
        raise RecordingError(f"{path} cannot be read: {error}{advice}") from error


def _as_kept(value: str | float) -> str | float:
    """A pattern as the records keep it: a byte that is no text, which SQLite does not take, is a question mark."""
    return re.sub("[\ud800-\udfff]", "[?]", value) if isinstance(value, str) else value


_CONDITIONS = {name: f"{name} GLOB :{name}" for name in ("opponent", "server", "account")} | {
    "checkpoint": "(checkpoint GLOB :checkpoint OR checkpoint GLOB 'search:' || :checkpoint"
    " OR digest GLOB :checkpoint || '*')",
    "since_s": "ended_at >= :since_s",
}


def last_matches(
    directory: Path, count: int, damaged: list[str] | None = None, wanted: Wanted = Wanted()
) -> list[ListedMatch]:
    """Return the last `count` matches wanted of those in `directory`, oldest first; none when nothing is recorded.

    Damaged rows are left out and said in `damaged`. Makes and changes nothing. Raises RecordingError like `reading`.
    """
    with reading(directory, wanted) as found:
        return [] if found is None else _listed(*found, count, [] if damaged is None else damaged)


def _listed(
    connection: sqlite3.Connection, matches: str, values: dict[str, Any], count: int, damaged: list[str]
) -> list[ListedMatch]:
    sums = ", ".join(f"SUM(result IS '{letter}') OVER (ORDER BY ended_at, id)" for letter in "WDL")
    found = connection.execute(
        f"SELECT id, {sums}, {', '.join(COLUMNS)} FROM {matches} ORDER BY ended_at DESC, id DESC LIMIT :count",
        values | {"count": count},
    ).fetchall()
    listed = []
    for number, *tally, columns in ((row[0], *row[1:4], row[4:]) for row in reversed(found)):
        try:
            row = _ROW.validate_python(dict(zip(COLUMNS, columns, strict=True)))
            json.loads(row.answers)
            datetime.fromtimestamp(row.ended_at, UTC)
        except (ValueError, OverflowError, OSError, RecursionError) as error:
            damaged.append(f"row {number}: {' '.join(str(error).split())}")
            continue
        rounds = [RoundRow(*values) for values in connection.execute(ROUNDS, (number,))]
        listed.append(ListedMatch(row, rounds, MatchTally(*tally)))
    return listed


def _reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading. Without a write-ahead log beside it nobody writes, and no lock is needed.

    Otherwise SQLite would leave a log and an index of its own in the directory.
    """
    quiet = "" if path.with_name(f"{NAME}-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{quiet}", uri=True, timeout=BUSY_TIMEOUT_S)


def _connected(path: Path) -> sqlite3.Connection:
    # Made in one thread and used in another, never by two at once.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file. Several daemons may try at once: a transaction lets one of them."""
    statements = SCHEMA if _is_empty(connection) else UPGRADES.get(_version(connection), ())
    for statement in statements:
        connection.execute(statement)
    if statements:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    _check(connection, path)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if (version := _version(connection)) != SCHEMA_VERSION:
        raise RecordingError(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}: "
            "use the program that wrote it, or another directory"
        )
    try:  # what EXPLAIN compiles can be done
        connection.execute(f"EXPLAIN {INSERT_MATCH}", [None] * len(COLUMNS))
        connection.execute(f"EXPLAIN {INSERT_ROUND}", [None] * 5)
    except sqlite3.OperationalError as error:
        raise RecordingError(f"{path} holds other tables than a daemon's ({error}): move it away") from error


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nobody has made tables in it: what made the file may have been killed before, or is about to."""
    return connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,) and not _version(connection)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
