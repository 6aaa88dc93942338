"""House bots: players who are always there, inside the arena's process.

A bot has an account like everybody else, with rating and results, and plays many matches at once. Some of its
participants always wait, so that nobody else has to wait for a partner.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from competitor.arena.bots import Bot, Policy
from competitor.arena.participant import Participant
from competitor.arena.store import Store
from competitor.engine.session import Action
from competitor.errors import ConfigError

SPARE_PARTICIPANTS = 16
MOST_PARTICIPANTS = 256

Enter = Callable[[Participant], None]


def open_bot_accounts(bots: Sequence[Bot], store: Store) -> None:
    """Give each bot its account. Raises ConfigError when a player has an account of that name."""
    for bot in bots:
        user = store.user(bot.name)
        if user is None:
            store.add_user(bot.name, "bot")
        elif user.role != "bot":
            raise ConfigError(f"{user.name} is a player's account: name the house bot otherwise, with NAME=PLAYER")


class BotPool:
    """Starts the bots, keeps enough of their participants in the lobby, and stops them."""

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

    def enter(self, enter: Enter, spare: int = SPARE_PARTICIPANTS) -> None:
        """Let `spare` participants of each bot into the lobby, and another one whenever a match takes one."""
        for bot in self._bots:
            BotParticipants(bot, enter, spare).fill()

    def stop(self) -> None:
        """End what the bots run; nobody may be waiting for their actions any more."""
        while self._started:
            self._started.pop().stop()


class BotParticipants:
    """All participants of one bot."""

    def __init__(self, bot: Bot, enter: Enter, spare: int) -> None:
        self.bot = bot
        self._enter, self._spare = enter, spare
        self._idle = self._count = 0

    def fill(self) -> None:
        """Let so many enter that `spare` are free."""
        while self._idle < self._spare and self._count < MOST_PARTICIPANTS:
            self._idle += 1
            self._count += 1
            self._enter(BotParticipant(self))

    def taken(self) -> None:
        """A match has begun for one of them."""
        self._idle -= 1
        self.fill()

    def free(self) -> None:
        """The match of one of them is over."""
        self._idle += 1


class BotParticipant:
    """A bot in one match at a time; always ready for the next one."""

    is_bot = True

    def __init__(self, all_of_bot: BotParticipants) -> None:
        self.user = all_of_bot.bot.name
        self._all = all_of_bot
        self._policy: Policy | None = None

    async def ready(self) -> bool:
        """Always."""
        return True

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        """A match begins."""
        self._policy = self._all.bot.begin(match_id, opponent, rounds)
        self._all.taken()

    async def act(self, obs: Sequence[float]) -> Action:
        """The bot's action."""
        assert self._policy is not None, "no match has been started"
        return await self._policy.act(obs)

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        """The match is over."""
        if self._policy is not None:
            self._policy.close()
            self._policy = None
            self._all.free()
