"""The hall with seats that need no network: who is told what, in which order, and what is written down."""

from __future__ import annotations

import asyncio
import errno
import math
import uuid
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import pytest

from competitor.arena.hall import CLOSED, Hall
from competitor.arena.rating import Rating, rate
from competitor.arena.recorder import Recorder
from competitor.arena.seat import Action, SeatLost
from competitor.arena.store import MatchResult
from competitor.errors import StorageError

STILL: Action = (0.0, 0.0, 0.0, 0.0)
LONGEST = 251
NAMES = (("ada", "bob"), ("cyd", "dan"))
Act = Callable[[int], Coroutine[Any, Any, Action]]


class FakeBook:
    """Keeps results in memory, rated as the store does."""

    def __init__(self) -> None:
        self.results: list[MatchResult] = []
        self.ratings: dict[str, Rating] = {}
        self.full = False

    def rating(self, name: str) -> Rating:
        return self.ratings.get(name, Rating())

    def save(self, result: MatchResult) -> tuple[Rating, Rating]:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", "arena.sqlite")
        self.results.append(result)
        first, second = (self.rating(name) for name in result.users)
        if result.ending == "played":
            first, second = rate(first, second, result.scores)
            self.ratings.update(zip(result.users, (first, second), strict=True))
        return first, second


async def still(step: int) -> Action:
    await asyncio.sleep(0)
    return STILL


class FakeSeat:
    """A player who writes down what he is told and wants `games` matches."""

    def __init__(self, user: str, *, games: int = 1, act: Act = still, is_bot: bool = False) -> None:
        self.user, self.is_bot = user, is_bot
        self.heard: list[tuple[Any, ...]] = []
        self.ended = asyncio.Event()
        self._games, self._act = games, act
        self.steps = 0

    async def ready(self) -> bool:
        self.heard.append(("ready",))
        self._games -= 1
        await asyncio.sleep(0)
        return self._games >= 0

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        self.heard.append(("start", match_id, opponent, rounds))
        self.steps = 0

    async def act(self, obs: Sequence[float]) -> Action:
        assert len(obs) == 18
        self.steps += 1
        return await self._act(self.steps)

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        self.heard.append(("end", result, own, other, rating))
        self.ended.set()

    @property
    def words(self) -> list[str]:
        return [said[0] for said in self.heard]


def run(scene: Callable[[Hall, FakeBook], Coroutine[Any, Any, None]], **settings: Any) -> FakeBook:
    """Play a scene in a hall with a short tick."""

    async def staged() -> None:
        hall = Hall(book, random=Random(1), **{"rounds": 1, "tick_s": 0.001, **settings})
        ticking = asyncio.create_task(hall.run())
        try:
            await asyncio.wait_for(scene(hall, book), 30)
        finally:
            ticking.cancel()
            await hall.close()

    book = FakeBook()
    asyncio.run(staged())
    return book


def never() -> Act:
    async def wait(step: int) -> Action:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("cannot happen")

    return wait


def lost_at(step_lost: int, reason: Any) -> Act:
    async def act(step: int) -> Action:
        if step == step_lost:
            await asyncio.sleep(0.002)  # the other one has answered by then
            raise SeatLost(reason)
        return STILL

    return act


def test_two_players_play_a_match_and_are_asked_before_they_hear_of_its_end() -> None:
    ada, bob = FakeSeat("ada"), FakeSeat("bob")

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        await asyncio.gather(ada.ended.wait(), bob.ended.wait())
        assert hall.matches == [] and hall.waiting == []

    (result,) = run(scene, wall_clock=lambda: 1234.5).results
    for seat, other in ((ada, bob), (bob, ada)):
        assert seat.words == ["ready", "start", "ready", "end"]
        assert seat.heard[1] == ("start", result.match_id, other.user, 1)
        _, won, own, lost, rating = seat.heard[-1]
        assert (won, own, lost) == (False, 0, 0) and rating is not None and seat.steps == LONGEST
    assert set(result.users) == {"ada", "bob"} and result.scores == (0, 0)
    assert (result.ending, result.left_by) == ("played", None)
    assert (result.started_at, result.ended_at) == (1234.5, 1234.5)
    # A draw is a draw, not a win of the first player.
    assert ada.heard[-1][-1] == bob.heard[-1][-1] == rate(Rating(), Rating(), (0, 0))[0].shown


class Greedy(FakeSeat):
    """Runs after the puck."""

    async def act(self, obs: Sequence[float]) -> Action:
        await asyncio.sleep(0)
        force_x, force_y = (max(-1.0, min(1.0, 4.0 * (obs[12 + axis] - obs[axis]))) for axis in (0, 1))
        return force_x, force_y, 0.0, 1.0


