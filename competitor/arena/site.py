"""What the arena shows of itself; pages and JSON are made from this and nothing else."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from competitor.arena.live import Broadcast
from competitor.arena.lobby import Lobby
from competitor.arena.match import Match
from competitor.arena.recordings import Recordings
from competitor.arena.registration import Registration
from competitor.arena.store import Store

PAGES_AT_ONCE = 2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Running:
    """A match in play: both accounts, rounds won so far, the round being played (from 1) and of how many."""

    match_id: str
    users: tuple[str, str]
    scores: tuple[int, int]
    round: int
    rounds: int
    seconds: float


@dataclass
class Site:
    """An arena, as whoever looks at it sees it.

    store: one of its own, as are the threads in which pages are made: no login and no result waits for a page.
    now: unix seconds.
    """

    lobby: Lobby
    store: Store
    recordings: Recordings
    broadcast: Broadcast
    comprl_port: int
    version: str
    registration: Registration | None = None
    now: Callable[[], float] = time.time
    opened_at: float = field(default_factory=time.monotonic)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(PAGES_AT_ONCE, "pages"))

    async def in_thread(self, work: Callable[..., Result], *values: Any) -> Result:
        """What `work` returns, which reads the store or the disk, or takes its time."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *values)

    def running(self) -> list[Running]:
        """Matches in play, the oldest first."""
        return [self._shown(match) for match in self.lobby.matches]

    def counts(self) -> dict[str, int]:
        """Matches in play; connections of players that wait for one; finished ones that the disk does not take."""
        waiting = sum(not one.is_bot for one in self.lobby.waiting)
        return {"running": len(self.lobby.matches), "waiting": waiting, "unsaved": self.lobby.recorder.waiting}

    def _shown(self, match: Match) -> Running:
        game = match.game
        since = self.now() - match.started_at
        return Running(str(match.match_id), match.users, game.scores, game.round, game.rounds, since)
