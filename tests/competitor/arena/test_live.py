"""Live boards: every step reaches who keeps up, and who does not costs nothing but what he misses."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from competitor.arena.live import (
    MOST_OF_ONE_ADDRESS,
    MOST_WAITING,
    MOST_WATCHERS,
    PLACES,
    Broadcast,
    TooManyWatchers,
    Watcher,
)
from competitor.arena.lobby import Lobby
from competitor.arena.match import Match
from competitor.viewer.frames import frames_of
from tests.competitor.arena.servers import STILL, FakeParticipant, MemoryStore

Event = tuple[str, dict[str, Any]]


class Scenario:
    """A lobby whose players take a step only when they may, and its boards, which tick when the test says so."""

    def __init__(self, rounds: int) -> None:
        self.lobby = Lobby(MemoryStore(), random=Random(3), rounds=rounds, tick_s=0.001)
        self.broadcast = Broadcast(self.lobby)
        self._may_step = asyncio.Condition()
        self._steps = 0

    async def begin(self, *names: str) -> Match:
        """A match of these two."""
        count = len(self.lobby.matches)
        for name in names:
            self.lobby.enter(FakeParticipant(name, act=self._act))
        while len(self.lobby.matches) == count:
            await asyncio.sleep(0)
        return self.lobby.matches[-1]

    async def play_to(self, match: Match, steps: int) -> None:
        """Let all matches go on to this step, and wait until this one has come there or is over."""
        async with self._may_step:
            self._steps = steps
            self._may_step.notify_all()
        while match.game.log.steps < steps and match in self.lobby.matches:
            await asyncio.sleep(0)

    async def tick(self, watcher: Watcher) -> list[Event]:
        """What a watcher gets after a tick, those of the places where nothing is played left out."""
        self.broadcast.tick()
        return [one for one in await drained(watcher) if one[0] != "clear"]

    async def _act(self, step: int) -> Any:
        async with self._may_step:
            await self._may_step.wait_for(lambda: step <= self._steps)
        return STILL


async def drained(watcher: Watcher) -> list[Event]:
    events = []
    while (text := (await watcher.next(0)).decode()) != ":\n\n":
        kind, data = text.removesuffix("\n\n").split("\n")
        events.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def in_scenario(rounds: int = 1) -> Callable[[Callable[[Scenario], Coroutine[Any, Any, None]]], Callable[[], None]]:
    """Play a test that takes a scenario."""

    def wrap(test: Callable[[Scenario], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        async def play() -> None:
            scenario = Scenario(rounds)
            ticking = asyncio.create_task(scenario.lobby.run())
            try:
                await asyncio.wait_for(test(scenario), 30)
            finally:
                ticking.cancel()
                await scenario.lobby.close()

        return lambda: asyncio.run(play())

    return wrap


@in_scenario()
async def test_a_page_sees_a_match_from_its_first_step_to_its_last(scenario: Scenario) -> None:
    match = await scenario.begin("ada", "bob")
    frames: list[list[float]] = []
    kinds = []
    with scenario.broadcast.watching("here", PLACES) as watcher:
        for steps in (0, 3, 4, 250, 300):
            await scenario.play_to(match, steps)
            for kind, data in await scenario.tick(watcher):
                kinds.append(kind)
                if kind == "begin":
                    assert data["names"] == list(match.users) and (data["number"], data["of"]) == (1, 1)
                    assert (data["board"], data["match"]) == ("1", str(match.match_id))
                    frames = data["round"]["frames"]
                elif kind == "push":
                    frames += data["frames"]
                    assert [len(each) for each in data["actions"]] == [len(data["frames"])] * 2
                elif kind == "end":
                    assert data["winner"] == 0
    assert kinds == ["begin", "changed", "push", "push", "push", "push", "end", "over", "changed"]
    assert frames == frames_of(match.game.log.round(0).views) and len(frames) == 252


@in_scenario(rounds=2)
async def test_rounds_follow_each_other_and_who_comes_later_begins_in_the_middle(scenario: Scenario) -> None:
    match = await scenario.begin("ada", "bob")
    boards = (str(match.match_id),)
    with scenario.broadcast.watching("here", boards) as early:
        await scenario.tick(early)
        await scenario.play_to(match, 255)
        assert [kind for kind, _ in await scenario.tick(early)] == ["push", "end", "begin"]
        await scenario.play_to(match, 260)
        with scenario.broadcast.watching("there", boards) as late:
            scenario.broadcast.tick()
            ((kind, begin),) = await drained(late)
            assert (kind, begin["number"], len(begin["round"]["frames"])) == ("begin", 2, 10)
            ((kind, push),) = await drained(early)
            assert (kind, push["frames"]) == ("push", begin["round"]["frames"][5:])
            assert begin["round"]["score"] == [0, 0] and begin["round"]["winner"] is None


@in_scenario()
async def test_a_page_that_does_not_read_misses_steps_and_costs_a_bounded_queue(scenario: Scenario) -> None:
    match = await scenario.begin("ada", "bob")
    with (
        scenario.broadcast.watching("here", (str(match.match_id),)) as stuck,
        scenario.broadcast.watching("here", (str(match.match_id),)) as other,
    ):
        for steps in range(1, 3 * MOST_WAITING):
            await scenario.play_to(match, steps)
            assert await scenario.tick(other) != []  # the others miss nothing
        waiting = await drained(stuck)
        assert len(waiting) == MOST_WAITING
        scenario.broadcast.tick()
        ((kind, begin),) = await drained(stuck)
        assert (kind, len(begin["round"]["frames"])) == ("begin", 3 * MOST_WAITING)


@in_scenario()
async def test_the_places_show_one_match_each_and_the_next_one_when_it_is_over(scenario: Scenario) -> None:
    for number in range(5):
        await scenario.begin(f"ada{number}", f"bob{number}")
    first, *_, last = scenario.lobby.matches
    with scenario.broadcast.watching("here", PLACES) as watcher:
        begun = [data for kind, data in await scenario.tick(watcher) if kind == "begin"]
        assert [data["board"] for data in begun] == list(PLACES)
        assert [data["match"] for data in begun] == [str(match.match_id) for match in scenario.lobby.matches[:4]]
        first.break_off(None, "test")
        while first in scenario.lobby.matches:
            await asyncio.sleep(0)
        over = await scenario.tick(watcher)
        assert ("over", {"board": "1", "match": str(first.match_id)}) in over
        begin = dict(await scenario.tick(watcher))["begin"]
        assert (begin["board"], begin["match"]) == ("1", str(last.match_id))


@in_scenario()
async def test_a_board_without_a_match_is_clear(scenario: Scenario) -> None:
    with scenario.broadcast.watching("here", ("00000000-0000-0000-0000-000000000000",)) as watcher:
        scenario.broadcast.tick()
        assert [kind for kind, _ in await drained(watcher)] == ["clear"]
        scenario.broadcast.tick()
        assert await drained(watcher) == []


@in_scenario()
async def test_pages_that_watch_are_bounded_and_their_places_given_back(scenario: Scenario) -> None:
    def fill(address: str, count: int) -> None:
        for _ in range(count):
            entered = scenario.broadcast.watching(address, PLACES)
            entered.__enter__()
            open_ones.append(entered)

    open_ones: list[Any] = []
    fill("here", MOST_OF_ONE_ADDRESS)
    with pytest.raises(TooManyWatchers):
        fill("here", 1)
    fill("there", MOST_OF_ONE_ADDRESS)
    fill("yonder", MOST_WATCHERS - 2 * MOST_OF_ONE_ADDRESS)
    with pytest.raises(TooManyWatchers):
        fill("elsewhere", 1)
    open_ones.pop().__exit__(None, None, None)
    fill("elsewhere", 1)
