"""House bots: players who are always there, inside the arena's process.

A bot has an account like everybody else, with rating and results, and plays many matches at once. All of them share
one brain (competitor.engine), which thinks in a thread of its own: the arena's event loop never waits for it. Some of
a bot's participants always wait, so that nobody else has to wait for a partner.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence

import numpy as np

from competitor.arena.participant import Participant
from competitor.arena.store import NAME, Store
from competitor.engine.engine import Engine
from competitor.engine.guard import Brain
from competitor.engine.session import Action, Session
from competitor.errors import ConfigError

ANSWER_WITHIN_S = 2.0
SPARE_PARTICIPANTS = 16
MOST_PARTICIPANTS = 256

Enter = Callable[[Participant], None]


class Bot:
    """A house bot; `start` and `stop` may take a while and belong into worker threads."""

    def __init__(self, name: str, brain: Brain, generator: np.random.Generator) -> None:
        self.name, self._brain = name, brain
        self.engine = Engine(brain, deadline_s=ANSWER_WITHIN_S, generator=generator)
        self._enter: Enter = lambda participant: None
        self._idle = self._count = 0

    def start(self) -> None:
        """Try the brain, and be ready for matches. Raises CheckpointError and PlayerError; then nothing runs."""
        self._brain.self_test()
        self.engine.start()

    def stop(self) -> None:
        """End what was started; nobody may be waiting for its actions any more."""
        self.engine.stop()

    def enter(self, enter: Enter) -> None:
        """Let participants into the lobby, and another one whenever a match takes one."""
        self._enter = enter
        self._fill()

    def taken(self) -> None:
        """A match has begun for one of the participants."""
        self._idle -= 1
        self._fill()

    def freed(self) -> None:
        """The match of one of them is over."""
        self._idle += 1

    def _fill(self) -> None:
        while self._idle < SPARE_PARTICIPANTS and self._count < MOST_PARTICIPANTS:
            self._idle += 1
            self._count += 1
            self._enter(BotParticipant(self))


class BotParticipant:
    """A bot in one match at a time; always ready for the next one."""

    is_bot = True

    def __init__(self, bot: Bot) -> None:
        self.user = bot.name
        self._bot = bot
        self._session: Session | None = None

    async def ready(self) -> bool:
        return True

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        self._session = Session(str(match_id), opponent=opponent, rounds=rounds)
        self._bot.engine.open_session(self._session)
        self._bot.taken()

    async def act(self, obs: Sequence[float]) -> Action:
        """Wait, without holding anybody up, for the brain's action."""
        assert self._session is not None, "no match has been started"
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Action] = loop.create_future()

        def give(action: Action) -> None:
            if not answer.done():  # the match may have ended while the brain was thinking
                answer.set_result(action)

        self._bot.engine.submit(self._session, obs, lambda action: loop.call_soon_threadsafe(give, action))
        return await answer

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        if self._session is not None:
            self._bot.engine.close_session(self._session)
            self._session = None
            self._bot.freed()


def make_bots(specs: Sequence[str], *, seed: int | None, threads: int = 1) -> list[Bot]:
    """The bots that `specs` name: players as in competitor.players.specs, or NAME=PLAYER.

    seed: of all their chance; None: another one each time. Raises ConfigError (a name that cannot be one, or twice),
    PlayerError and dreamer.errors.CheckpointError.
    """
    if not specs:
        return []
    from competitor.engine.brain import load_brain  # brings torch, which an arena without bots does without

    named = [_named(spec) for spec in specs]
    names = [name.lower() for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two house bots are called {name}: give one another name with NAME=PLAYER")
    generators = np.random.default_rng(seed).spawn(len(named))
    return [
        Bot(name, load_brain(what, seed=int(generator.integers(2**31)), threads=threads), generator)
        for (name, what), generator in zip(named, generators, strict=True)
    ]


def open_bot_accounts(bots: Sequence[Bot], store: Store) -> None:
    """Give each bot its account. Raises ConfigError when a player has an account of that name."""
    for bot in bots:
        user = store.user(bot.name)
        if user is None:
            store.add_user(bot.name, "bot")
        elif user.role != "bot":
            raise ConfigError(f"{user.name} is a player's account: name the house bot otherwise, with NAME=PLAYER")


def _named(spec: str) -> tuple[str, str]:
    """A bot's name and what it plays with."""
    from competitor.players import short_name

    name, equals, what = spec.partition("=")
    if not equals:
        name, what = short_name(spec), spec
    if not what or not NAME.fullmatch(name):
        raise ConfigError(f"{ascii(spec)} is no house bot: expected weak, strong, champion, a player or NAME=PLAYER")
    return name, what
