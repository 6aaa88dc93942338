"""The house bots: they decide as their models do, hold nobody up, and there is always one who waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from competitor.arena.bot_pool import SPARE_PARTICIPANTS, BotPool, open_bot_accounts
from competitor.arena.bots import BasicBot, CheckpointBot, Policy, make_bots
from competitor.arena.participant import Action, Participant
from competitor.arena.store import Store
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


class FakePolicy:
    closed = False

    async def act(self, obs: Sequence[float]) -> Action:
        return 1.0, 0.0, 0.0, 0.0

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeBot:
    """Says what was done to it."""

    name: str = "fake"
    error: Exception | None = None
    calls: list[str] = field(default_factory=list)
    policies: list[FakePolicy] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.calls.append("stop")

    def begin(self, match_id: uuid.UUID, opponent: str, rounds: int) -> Policy:
        self.policies.append(FakePolicy())
        return self.policies[-1]


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
def bot(brain: FakeBrain) -> Iterator[CheckpointBot]:
    made = CheckpointBot("fake", brain, np.random.default_rng(0))
    made.start()
    yield made
    brain.may_think.set()
    made.stop()


def within(work: object) -> object:
    return asyncio.run(asyncio.wait_for(work, TIMEOUT_S))  # type: ignore[arg-type]


@pytest.mark.parametrize("weak", [True, False])
def test_a_basic_bot_plays_like_the_basic_opponent(weak: bool) -> None:
    policy = BasicBot("basic", weak=weak, generator=np.random.default_rng(3)).begin(MATCH, "ada", 4)
    (chance,) = np.random.default_rng(3).spawn(1)
    opponent = BasicOpponent(weak=weak, generator=chance)
    for obs in observations(40):
        assert asyncio.run(policy.act(obs)) == opponent.decide(obs)


def test_matches_of_a_basic_bot_have_a_chance_of_their_own() -> None:
    bot = BasicBot("weak", weak=True, generator=np.random.default_rng(0))
    obs = observations(1)[0]
    actions = [asyncio.run(bot.begin(MATCH, "ada", 4).act(obs)) for _ in range(2)]
    assert actions[0] != actions[1]


def test_a_basic_bot_survives_nan() -> None:
    policy = BasicBot("weak", weak=True, generator=np.random.default_rng(0)).begin(MATCH, "ada", 4)
    assert asyncio.run(policy.act([float("nan")] * 18)) == (0.0, 0.0, 0.0, 0.0)


def test_a_checkpoint_bot_answers_what_its_network_says(bot: CheckpointBot) -> None:
    async def play() -> list[Action]:
        policy = bot.begin(MATCH, "ada", 4)
        return [await policy.act([value, 0.5, -0.5, 0.0] + [0.0] * 14) for value in (0.25, 2.0)]

    assert within(play()) == [(0.25, 0.5, -0.5, 0.0), (1.0, 0.5, -0.5, 0.0)]


def test_one_network_answers_all_matches_together(bot: CheckpointBot, brain: FakeBrain) -> None:
    async def play() -> list[Action]:
        policies = [bot.begin(uuid.UUID(int=number), "ada", 4) for number in range(8)]
        brain.may_think.clear()
        asked = [
            asyncio.ensure_future(policy.act([number / 10] + [0.0] * 17)) for number, policy in enumerate(policies)
        ]
        await asyncio.sleep(0)
        brain.may_think.set()  # while the network was busy, the loop was not
        return await asyncio.gather(*asked)

    assert within(play()) == [pytest.approx((number / 10, 0.0, 0.0, 0.0)) for number in range(8)]
    assert sum(brain.batches) == 8
    assert len(brain.batches) <= 2


def test_a_match_that_ends_while_the_network_thinks(bot: CheckpointBot, brain: FakeBrain) -> None:
    async def play() -> Action:
        policy = bot.begin(MATCH, "ada", 4)
        brain.may_think.clear()
        asked = asyncio.ensure_future(policy.act([0.1] * 18))
        await asyncio.sleep(0)
        asked.cancel()
        policy.close()
        brain.may_think.set()
        return await bot.begin(MATCH, "bob", 4).act([0.2] * 18)

    assert within(play()) == pytest.approx((0.2,) * 4)


def test_an_ended_match_leaves_its_place_in_the_table(bot: CheckpointBot, brain: FakeBrain) -> None:
    async def play() -> None:
        for _ in range(5):
            policy = bot.begin(MATCH, "ada", 4)
            await policy.act([0.1] * 18)
            policy.close()

    within(play())
    bot.stop()
    assert len(brain.open_slots) <= 1


def test_a_network_that_does_not_work_is_refused(brain: FakeBrain) -> None:
    brain.broken = True
    bot = CheckpointBot("fake", brain, np.random.default_rng(0))
    before = threading.active_count()
    with pytest.raises(CheckpointError, match="gives no numbers"):
        bot.start()
    assert threading.active_count() == before


def test_bots_by_name() -> None:
    bots = make_bots(["weak", "strong", "tough=strong"], seed=0)
    assert [bot.name for bot in bots] == ["weak", "strong", "tough"]
    assert make_bots([], seed=0) == []


def test_the_champion_plays() -> None:
    (bot,) = make_bots(["champion"], seed=0)
    bot.start()

    async def play() -> list[Action]:
        policy = bot.begin(MATCH, "ada", 4)
        return [await policy.act(obs) for obs in observations(60)]

    try:
        actions = within(play())
    finally:
        bot.stop()
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
        open_bot_accounts([FakeBot()], store)
        first = store.user("fake")
        open_bot_accounts([FakeBot()], store)
        assert first is not None and first.role == "bot"
        assert store.user("fake") == first
        store.add_user("ada")
        with pytest.raises(ConfigError, match="ada is a player's account"):
            open_bot_accounts([FakeBot("Ada")], store)


def test_the_pool_starts_and_stops_its_bots() -> None:
    bots = [FakeBot("a"), FakeBot("b")]
    pool = BotPool(bots)
    pool.start()
    pool.stop()
    assert [bot.calls for bot in bots] == [["start", "stop"]] * 2


def test_a_bot_that_fails_stops_those_before_it() -> None:
    bots = [FakeBot("a"), FakeBot("b", CheckpointError("broken")), FakeBot("c")]
    with pytest.raises(CheckpointError):
        BotPool(bots).start()
    assert [bot.calls for bot in bots] == [["start", "stop"], ["start"], []]


def test_every_bot_waits() -> None:
    entered: list[Participant] = []
    BotPool([FakeBot("a"), FakeBot("b")]).enter(entered.append)
    assert [one.user for one in entered] == ["a"] * SPARE_PARTICIPANTS + ["b"] * SPARE_PARTICIPANTS
    assert all(one.is_bot for one in entered)


def test_somebody_is_always_waiting_and_plays_match_after_match() -> None:
    bot, entered = FakeBot(), list[Participant]()
    BotPool([bot]).enter(entered.append, spare=2)

    async def play() -> None:
        for taken in range(10):
            assert len(entered) == taken + 2
            await entered[taken].start(MATCH, "ada", 4)
        for one in entered[:10]:
            await one.end(False, 0, 0, None)
        assert await entered[0].ready()
        await entered[0].start(MATCH, "ada", 4)
        assert await entered[0].act([0.0] * 18) == (1.0, 0.0, 0.0, 0.0)
        assert len(entered) == 12, "those that are free again are used again"

    asyncio.run(play())
    assert [policy.closed for policy in bot.policies] == [True] * 10 + [False]
