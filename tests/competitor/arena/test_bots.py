"""The house bots: they hold nobody up, and there is always one who waits."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from competitor.arena.bots import SPARE_PARTICIPANTS, Bot, BotParticipant, make_bots, open_bot_accounts
from competitor.arena.participant import Participant
from competitor.arena.store import Store
from competitor.engine.session import Action
from competitor.errors import ConfigError
from tests.competitor.daemon.shared import EchoBrain, echo, observation

TIMEOUT_S = 20.0
MATCH = uuid.UUID(int=1)


@pytest.fixture
def brain() -> EchoBrain:
    return EchoBrain()


@pytest.fixture
def bot(brain: EchoBrain) -> Iterator[Bot]:
    made = Bot("echo", brain, np.random.default_rng(0))
    made.start()
    yield made
    brain.gate.set()
    made.stop()


def within(work: object) -> object:
    return asyncio.run(asyncio.wait_for(work, TIMEOUT_S))  # type: ignore[arg-type]


async def playing(bot: Bot, number: int = 1) -> BotParticipant:
    """The bot in a match."""
    participant = BotParticipant(bot)
    await participant.start(uuid.UUID(int=number), "ada", 4)
    return participant


def test_bots_by_name() -> None:
    bots = make_bots(["weak", "strong", "tough=strong"], seed=0)
    assert [bot.name for bot in bots] == ["weak", "strong", "tough"]
    assert make_bots([], seed=0) == []


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["weak", "Weak=strong"], "two house bots are called weak"),
        (["a b=strong"], "'a b=strong' is no house bot"),
        (["mine="], "'mine=' is no house bot"),
        (["=weak"], "'=weak' is no house bot"),
    ],
)
def test_bots_that_cannot_be_named(specs: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_bots(specs, seed=0)


def test_a_bot_keeps_its_account(tmp_path: Path) -> None:
    with contextlib.closing(Store(tmp_path / "arena.sqlite")) as store:
        open_bot_accounts(make_bots(["weak"], seed=0), store)
        first = store.user("weak")
        open_bot_accounts(make_bots(["weak"], seed=0), store)
        assert first is not None and first.role == "bot"
        assert store.user("weak") == first
        store.add_user("ada")
        with pytest.raises(ConfigError, match="ada is a player's account"):
            open_bot_accounts(make_bots(["Ada=weak"], seed=0), store)


def test_a_match_that_ends_while_the_brain_thinks(bot: Bot, brain: EchoBrain) -> None:
    """The event loop does not wait for it, and what it says then goes nowhere."""

    async def play() -> Action:
        participant = await playing(bot)
        brain.gate.clear()
        asked = asyncio.ensure_future(participant.act(observation(0.5)))
        await asyncio.sleep(0)
        asked.cancel()
        await participant.end(False, 0, 0, None)
        brain.gate.set()
        return await (await playing(bot)).act(observation(0.25))

    assert within(play()) == tuple(echo(0.25))


def test_somebody_is_always_waiting_and_plays_match_after_match(bot: Bot) -> None:
    entered: list[Participant] = []
    bot.enter(entered.append)

    async def play() -> None:
        for taken in range(10):
            assert len(entered) == taken + SPARE_PARTICIPANTS
            await entered[taken].start(MATCH, "ada", 4)
        for one in entered[:10]:
            await one.end(False, 0, 0, None)
        assert await entered[0].ready()
        await entered[0].start(MATCH, "ada", 4)
        assert await entered[0].act(observation(0.5)) == tuple(echo(0.5))
        assert len(entered) == 10 + SPARE_PARTICIPANTS, "those that are free again are used again"

    within(play())
    assert {(one.user, one.is_bot) for one in entered} == {("echo", True)}