def test_the_winner_is_told_so() -> None:
    async def scene(hall: Hall, book: FakeBook) -> None:
        own = other = 0
        while own == other:
            ada, bob = Greedy("ada"), FakeSeat("bob")
            hall.enter(ada)
            hall.enter(bob)
            await asyncio.gather(ada.ended.wait(), bob.ended.wait())
            _, won, own, other, rating = ada.heard[-1]
        assert won is (own > other)
        assert bob.heard[-1][:4] == ("end", other > own, other, own)
        assert (rating > bob.heard[-1][4]) is (own > other)

    book = run(scene, rounds=2)
    assert max(book.results[-1].scores) > 0


def test_players_go_on_until_they_are_not_ready() -> None:
    ada, bob = FakeSeat("ada", games=3), FakeSeat("bob", games=5)

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        while ada.words.count("end") < 3 or hall.waiting != [bob]:
            await asyncio.sleep(0.001)

    book = run(scene)
    assert ada.words == ["ready"] + ["start", "ready", "end"] * 3
    assert len({result.match_id for result in book.results}) == 3


def test_one_user_is_never_matched_with_himself_and_bots_wait_for_people() -> None:
    async def scene(hall: Hall, book: FakeBook) -> None:
        seats = [FakeSeat("ada"), FakeSeat("ada"), FakeSeat("weak", is_bot=True), FakeSeat("strong", is_bot=True)]
        for seat in seats[2:]:
            hall.enter(seat)
        while len(hall.waiting) < 2:
            await asyncio.sleep(0)
        for _ in range(20):
            hall.tick()
        assert hall.matches == []
        for seat in seats[:2]:
            hall.enter(seat)
        await asyncio.gather(*(seat.ended.wait() for seat in seats))

    book = run(scene)
    assert len(book.results) == 2
    assert all("ada" in result.users and set(result.users) & {"weak", "strong"} for result in book.results)


def test_many_matches_run_at_once_and_a_slow_one_holds_nobody_up() -> None:
    async def scene(hall: Hall, book: FakeBook) -> None:
        slow = [FakeSeat("slow", act=never()), FakeSeat("fast 0")]
        fast = [FakeSeat(f"fast {number}") for number in range(1, 31)]
        for seat in (*slow, *fast):
            hall.enter(seat)
        while len(book.results) < 15 or len(hall.matches) > 1:
            await asyncio.sleep(0.001)
        (match,) = hall.matches
        assert "slow" in match.users and not match.played and match.game.round == 1

    book = run(scene)
    assert len(book.results) == 16 and book.results[-1].ending == CLOSED


@pytest.mark.parametrize("reason", ["disconnected", "timeout", "invalid action"])
def test_who_is_lost_ends_the_match_for_the_other_one(reason: Any) -> None:
    ada, bob = FakeSeat("ada", act=lost_at(20, reason)), FakeSeat("bob", games=2)

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        await bob.ended.wait()
        hall.leave(ada)
        while hall.waiting != [bob]:
            await asyncio.sleep(0)

    (result,) = run(scene).results
    assert (result.ending, result.left_by) == (reason, "ada")
    assert bob.words == ["ready", "start", "ready", "end"]
    assert bob.heard[-1][:4] == ("end", False, 0, 0)


def test_a_player_who_leaves_after_his_answer_ends_the_match_at_once() -> None:
    ada, bob = FakeSeat("ada"), FakeSeat("bob", act=never())

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        while ada.steps == 0 or bob.steps == 0:
            await asyncio.sleep(0)
        hall.leave(ada)
        hall.leave(ada)
        await bob.ended.wait()

    (result,) = run(scene).results
    assert (result.ending, result.left_by) == ("disconnected", "ada")
    assert ada.words == ["ready", "start"] and bob.heard[-1][:4] == ("end", False, 0, 0)


@pytest.mark.parametrize(("reason", "ending"), [("invalid action", "played"), ("timeout", "timeout")])
def test_a_match_counts_when_the_very_last_answer_is_an_invalid_action(reason: Any, ending: str) -> None:
    ada, bob = FakeSeat("ada", act=lost_at(LONGEST, reason)), FakeSeat("bob")

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        await bob.ended.wait()

    (result,) = run(scene).results
    assert result.ending == ending and bob.heard[-1][:4] == ("end", False, 0, 0)


