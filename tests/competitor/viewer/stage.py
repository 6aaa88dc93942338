"""Games whose steps, and what is heard from the page, are in the test's hands."""

import asyncio
import json
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competitor.errors import PlayerError
from competitor.viewer.human_game import RoundKeeper
from competitor.viewer.play_page import PlayPage, PlaySetup
from tests.browser import TIMEOUT_S

SEED = 5
GOAL = ((None, 5), ("ArrowRight", 12), ("KeyA", 3), ("Space", 4), (None, 3))
"""Keys, and for how many steps: with SEED the puck lies in front of the left racket, and is shot past a still one."""
ACTIONS = {None: (0, 0, 0, 0), "ArrowRight": (1, 0, 0, 0), "KeyA": (0, 0, 1, 0), "Space": (0, 0, 0, 1)}


class Still:
    """A player who does nothing."""

    name = "still"

    def reset(self, slots: int) -> None: ...

    def act(self, obs: Any, is_first: Any) -> Any:
        return np.zeros((len(obs), 4), np.float32)


class Broken(Still):
    """A player who fails."""

    name = "broken"

    def act(self, obs: Any, is_first: Any) -> Any:
        raise PlayerError("broken cannot play")


class Steps:
    """A pace: nothing happens until `advance` lets so many steps happen, and returns when they have."""

    def __init__(self) -> None:
        self._left, self._more, self._none = 0, asyncio.Event(), asyncio.Event()

    async def __call__(self, step_s: float) -> None:
        while not self._left:
            self._none.set()
            self._more.clear()
            await self._more.wait()
        self._left -= 1

    async def advance(self, steps: int, wait: bool) -> None:
        self._none.clear()
        self._left += steps
        self._more.set()
        if wait:
            await self._none.wait()


class Stage:
    """A setup whose steps, and what is heard from the page, are in the test's hands."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paces: list[Steps] = []
        self.heard: list[dict[str, Any]] = []
        self._news = threading.Condition()
        players = {"still": Still(), "broken": Broken()}
        keeper, chance = RoundKeeper(folder, "me"), np.random.default_rng(SEED)
        self.setup = PlaySetup(["still", "weak", "broken", "nobody"], players, keeper, "me", chance, self._pace)
        hear = PlayPage.hear

        def listening(games: PlayPage, text: str) -> None:
            hear(games, text)
            with self._news:
                self.heard.append(json.loads(text))
                self._news.notify_all()

        monkeypatch.setattr(PlayPage, "hear", listening)

    def _pace(self) -> Steps:
        self.paces.append(Steps())
        return self.paces[-1]

    def wait_for(self, said: dict[str, Any]) -> None:
        """Wait until this was the last thing that the page has said."""
        with self._news:
            assert self._news.wait_for(lambda: self.heard[-1:] == [said], TIMEOUT_S), self.heard

    def advance(self, loop: asyncio.AbstractEventLoop, steps: int, *, wait: bool = True) -> None:
        """Let so many steps happen; wait: until the game asks for the next one."""
        waiting: Future[None] = asyncio.run_coroutine_threadsafe(self.paces[-1].advance(steps, wait), loop)
        waiting.result(TIMEOUT_S)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path / "rounds", monkeypatch)
