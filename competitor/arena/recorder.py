"""Finished matches on their way to the disk, in the order in which they ended: ratings follow from each other."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from competitor.arena.queries import PLAYED, MatchResult
from competitor.arena.rating import Rating
from competitor.arena.store import Store
from competitor.errors import CompetitorError, StorageError, message

log = logging.getLogger(__name__)

MOST_WAITING = 1000  # results that are kept while the disk refuses them; then no new match begins

Ratings = tuple[Rating, Rating]
Announce = Callable[[str], None]


class Recorder:
    """Writes results; what the disk refuses waits and is tried again with the next one, or by `retry`.

    announce: hears of every match, and once when writing begins to fail and when it works again.
    saved: hears of every match that is written, with both ratings after it.
    """

    def __init__(
        self,
        writer: Store,
        announce: Announce = lambda line: None,
        saved: Callable[[MatchResult, Ratings], None] = lambda result, ratings: None,
    ) -> None:
        self._writer, self._announce, self._saved = writer, announce, saved
        self._waiting: deque[MatchResult] = deque()
        self._one_at_a_time = asyncio.Lock()
        self._problem: str | None = None

    @property
    def waiting(self) -> int:
        """How many results are not written yet."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no more results should come."""
        return self.waiting >= MOST_WAITING

    async def save(self, result: MatchResult) -> Ratings | None:
        """Write a result; returns the ratings after it, None if it has to wait."""
        async with self._one_at_a_time:
            self._waiting.append(result)
            ratings = await self._write_all()
        if ratings is None:
            self._announce(f"{match_line(result)}; not written yet")
        return ratings

    async def retry(self) -> None:
        async with self._one_at_a_time:
            await self._write_all()

    def check(self) -> None:
        """Raises StorageError if results wait that could not be written."""
        if self._waiting:
            raise StorageError(f"{self.waiting} finished matches could not be written: {self._problem}")

    async def _write_all(self) -> Ratings | None:
        """Write what waits; returns the ratings after the last one, None if it still waits or is lost."""
        ratings = None
        had_problem = self._problem is not None
        written = 0
        while self._waiting:
            try:
                ratings = await asyncio.to_thread(self._writer.save, self._waiting[0])
            except (CompetitorError, OSError) as error:
                self._refused(message(error))
                return None
            except Exception:  # of this result alone: those after it must not wait for ever
                log.exception("match %s cannot be written", self._waiting.popleft().match_id)
                ratings = None
                continue
            result = self._waiting.popleft()
            written += 1
            self._saved(result, ratings)
            self._announce(match_line(result, ratings))
        if had_problem and written:
            self._problem = None
            self._announce(f"results can be written again: {written} that had to wait are")
        return ratings

    def _refused(self, problem: str) -> None:
        if self._problem is None:
            self._announce(f"warning: results cannot be written and are kept until they can: {problem}")
        self._problem = problem


def match_line(result: MatchResult, after: Ratings | None = None) -> str:
    """A finished match in one line; after: both ratings, if they are known."""
    (first, second), (own, other) = result.users, result.scores
    score = f"{first} {own} : {other} {second}"
    if result.ending != PLAYED:
        return f"{score}; broken off, not rated: {' '.join(filter(None, (result.left_by, result.ending)))}"
    return score if after is None else f"{score}; ratings {after[0].shown:.2f} and {after[1].shown:.2f}"
