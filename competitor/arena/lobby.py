"""The lobby: who is there, who waits for a match, who plays. Everything happens in one event loop.

    enter -> ready? -> queue -> (tick) -> match -> ready? and end -> queue -> ...

`ready` is asked before the end of the match is told, as on the real server. Unlike there a draw is rated as a
draw; and a match that nobody has broken off, because the arena closes, is nobody's fault.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from competitor.arena.game import ROUNDS, Game
from competitor.arena.match import Match
from competitor.arena.matchmaking import Waiting, pair_up
from competitor.arena.participant import Participant, ParticipantLost
from competitor.arena.queries import MatchResult
from competitor.arena.rating import Rating
from competitor.arena.recorder import Announce, Ratings, Recorder
from competitor.arena.steps import StepLog
from competitor.arena.store import Store
from competitor.errors import CompetitorError

log = logging.getLogger(__name__)

CLOSED = "arena closed"
MOST_MATCHES = 512  # at once; one core plays no more in time
MOST_PLACES = 256  # matches that one account can play or wait for at once, over all its connections
Keep = Callable[[MatchResult, StepLog, int], None]
LOOKED_AT, LOOKED_AT_OF_ONE = 256, 32
"""Places in the queue, and of one account, that a tick tries to match: its time grows with their square."""


class Lobby:
    """Brings players together and keeps the matches.

    Args:
        rounds: of a match.
        tick_s: seconds between two looks at the queue.
        random: draws partners, sides, places of the puck and the names of matches, which must be new to the store:
            a seeded one is for tests.
        announce: hears a line for every match that ends.
        keep: takes the steps of every match that ends; returns at once and raises nothing.
        wall_clock: unix seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        random: Random,
        rounds: int = ROUNDS,
        tick_s: float = 1.0,
        announce: Announce = lambda line: None,
        keep: Keep = lambda result, steps, rounds: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self.recorder = Recorder(store, announce, self._rated)
        self.changes = 0
        """Grows whenever a match begins or its result is known."""
        self._keep = keep
        self._random = random
        self._rounds = rounds
        self._tick_s = tick_s
        self._wall_clock = wall_clock
        self._present: set[Participant] = set()
        self._places: Counter[str] = Counter()
        self._queue: dict[Participant, int] = {}  # in order of arrival; the ticks that each has waited
        self._playing: dict[Participant, Match] = {}
        self._values: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._holding: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def matches(self) -> list[Match]:
        """Those in play, the oldest first."""
        return list(dict.fromkeys(self._playing.values()))

    @property
    def waiting(self) -> list[Participant]:
        """Those who wait for a match, house bots too, the longest first."""
        return list(self._queue)

    async def run(self) -> None:
        """Look at the queue again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            self.tick()

    def enter(self, participant: Participant) -> None:
        """A newcomer, who is asked whether he is ready. House bots enter once for every match they can play at once."""
        if not self._closed:
            self._present.add(participant)
            self._places[participant.user] += 1
            self._spawn(self._welcome(participant), self._tasks)

    def has_room_for(self, user: str) -> bool:
        """Whether the account may enter once more."""
        return self._places[user] < MOST_PLACES

    def leave(self, participant: Participant, reason: str = "disconnected") -> None:
        """The participant is gone for good; its match, if there is one, ends for the other one. May be called twice."""
        if participant in self._present:
            self._present.discard(participant)
            self._places -= Counter([participant.user])
        self._queue.pop(participant, None)
        match = self._playing.get(participant)
        if match is not None:
            match.break_off(match.participants.index(participant), reason)

    def withdraw(self, participant: Participant) -> bool:
        """Let a participant leave that is not in a match; False, and nothing happens, if it is."""
        if participant in self._playing:
            return False
        self.leave(participant)
        return True

    def tick(self) -> None:
        """Begin a match for everybody who can be matched now, unless too many results wait to be written."""
        if self.recorder.is_full:
            return
        queue = [
            Waiting(
                participant,
                participant.user,
                participant.is_bot,
                self._values[participant.user],
                self._queue[participant],
            )
            for participant in self._looked_at()
        ]
        for first, second in pair_up(queue, self._random)[: max(0, MOST_MATCHES - len(self.matches))]:
            self._begin(first, second)
        self._queue = {participant: ticks + 1 for participant, ticks in self._queue.items()}

    async def close(self) -> None:
        """Break off all matches and write them down; nobody is told anything any more.

        Close the lobby before the wires: those would take their clients away one by one, and the others be told.
        """
        self._closed = True
        self._present.clear()
        self._queue.clear()
        for task in self._tasks:
            task.cancel()
        for match in self.matches:
            match.break_off(None, CLOSED)
        await asyncio.gather(*self._tasks, *self._holding, return_exceptions=True)
        await self.recorder.retry()

    def _looked_at(self) -> Iterator[Participant]:
        """Those whom this tick tries to match, the longest waiting first, and not too many of one account."""
        of_one: Counter[str] = Counter()
        people = 0
        for participant in self._queue:
            of_one[participant.user] += 1
            if participant.is_bot:
                yield participant
            elif of_one[participant.user] <= LOOKED_AT_OF_ONE and people < LOOKED_AT:
                people += 1
                yield participant

    def _begin(self, first: Participant, second: Participant) -> None:
        draw = self._random.getrandbits
        game = Game(draw(64), rounds=self._rounds)
        match = Match(uuid.UUID(int=draw(128), version=4), (first, second), game, self._wall_clock())
        for participant in match.participants:
            del self._queue[participant]
            self._playing[participant] = match
        self.changes += 1
        log.info("match %s: %s against %s", match.match_id, *match.users)
        self._spawn(self._hold(match), self._holding)

    async def _hold(self, match: Match) -> None:
        """A match from its start until both players may wait for the next one."""
        try:
            await match.play()
        except Exception:
            log.exception("match %s cannot go on", match.match_id)
            match.break_off(None, "error")
        ratings = await self._save(match)
        self.changes += 1
        for participant in match.participants:
            del self._playing[participant]
        for who, participant in enumerate(match.participants):
            if participant in self._present:
                self._spawn(self._dismiss(participant, match, who, ratings[who]), self._tasks)

    async def _save(self, match: Match) -> tuple[float | None, float | None]:
        """What the leaderboard shows for both from now on; None if that is not written yet."""
        result = match.result(self._wall_clock())
        self._keep(result, match.game.log, match.game.rounds)
        log.info("match %s: %d:%d, %s", result.match_id, *result.scores, result.ending)
        ratings = await self.recorder.save(result)
        return (None, None) if ratings is None else (ratings[0].shown, ratings[1].shown)

    def _rated(self, result: MatchResult, ratings: Ratings) -> None:
        self._values.update(zip(result.users, (rating.shown for rating in ratings), strict=True))

    async def _welcome(self, participant: Participant) -> None:
        if participant.user not in self._values:
            try:
                rating = await asyncio.to_thread(self._store.rating, participant.user)
            except CompetitorError as error:  # it decides about partners only: nobody is kept from playing
                log.warning("a rating cannot be read, a beginner's stands in for it: %s", error)
                rating = Rating()
            self._values.setdefault(participant.user, rating.shown)
        with self._noticing_loss(participant):
            await self._queue_if_ready(participant)

    async def _dismiss(self, participant: Participant, match: Match, who: int, rating: float | None) -> None:
        """The end of the match for one player, who is asked for the next one in the same breath."""
        own, other = match.game.scores[who], match.game.scores[1 - who]
        won = match.played and own > other
        with self._noticing_loss(participant):
            await asyncio.gather(self._queue_if_ready(participant), participant.end(won, own, other, rating))

    async def _queue_if_ready(self, participant: Participant) -> None:
        if await participant.ready() and participant in self._present:
            self._queue[participant] = 0

    @contextmanager
    def _noticing_loss(self, participant: Participant) -> Iterator[None]:
        try:
            yield
        except ParticipantLost as lost:
            self.leave(participant, lost.reason)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.error("a player's turn in the lobby failed", exc_info=problem)