def test_a_player_that_fails_is_reported_and_the_other_one_plays_on(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(step: int) -> Action:
        raise ZeroDivisionError

    ada, bob = FakeSeat("ada", act=broken), FakeSeat("bob")

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        await bob.ended.wait()

    (result,) = run(scene).results
    assert (result.ending, result.left_by) == ("error", "ada")
    assert "ZeroDivisionError" in caplog.text


def test_an_action_that_the_game_refuses_does_not_hang_the_match(caplog: pytest.LogCaptureFixture) -> None:
    async def wild(step: int) -> Action:
        return math.nan, 0.0, 0.0, 0.0

    ada, bob = FakeSeat("ada", act=wild), FakeSeat("bob")

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        await bob.ended.wait()

    (result,) = run(scene).results
    assert result.ending == "error" and "not an action" in caplog.text


def test_what_the_disk_refuses_is_said_once_kept_and_written_later_in_order() -> None:
    lines: list[str] = []

    async def scene(hall: Hall, book: FakeBook) -> None:
        book.full = True
        for count in (1, 2):
            ada, bob = FakeSeat("ada"), FakeSeat("bob")
            hall.enter(ada)
            hall.enter(bob)
            await asyncio.gather(ada.ended.wait(), bob.ended.wait())
            assert ada.heard[-1] == ("end", False, 0, 0, None) and hall.recorder.waiting == count
        with pytest.raises(StorageError, match="2 finished matches could not be written: .*No space left"):
            hall.recorder.check()
        book.full = False
        cyd, dan = FakeSeat("cyd"), FakeSeat("dan")
        hall.enter(cyd)
        hall.enter(dan)
        await asyncio.gather(cyd.ended.wait(), dan.ended.wait())
        assert cyd.heard[-1][-1] == book.rating("cyd").shown and hall.recorder.waiting == 0
        hall.recorder.check()

    results = run(scene, announce=lines.append).results
    assert [set(result.users) for result in results] == [{"ada", "bob"}] * 2 + [{"cyd", "dan"}]
    assert sum("warning: results cannot be written" in line for line in lines) == 1
    assert sum("not written yet" in line for line in lines) == 2
    assert lines[-1] == "results can be written again: 3 that had to wait are"


def test_a_disk_that_takes_results_again_gets_those_that_wait_without_a_new_match() -> None:
    async def scene(hall: Hall, book: FakeBook) -> None:
        book.full = True
        ada, bob = FakeSeat("ada"), FakeSeat("bob")
        hall.enter(ada)
        hall.enter(bob)
        await ada.ended.wait()
        await hall.recorder.retry()
        assert book.results == []
        book.full = False
        await hall.recorder.retry()
        assert len(book.results) == 1

    run(scene)


def test_a_result_that_can_never_be_written_does_not_hold_up_those_after_it(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(FakeBook):
        def save(self, result: MatchResult) -> tuple[Rating, Rating]:
            if "ada" in result.users:
                raise KeyError("ada")
            return super().save(result)

    async def scene() -> None:
        book = Forgetful()
        recorder = Recorder(book)
        results = [MatchResult(uuid.uuid4(), users, (1, 0), "played", None, 0.0, 1.0) for users in NAMES]
        assert await recorder.save(results[0]) is None
        assert await recorder.save(results[1]) is not None
        assert book.results == results[1:] and recorder.waiting == 0

    asyncio.run(scene())
    assert "cannot be written" in caplog.text


def test_who_leaves_the_queue_is_not_matched_and_withdrawing_never_breaks_a_match() -> None:
    ada, bob, cyd = FakeSeat("ada"), FakeSeat("bob", act=never()), FakeSeat("cyd", act=never())

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        while hall.waiting != [ada]:
            await asyncio.sleep(0)
        assert hall.withdraw(ada)
        hall.enter(bob)
        hall.enter(cyd)
        while not cyd.steps:
            await asyncio.sleep(0)
        assert not hall.withdraw(cyd) and len(hall.matches) == 1

    run(scene)
    assert ada.words == ["ready"]


def test_closing_tells_nobody_anything_and_blames_nobody() -> None:
    ada, bob, cyd = FakeSeat("ada", act=never()), FakeSeat("bob"), FakeSeat("cyd")

    async def scene(hall: Hall, book: FakeBook) -> None:
        hall.enter(ada)
        hall.enter(bob)
        while not bob.steps:
            await asyncio.sleep(0)
        hall.enter(cyd)
        await hall.close()
        hall.enter(FakeSeat("dan"))
        assert hall.matches == [] and hall.waiting == []

    (result,) = run(scene).results
    assert (result.ending, result.left_by) == (CLOSED, None)
    assert ada.words == bob.words == ["ready", "start"] and cyd.words == []


def test_partners_are_drawn_by_what_the_leaderboard_shows_now() -> None:
    """Two who have become far apart wait for each other, one who is new and near does not."""
    far = FakeSeat("far", games=2)
    ada, bob = FakeSeat("ada"), FakeSeat("bob", games=2)

    async def scene(hall: Hall, book: FakeBook) -> None:
        book.ratings["far"] = Rating(mu=90.0, sigma=1.0)
        for seat in (far, ada):
            hall.enter(seat)
        while len(hall.waiting) < 2:
            await asyncio.sleep(0)
        hall.tick()
        assert hall.matches == []
        hall.enter(bob)
        while bob not in hall.waiting:
            await asyncio.sleep(0)
        hall.tick()
        (match,) = hall.matches
        assert set(match.users) == {"ada", "bob"}

    run(scene, tick_s=3600.0)
