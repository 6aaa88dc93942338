"""What can be read from the arena's store: accounts, ratings and finished matches, for pages and tables."""

import sqlite3
import uuid
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from competitor.arena import schema

Role = Literal["player", "bot"]
State = Literal["active", "banned", "removed"]
PLAYED = "played"
MOST_CURVE_POINTS = 500


@dataclass(frozen=True)
class MatchResult:
    """A match that is over, first player first.

    ending: "played" if all rounds were, else why not ("disconnected", "timeout", "invalid action", ...); `left_by`
    is then the account that broke it off, or None. Times are unix seconds.
    """

    match_id: uuid.UUID
    users: tuple[str, str]
    scores: tuple[int, int]
    ending: str
    left_by: str | None
    started_at: float
    ended_at: float


@dataclass(frozen=True)
class Entry:
    """A match as it is written down, with the ratings shown before and after it."""

    result: MatchResult
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Standing:
    """A line of the leaderboard. rating: mu - 3 sigma; games: those that counted."""

    rank: int
    name: str
    role: Role
    rating: float
    mu: float
    sigma: float
    games: int
    wins: int
    draws: int
    losses: int


@dataclass(frozen=True)
class Account:
    """An account as `arena accounts list` shows it. disconnects: matches that it has broken off."""

    name: str
    role: Role
    state: State
    added_at: float
    rating: float
    games: int
    disconnects: int


@dataclass(frozen=True)
class Opponent:
    """All matches of a player with one other: results of those that counted, and who broke others off."""

    name: str
    wins: int
    draws: int
    losses: int
    left: int
    was_left: int


class Queries(ABC):
    """The reading half of the Store."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection to read by."""

    def leaderboard(self) -> list[Standing]:
        """Everybody who has finished a match, the best first."""
        rows = self._rows(schema.LEADERBOARD)
        return [Standing(rank, *row) for rank, row in enumerate(rows, start=1)]

    def recent(self, count: int, *, skip: int = 0, user: str | None = None) -> list[Entry]:
        """`count` matches after the last `skip`, the newest first; user: of this account only."""
        if user is None:
            return [_entry(row) for row in self._rows(f"{schema.MATCHES} {schema.NEWEST_FIRST}", count, skip)]
        return [_entry(row) for row in self._rows(f"{schema.MATCHES} {schema.OF_USER}", user, count, skip)]

    def match(self, match_id: uuid.UUID) -> Entry | None:
        rows = self._rows(f"{schema.MATCHES} WHERE matches.id = ?", str(match_id))
        return _entry(rows[0]) if rows else None

    def match_count(self) -> int:
        return int(self._rows("SELECT count(*) FROM matches")[0][0])

    def accounts(self) -> list[Account]:
        """All accounts but those that were removed, by name."""
        return [Account(*row) for row in self._rows(schema.ACCOUNTS)]

    def banned(self) -> list[str]:
        """The accounts whose token opens nothing."""
        return [name for (name,) in self._rows("SELECT name FROM users WHERE state = 'banned'")]

    def opponents(self, user: str) -> list[Opponent]:
        """Whom the account has met, the most frequent first."""
        return [Opponent(*row) for row in self._rows(schema.OPPONENTS, user)]

    def rating_curve(self, user: str) -> list[tuple[float, float]]:
        """When the account's rating changed (unix seconds) and what it was then, the oldest first; the last ones."""
        rows = self._rows(schema.RATING_CURVE, user, MOST_CURVE_POINTS)
        return [(ended_at, rating) for ended_at, rating in reversed(rows)]

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._reading() as db:
            return db.execute(statement, values).fetchall()


def _entry(row: tuple[Any, ...]) -> Entry:
    match_id, *users_and_scores, ending, leaver, started, ended = row[:9]
    first, second, score, other = users_and_scores
    result = MatchResult(uuid.UUID(match_id), (first, second), (score, other), ending, leaver, started, ended)
    before_first, after_first, before_second, after_second = row[9:]
    return Entry(result, before=(before_first, before_second), after=(after_first, after_second))
