"""The lobby with participants that need no network: who is told what, in which order, and what is written down."""

import asyncio
import math
import uuid
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from competitor.arena.lobby import Lobby
from competitor.arena.participant import ParticipantLost
from competitor.arena.queries import MatchResult
from competitor.arena.rating import Rating, rate
from competitor.arena.recorder import Recorder
from competitor.engine.session import Action
from competitor.errors import StorageError
from tests.competitor.arena.servers import STILL, Act, FakeParticipant, MemoryStore

LONGEST = 251
NAMES = (("ada", "bob"), ("cyd", "dan"))


def run(check: Callable[[Lobby, MemoryStore], Coroutine[Any, Any, None]], **settings: Any) -> MemoryStore:
    """Play a check in a lobby with a short tick."""

    async def open_servers() -> None:
        lobby = Lobby(store, random=Random(1), **{"rounds": 1, "tick_s": 0.001, **settings})
        ticking = asyncio.create_task(lobby.run())
        try:
            await asyncio.wait_for(check(lobby, store), 30)
        finally:
            ticking.cancel()
            await lobby.close()

    store = MemoryStore()
    asyncio.run(open_servers())
    return store


def match_of(*players: FakeParticipant) -> MatchResult:
    """The match that these two play, which the second one hears the end of."""

    async def check(lobby: Lobby, store: MemoryStore) -> None:
        await meet(lobby, *players)

    (result,) = run(check).results
    return result


async def meet(lobby: Lobby, *players: FakeParticipant) -> None:
    for player in players:
        lobby.enter(player)
    await players[-1].ended.wait()


def lost_at(step_lost: int, reason: Any) -> Act:
    async def act(step: int) -> Action:
        if step == step_lost:
            await asyncio.sleep(0)  # the other one has answered by then
            await asyncio.sleep(0)
            raise ParticipantLost(reason)
        return STILL

    return act


def test_two_players_play_a_match_and_are_asked_before_they_hear_of_its_end() -> None:
    ada, bob = FakeParticipant("ada"), FakeParticipant("bob")

    async def check(lobby: Lobby, store: MemoryStore) -> None:
        lobby.enter(ada)
        lobby.enter(bob)
        await asyncio.gather(ada.ended.wait(), bob.ended.wait())
        assert lobby.matches == [] and lobby.waiting == []

    (result,) = run(check, wall_clock=lambda: 1234.5).results
    for participant, other in ((ada, bob), (bob, ada)):
        assert participant.words == ["ready", "start", "ready", "end"]
        assert participant.heard[1] == ("start", result.match_id, other.user, 1)
        _, won, own, lost, rating = participant.heard[-1]
        assert (won, own, lost) == (False, 0, 0) and rating is not None and participant.steps == LONGEST
    assert set(result.users) == {"ada", "bob"} and result.scores == (0, 0)
    assert (result.ending, result.left_by) == ("played", None)
    assert (result.started_at, result.ended_at) == (1234.5, 1234.5)
    # A draw is a draw, not a win of the first player.
    assert ada.heard[-1][-1] == bob.heard[-1][-1] == rate(Rating(), Rating(), (0, 0))[0].shown


@pytest.mark.parametrize(("reason", "ending"), [("invalid action", "played"), ("timeout", "timeout")])
def test_a_match_counts_when_the_very_last_answer_is_an_invalid_action(reason: Any, ending: str) -> None:
    ada, bob = FakeParticipant("ada", act=lost_at(LONGEST, reason)), FakeParticipant("bob")
    result = match_of(ada, bob)
    assert result.ending == ending and bob.heard[-1][:4] == ("end", False, 0, 0)


