"""The house: bots who are always there, inside the arena's process.

A bot has an account like everybody else, with rating and results, and sits on many seats at once. Some of them
always wait, so that nobody else has to wait for a partner.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Protocol

from competitor.arena.bots import Bot, Mind
from competitor.arena.seat import Action, Seat
from competitor.arena.store import Store
from competitor.errors import ConfigError

SPARE_SEATS = 16
MOST_SEATS = 256


class Entrance(Protocol):
    """The hall, as far as the house needs it."""

    def enter(self, seat: Seat) -> None:
        """A seat comes in."""


def enrol(bots: Sequence[Bot], store: Store) -> None:
    """Give each bot its account. Raises ConfigError when a player has an account of that name."""
    for bot in bots:
        user = store.user(bot.name)
        if user is None:
            store.add_user(bot.name, "bot")
        elif user.role != "bot":
            raise ConfigError(f"{user.name} is a player's account: name the house bot otherwise, with NAME=PLAYER")


class House:
    """Starts the bots, keeps enough of their seats in the hall, and stops them."""

    def __init__(self, bots: Sequence[Bot]) -> None:
        self._bots = list(bots)
        self._started: list[Bot] = []

    def start(self) -> None:
        """Start every bot; takes seconds with checkpoints. Raises CheckpointError; then nothing runs."""
        try:
            for bot in self._bots:
                bot.start()
                self._started.append(bot)
        except BaseException:
            self.stop()
            raise

    def enter(self, hall: Entrance) -> None:
        """Take the seats."""
        for bot in self._bots:
            Bench(bot, hall).fill()

    def stop(self) -> None:
        """End what the bots run; nobody may be waiting for their actions any more."""
        while self._started:
            self._started.pop().stop()


class Bench:
    """The seats of one bot: as soon as one is taken, another one comes in."""

    def __init__(self, bot: Bot, hall: Entrance, spare_seats: int = SPARE_SEATS) -> None:
        self.bot = bot
        self._hall, self._spare_seats = hall, spare_seats
        self._idle = self._seats = 0

    def fill(self) -> None:
        """Let so many seats enter that `spare_seats` are free."""
        while self._idle < self._spare_seats and self._seats < MOST_SEATS:
            self._idle += 1
            self._seats += 1
            self._hall.enter(HouseSeat(self))

    def taken(self) -> None:
        """A match has begun on one of the seats."""
        self._idle -= 1
        self.fill()

    def free(self) -> None:
        """A match on one of the seats is over."""
        self._idle += 1


class HouseSeat:
    """A bot's place for one match at a time; always ready for the next one."""

    is_bot = True

    def __init__(self, bench: Bench) -> None:
        self.user = bench.bot.name
        self._bench = bench
        self._mind: Mind | None = None

    async def ready(self) -> bool:
        """Always."""
        return True

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        """A match begins."""
        self._mind = self._bench.bot.begin(match_id, opponent, rounds)
        self._bench.taken()

    async def act(self, obs: Sequence[float]) -> Action:
        """The bot's action."""
        assert self._mind is not None, "no match has been started"
        return await self._mind.act(obs)

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        """The match is over."""
        if self._mind is not None:
            self._mind.close()
            self._mind = None
            self._bench.free()
