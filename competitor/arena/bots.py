"""How the house bots decide: the basic opponents, and checkpoints.

All matches of a checkpoint share one network (competitor.engine), which thinks in a thread of its
own: the arena's event loop never waits for it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from competitor.arena.store import NAME
from competitor.engine.engine import Brain, Engine
from competitor.engine.safety import UnsoundAction, sanitise
from competitor.engine.session import ZEROS, Action, Session
from competitor.errors import ConfigError
from competitor.rink import BasicOpponent

BASIC = ("weak", "strong")
ANSWER_WITHIN_S = 2.0


class Policy(Protocol):
    """A bot in one match."""

    async def act(self, obs: Sequence[float]) -> Action:
        """The action for an observation (18 doubles), whatever that is."""

    def close(self) -> None:
        """The match is over."""


class Bot(Protocol):
    """A house bot; `start` and `stop` may take a while and are called in worker threads."""

    name: str

    def start(self) -> None:
        """Be ready for matches. Raises CheckpointError when the network does not work; then nothing runs."""

    def stop(self) -> None:
        """End what was started."""

    def begin(self, match_id: uuid.UUID, opponent: str, rounds: int) -> Policy:
        """The bot's policy for a new match."""


class BasicPolicy:
    """The weak or the strong basic opponent."""

    def __init__(self, opponent: BasicOpponent) -> None:
        self._opponent = opponent

    async def act(self, obs: Sequence[float]) -> Action:
        """The opponent's action; zeros if the observation is none."""
        try:
            return sanitise(self._opponent.decide(obs))
        except UnsoundAction:
            return ZEROS

    def close(self) -> None:
        """Nothing to tidy up."""


class BasicBot:
    """Makes a new basic opponent for each match."""

    def __init__(self, name: str, *, weak: bool, generator: np.random.Generator) -> None:
        self.name = name
        self._weak, self._generator = weak, generator

    def start(self) -> None:
        """Always ready."""

    def stop(self) -> None:
        """Nothing runs."""

    def begin(self, match_id: uuid.UUID, opponent: str, rounds: int) -> BasicPolicy:
        """The bot's policy for a new match."""
        (chance,) = self._generator.spawn(1)
        return BasicPolicy(BasicOpponent(weak=self._weak, generator=chance))


class CheckpointPolicy:
    """One match of a checkpoint: a session of its engine."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine, self._session = engine, session
        engine.open_session(session)

    async def act(self, obs: Sequence[float]) -> Action:
        """Wait, without holding anybody up, for the network's action."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Action] = loop.create_future()

        def reply(action: Action) -> None:
            loop.call_soon_threadsafe(_give, answer, action)

        self._engine.submit(self._session, obs, reply)
        return await answer

    def close(self) -> None:
        """Free the match's place in the network's table."""
        self._engine.close_session(self._session)


def _give(answer: asyncio.Future[Action], action: Action) -> None:
    if not answer.done():  # the match may have ended while the network was thinking
        answer.set_result(action)


class CheckpointBot:
    """A trained agent: one network for all its matches."""

    def __init__(self, name: str, brain: Brain, generator: np.random.Generator) -> None:
        self.name, self._brain = name, brain
        self._engine = Engine(brain, deadline_s=ANSWER_WITHIN_S, generator=generator)

    def start(self) -> None:
        """Try the network, then start the inference thread."""
        self._brain.self_test()
        self._engine.start()

    def stop(self) -> None:
        """End the inference thread."""
        self._engine.stop()

    def begin(self, match_id: uuid.UUID, opponent: str, rounds: int) -> CheckpointPolicy:
        """The bot's policy for a new match."""
        return CheckpointPolicy(self._engine, Session(str(match_id), opponent=opponent, rounds=rounds))


def make_bots(specs: Sequence[str], *, seed: int | None, threads: int = 1) -> list[Bot]:
    """The bots that `specs` name: players as in competitor.players.specs, or NAME=PLAYER.

    seed: of all their chance; None: another one each time. Raises ConfigError (a name that cannot be one, or twice),
    PlayerError and dreamer.errors.CheckpointError.
    """
    named = [_named(spec) for spec in specs]
    names = [name.lower() for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two house bots are called {name}: give one another name with NAME=PLAYER")
    generators = np.random.default_rng(seed).spawn(len(named))
    return [_make_bot(*pair, generator, threads) for pair, generator in zip(named, generators, strict=True)]


def _named(spec: str) -> tuple[str, str]:
    """A bot's name and what it plays with."""
    name, equals, what = spec.partition("=")
    if not equals:
        name, what = _own_name(spec), spec
    if not what or not NAME.fullmatch(name):
        raise ConfigError(f"{ascii(spec)} is no house bot: expected weak, strong, champion, a player or NAME=PLAYER")
    return name, what


def _own_name(spec: str) -> str:
    if spec in BASIC:
        return spec
    from competitor.players import short_name  # brings torch, which an arena with basic bots can do without

    return short_name(spec)


def _make_bot(name: str, what: str, generator: np.random.Generator, threads: int) -> Bot:
    if what in BASIC:
        return BasicBot(name, weak=what == "weak", generator=generator)
    from competitor.engine.brain import load_brain  # brings torch, which an arena with basic bots can do without

    brain = load_brain(what, seed=int(generator.integers(2**31)), threads=threads)
    return CheckpointBot(name, brain, generator)
