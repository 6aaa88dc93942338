"""What the lobby needs of one player who can play one match at a time, whatever wire he comes by.

A participant enters the lobby once (`Lobby.enter`), which asks it whether it is ready before every match. The wire
behind it counts the deadlines and tells a player who breaks a rule so; then the participant raises ParticipantLost
and calls `Lobby.leave`, and the lobby ends the match for the other one.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from competitor.engine.session import Action

Reason = Literal["disconnected", "timeout", "invalid action"]


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]
"""Calls back after so many seconds, unless cancelled, as an event loop does."""


class ParticipantLost(Exception):
    """The player cannot go on with the match; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Participant(Protocol):
    """One player. Each method may raise ParticipantLost, and may be cancelled while it waits for the player."""

    @property
    def user(self) -> str:
        """Name of the account; two participants of one account never meet."""

    @property
    def is_bot(self) -> bool:
        """Whether it belongs to the house: two bots never meet, and people come first."""

    async def ready(self) -> bool:
        """Ask whether the player wants a match. Said before anything is awaited, so that `end` can follow it."""

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        """Announce a match; returns at once."""

    async def act(self, obs: Sequence[float]) -> Action:
        """The answer to an observation (18 doubles): a legal action."""

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        """Announce the end: whether the player won a match that was played to its end, and the score.

        rating: what the leaderboard shows after it, None if it is not known. Returns at once.
        """
