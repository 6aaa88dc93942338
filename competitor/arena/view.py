"""What the arena shows of itself; the web page and its JSON are made from this and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from competitor.arena.store import Entry, Standing


@dataclass(frozen=True)
class Running:
    """A match in play: both accounts, rounds won so far, the round being played (from 1) and of how many."""

    match_id: str
    users: tuple[str, str]
    scores: tuple[int, int]
    round: int
    rounds: int
    seconds: float


class View(Protocol):
    """An arena, as its clients see it."""

    @property
    def comprl_port(self) -> int:
        """Where it speaks the course's protocol."""

    def now(self) -> float:
        """Unix seconds."""

    def uptime_s(self) -> float:
        """Seconds since it opened."""

    def leaderboard(self) -> list[Standing]:
        """Everybody who has finished a match, the best first."""

    def running(self) -> list[Running]:
        """Matches in play, the oldest first."""

    def waiting(self) -> int:
        """How many connections of players wait for a match; house bots are not counted."""

    def unsaved(self) -> int:
        """How many finished matches wait to be written, because the disk refuses them."""

    def recent(self, count: int) -> list[Entry]:
        """The last `count` matches, the newest first."""