def test_a_player_that_fails_is_reported_and_the_other_one_plays_on(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(step: int) -> Action:
        raise ZeroDivisionError

    ada, bob = FakeParticipant("ada", act=broken), FakeParticipant("bob")
    result = match_of(ada, bob)
    assert (result.ending, result.left_by) == ("error", "ada")
    assert "ZeroDivisionError" in caplog.text


def test_an_action_that_the_game_refuses_does_not_hang_the_match(caplog: pytest.LogCaptureFixture) -> None:
    async def wild(step: int) -> Action:
        return math.nan, 0.0, 0.0, 0.0

    ada, bob = FakeParticipant("ada", act=wild), FakeParticipant("bob")
    result = match_of(ada, bob)
    assert result.ending == "error" and "not an action" in caplog.text


def test_who_has_a_rating_that_cannot_be_read_plays_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    ada, bob = FakeParticipant("ada"), FakeParticipant("bob")

    async def check(lobby: Lobby, store: MemoryStore) -> None:
        def refuse(name: str) -> Rating:
            raise StorageError("disk I/O error")

        known, store.rating = store.rating, refuse  # type: ignore[method-assign, assignment]
        lobby.enter(ada)
        lobby.enter(bob)
        while len(lobby.waiting) + 2 * len(lobby.matches) < 2:
            await asyncio.sleep(0)
        store.rating = known  # type: ignore[method-assign]
        await asyncio.gather(ada.ended.wait(), bob.ended.wait())

    (result,) = run(check).results
    assert result.ending == "played" and caplog.text.count("a rating cannot be read") == 2


def test_what_the_disk_refuses_is_said_once_kept_and_written_later_in_order() -> None:
    lines: list[str] = []

    async def check(lobby: Lobby, store: MemoryStore) -> None:
        store.full = True
        for count in (1, 2):
            ada = FakeParticipant("ada")
            await meet(lobby, FakeParticipant("bob"), ada)
            assert ada.heard[-1] == ("end", False, 0, 0, None) and lobby.recorder.waiting == count
        with pytest.raises(StorageError, match="2 finished matches could not be written: .*No space left"):
            lobby.recorder.check()
        store.full = False
        cyd = FakeParticipant("cyd")
        await meet(lobby, FakeParticipant("dan"), cyd)
        assert cyd.heard[-1][-1] == store.rating("cyd").shown and lobby.recorder.waiting == 0
        lobby.recorder.check()

    results = run(check, announce=lines.append).results
    assert [set(result.users) for result in results] == [{"ada", "bob"}] * 2 + [{"cyd", "dan"}]
    assert sum("warning: results cannot be written" in line for line in lines) == 1
    assert sum("not written yet" in line for line in lines) == 2
    assert lines[-1] == "results can be written again: 3 that had to wait are"


def test_a_disk_that_takes_results_again_gets_those_that_wait_without_a_new_match() -> None:
    async def check(lobby: Lobby, store: MemoryStore) -> None:
        store.full = True
        await meet(lobby, FakeParticipant("ada"), FakeParticipant("bob"))
        await lobby.recorder.retry()
        assert store.results == []
        store.full = False
        await lobby.recorder.retry()
        assert len(store.results) == 1

    run(check)


def test_a_result_that_can_never_be_written_does_not_hold_up_those_after_it(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(MemoryStore):
        def save(self, result: MatchResult) -> tuple[Rating, Rating]:
            if "ada" in result.users:
                raise KeyError("ada")
            return super().save(result)

    async def check() -> None:
        store = Forgetful()
        recorder = Recorder(store)
        results = [MatchResult(uuid.uuid4(), users, (1, 0), "played", None, 0.0, 1.0) for users in NAMES]
        assert await recorder.save(results[0]) is None
        assert await recorder.save(results[1]) is not None
        assert store.results == results[1:] and recorder.waiting == 0

    asyncio.run(check())
    assert "cannot be written" in caplog.text


def test_partners_are_drawn_by_what_the_leaderboard_shows_now() -> None:
    """Two who have become far apart wait for each other, one who is new and near does not."""
    far = FakeParticipant("far", games=2)
    ada, bob = FakeParticipant("ada"), FakeParticipant("bob", games=2)

    async def check(lobby: Lobby, store: MemoryStore) -> None:
        store.ratings["far"] = Rating(mu=90.0, sigma=1.0)
        for participant in (far, ada):
            lobby.enter(participant)
        while len(lobby.waiting) < 2:
            await asyncio.sleep(0)
        lobby.tick()
        assert lobby.matches == []
        lobby.enter(bob)
        while bob not in lobby.waiting:
            await asyncio.sleep(0)
        lobby.tick()
        (match,) = lobby.matches
        assert set(match.users) == {"ada", "bob"}

    run(check, tick_s=3600.0)
