"""The house bots: they decide as their models do, hold nobody up, and there is always one who waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from competitor.arena.bots import SPARE_PARTICIPANTS, Bot, BotParticipant, make_bots, open_bot_accounts
from competitor.arena.participant import Participant
from competitor.arena.store import Store
from competitor.engine.session import Action
from competitor.errors import ConfigError
from competitor.rink import BasicOpponent, HockeyEnv
from dreamer.errors import CheckpointError

TIMEOUT_S = 20.0
MATCH = uuid.UUID(int=1)


def observations(count: int, seed: int = 0) -> list[list[float]]:
    """What a player sees in the first steps of a round."""
    rink = HockeyEnv()
    generator = np.random.default_rng(seed)
    obs, _ = rink.reset(seed=seed)
    seen = [obs.tolist()]
    for _ in range(count - 1):
        obs, *_ = rink.step(generator.uniform(-1, 1, 8))
        seen.append(obs.tolist())
    return seen


class FakeBrain:
    """Answers with the first numbers of the observation, once it may."""

    name, digest = "fake", "0" * 64

    def __init__(self) -> None:
        self.may_think = threading.Event()
        self.may_think.set()
        self.batches: list[int] = []
        self.open_slots: set[int] = set()
        self.broken = False

    def open(self) -> int:
        slot = max(self.open_slots, default=-1) + 1
        self.open_slots.add(slot)
        return slot

    def close(self, slot: int) -> None:
        self.open_slots.remove(slot)

    def act(
        self,
        slots: Sequence[int],
        obs: NDArray[np.float32],
        is_first: NDArray[np.bool_],
        previous: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        assert self.may_think.wait(TIMEOUT_S)
        self.batches.append(len(slots))
        return obs[:, :4]

    def self_test(self) -> None:
        if self.broken:
            raise CheckpointError("the network gives no numbers")


@pytest.fixture
def brain() -> FakeBrain:
    return FakeBrain()


@pytest.fixture
def bot(brain: FakeBrain) -> Iterator[Bot]:
    made = Bot("fake", brain, np.random.default_rng(0))
    made.start()
    yield made
    brain.may_think.set()
    made.stop()


def within(work: object) -> object:
    return asyncio.run(asyncio.wait_for(work, TIMEOUT_S))  # type: ignore[arg-type]


async def playing(bot: Bot, number: int = 1) -> BotParticipant:
    """The bot in a match."""
    participant = BotParticipant(bot)
    await participant.start(uuid.UUID(int=number), "ada", 4)
    return participant


@contextlib.contextmanager
def named(spec: str) -> Iterator[Bot]:
    (bot,) = make_bots([spec], seed=0)
    bot.start()
    try:
        yield bot
    finally:
        bot.stop()


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_a_basic_bot_plays_like_the_basic_opponent_with_a_chance_of_its_own(name: str) -> None:
    generator = np.random.default_rng(0).spawn(1)[0]
    generator.spawn(2)  # of the safe actors, one for each match
    opponents = [BasicOpponent(weak=name == "weak", generator=chance) for chance in generator.spawn(2)]

    async def play(bot: Bot) -> list[list[Action]]:
        participants = [await playing(bot, number) for number in (1, 2)]
        return [[await one.act(obs) for one in participants] for obs in observations(40)]

    with named(name) as bot:
        played = within(play(bot))
    expected = [[opponent.decide(obs) for opponent in opponents] for obs in observations(40)]
    assert np.allclose(played, expected, atol=1e-6)  # type: ignore[arg-type]
    assert expected[0][0] != expected[0][1]


def test_a_bot_answers_what_its_brain_says(bot: Bot) -> None:
    async def play() -> list[Action]:
        participant = await playing(bot)
        return [await participant.act([value, 0.5, -0.5, 0.0] + [0.0] * 14) for value in (0.25, 2.0)]

    assert within(play()) == [(0.25, 0.5, -0.5, 0.0), (1.0, 0.5, -0.5, 0.0)]


def test_one_brain_answers_all_matches_together(bot: Bot, brain: FakeBrain) -> None:
    async def play() -> list[Action]:
        participants = [await playing(bot, number) for number in range(8)]
        brain.may_think.clear()
        asked = [asyncio.ensure_future(one.act([number / 10] + [0.0] * 17)) for number, one in enumerate(participants)]
        await asyncio.sleep(0)
        brain.may_think.set()  # while the network was busy, the loop was not
        return await asyncio.gather(*asked)

    assert within(play()) == [pytest.approx((number / 10, 0.0, 0.0, 0.0)) for number in range(8)]
    assert sum(brain.batches) == 8
    assert len(brain.batches) <= 2


def test_a_match_that_ends_while_the_brain_thinks(bot: Bot, brain: FakeBrain) -> None:
    async def play() -> Action:
        participant = await playing(bot)
        brain.may_think.clear()
        asked = asyncio.ensure_future(participant.act([0.1] * 18))
        await asyncio.sleep(0)
        asked.cancel()
        await participant.end(False, 0, 0, None)
        brain.may_think.set()
        return await (await playing(bot)).act([0.2] * 18)

    assert within(play()) == pytest.approx((0.2,) * 4)


def test_an_ended_match_is_forgotten(bot: Bot, brain: FakeBrain) -> None:
    async def play() -> None:
        for _ in range(5):
            participant = await playing(bot)
            await participant.act([0.1] * 18)
            await participant.end(False, 0, 0, None)

    within(play())
    bot.stop()
    assert len(brain.open_slots) <= 1


def test_a_network_that_does_not_work_is_refused(brain: FakeBrain) -> None:
    brain.broken = True
    bot = Bot("fake", brain, np.random.default_rng(0))
    before = threading.active_count()
    with pytest.raises(CheckpointError, match="gives no numbers"):
        bot.start()
    assert threading.active_count() == before


def test_bots_by_name() -> None:
    bots = make_bots(["weak", "strong", "tough=strong"], seed=0)
    assert [bot.name for bot in bots] == ["weak", "strong", "tough"]
    assert make_bots([], seed=0) == []


def test_the_champion_plays() -> None:
    async def play(bot: Bot) -> list[Action]:
        participant = await playing(bot)
        return [await participant.act(obs) for obs in observations(60)]

    with named("champion") as bot:
        actions = within(play(bot))
    assert isinstance(actions, list)
    assert np.abs(actions).max() <= 1.0
    assert len(set(actions)) > 1


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


def test_a_checkpoint_that_is_not_there() -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        make_bots(["weak", "runs/none/checkpoints/latest"], seed=0)


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


def test_every_bot_waits() -> None:
    entered: list[Participant] = []
    for bot in make_bots(["weak", "strong"], seed=0):
        bot.enter(entered.append)
    assert [one.user for one in entered] == ["weak"] * SPARE_PARTICIPANTS + ["strong"] * SPARE_PARTICIPANTS
    assert all(one.is_bot for one in entered)


def test_somebody_is_always_waiting_and_plays_match_after_match(bot: Bot, brain: FakeBrain) -> None:
    entered: list[Participant] = []
    bot.enter(entered.append, spare=2)

    async def play() -> None:
        for taken in range(10):
            assert len(entered) == taken + 2
            await entered[taken].start(MATCH, "ada", 4)
        for one in entered[:10]:
            await one.end(False, 0, 0, None)
        assert await entered[0].ready()
        await entered[0].start(MATCH, "ada", 4)
        assert await entered[0].act([0.5] * 18) == (0.5,) * 4
        assert len(entered) == 12, "those that are free again are used again"

    within(play())
    assert len(brain.open_slots) == 1
