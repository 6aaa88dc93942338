"""One match: two participants, one game, and the rules for what happens when one of them cannot go on."""

import asyncio
import logging
import uuid

from competitor.arena.game import Game
from competitor.arena.participant import Participant, ParticipantLost
from competitor.arena.queries import PLAYED, MatchResult
from competitor.engine.session import ZEROS, Action

log = logging.getLogger(__name__)


class Match:
    """A match in play between two participants, the first player first.

    A step is played when both have answered. It ends at once for both when one of them is lost. The real server
    plays a step whose *last* answer is invalid with that answer, and shows its outcome to the other one in a Step
    of its own before the end; here it is played with an action of zeros and nobody sees it. What stays is that a
    match which this step brings to its end counts as played.

    Args:
        started_at: unix seconds.
    """

    def __init__(
        self, match_id: uuid.UUID, participants: tuple[Participant, Participant], game: Game, started_at: float
    ) -> None:
        self.match_id = match_id
        self.participants = participants
        self.users = participants[0].user, participants[1].user
        self.game = game
        self.started_at = started_at
        self.breach: tuple[int | None, str] | None = None  # the player who was the reason for an early end, and why
        self._answers: list[Action | None] = [None, None]
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def played(self) -> bool:
        """Whether all rounds were played, which is what makes a match count."""
        return self.game.over

    def result(self, ended_at: float) -> MatchResult:
        """What is written down of a match that is over; ended_at in unix seconds."""
        leaver, ending = None, PLAYED
        if self.breach is not None and not self.played:
            who, ending = self.breach
            leaver = None if who is None else self.users[who]
        scores = self.game.scores
        return MatchResult(self.match_id, self.users, scores, ending, leaver, self.started_at, ended_at)

    async def play(self) -> None:
        await self._start()
        while not self.game.over and self.breach is None:
            await self._step()

    def break_off(self, who: int | None, reason: str) -> None:
        """Player `who` (0 or 1) cannot go on, or nobody can (None). Only the first call counts."""
        if self.breach is not None or self.game.over:
            return
        self.breach = who, reason
        if who is not None and reason == "invalid action" and self._answers[1 - who] is not None:
            self._answers[who] = ZEROS
        if not self._turn.done():
            self._turn.set_result(None)

    async def _start(self) -> None:
        for who, (participant, opponent) in enumerate(zip(self.participants, reversed(self.users), strict=True)):
            try:
                await participant.start(self.match_id, opponent, self.game.rounds)
            except Exception as problem:
                self._lose(who, problem)

    async def _step(self) -> None:
        self._answers = [None, None]
        self._turn = asyncio.get_running_loop().create_future()
        asking = [asyncio.ensure_future(self._ask(who)) for who in (0, 1)]
        try:
            await self._turn
        finally:
            for task in asking:
                task.cancel()
        first, second = self._answers
        if first is not None and second is not None:
            self.game.step(first, second)

    async def _ask(self, who: int) -> None:
        try:
            self._answers[who] = await self.participants[who].act(self.game.observations[who])
        except Exception as problem:
            self._lose(who, problem)
        if None not in self._answers and not self._turn.done():
            self._turn.set_result(None)

    def _lose(self, who: int, problem: Exception) -> None:
        if isinstance(problem, ParticipantLost):
            self.break_off(who, problem.reason)
        else:
            log.error("match %s: %s cannot play", self.match_id, self.users[who], exc_info=problem)
            self.break_off(who, "error")
