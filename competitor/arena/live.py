"""Matches in play as server-sent events, for any number of pages and at no cost for the matches.

A tick encodes what was played since the last one, once for all who watch; a page that does not keep up misses frames
and begins anew with the round as it stands. The more boards are watched, the rarer the ticks.

=========  ==========================================================  =============================================
event      data                                                        when
=========  ==========================================================  =============================================
begin      board, match, names, users, number, of, round               a round begins, or this page begins with it
push       board, frames, actions                                      steps that were played since
end        board, winner                                               the round is over
over       board, match                                                the match is over
clear      board                                                       nothing is played there
changed    nothing                                                     a match began or ended: tables are out of date
=========  ==========================================================  =============================================

`round`, `frames`, `actions` and `winner` are those of <rink-viewer>. A board is a match, or one of PLACES on the first
page where one match after the other is shown.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from competitor.arena.lobby import Lobby
from competitor.arena.match import Match
from competitor.viewer.frames import frames_of, round_json, rounded

PLACES = ("1", "2", "3", "4")
MOST_WATCHERS, MOST_OF_ONE_ADDRESS = 100, 40  # pages that are open at once; a class behind one router has one address
MOST_WAITING = 16  # events for one page; a round that a page begins with has 25 kB at most
TICK_S = 0.1
BOARD_S = 0.02
"""Between two ticks for each board that is watched: a board costs 0.3 ms, so all of them cost some 2 % of a core."""


class TooManyWatchers(Exception):
    """No more pages may watch, from this address or at all."""


class Watcher:
    """A page that watches some boards; what it has not taken yet is bounded."""

    def __init__(self, address: str, boards: Sequence[str]) -> None:
        self.address, self.boards = address, boards
        self._behind = set(boards)
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)

    def offer(self, board: Board) -> None:
        """What is new on a board, or all of its round if this page has missed something."""
        missed = board.key in self._behind
        self._behind.discard(board.key)
        for event in [board.whole()] if missed else board.news:
            if not self.tell(event):
                self._behind.add(board.key)

    def tell(self, event: bytes) -> bool:
        """Send an event; False if too many wait already."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True

    async def next(self, timeout_s: float) -> bytes:
        """The next event, or when there is none for so long a comment, as a sign of life; empty: the end."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._waiting.get()
        except TimeoutError:
            return b":\n\n"


class Board:
    """Shows one match, step by step. `news`: the events of the last tick."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.match: Match | None = None
        self.news: list[bytes] = []
        self._event = partial(event, board=key)
        self._round, self._sent = -1, 0

    def show(self, match: Match | None) -> None:
        """From the next tick on show this match."""
        self.match, self._round, self._sent = match, -1, 0

    def advance(self, in_play: bool) -> None:
        """What was played since the last tick becomes `news`. in_play: the match goes on."""
        self.news = []
        if self.match is None:
            return
        self._finish_round()
        last = self.match.game.log.rounds - 1
        if self._round != last:  # rounds that began and ended in between are left out
            self._round, self._sent = last, len(self.match.game.log.round(last).actions)
            self.news.append(self.whole())
        if not in_play:
            self.news.append(self._event("over", match=str(self.match.match_id)))
            self.show(None)

    def whole(self) -> bytes:
        """The round as far as it was shown."""
        if self.match is None:
            return self._event("clear")
        game, steps = self.match.game, self.match.game.log.round(max(0, self._round))
        shown = round_json(
            steps.views[: self._sent + 1],
            (steps.actions[: self._sent, 0], steps.actions[: self._sent, 1]),
            steps.winner if self._sent == len(steps.actions) else None,
            steps.score,
        )
        names, number = list(self.match.users), max(0, self._round) + 1
        match = str(self.match.match_id)
        return self._event("begin", match=match, names=names, number=number, of=game.rounds, round=shown)

    def _finish_round(self) -> None:
        """The steps of the round that was shown, and its end if it is over."""
        if self.match is None or self._round < 0:
            return
        steps = self.match.game.log.round(self._round, skip=self._sent)
        if len(steps.actions):
            self._sent += len(steps.actions)
            frames = frames_of(steps.views[1:])
            actions = [rounded(steps.actions[:, side]) for side in (0, 1)]
            self.news.append(self._event("push", frames=frames, actions=actions))
            if steps.winner is not None:
                self.news.append(self._event("end", winner=steps.winner))


class Broadcast:
    """All boards and all who watch; `run` it beside the lobby."""

    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby
        self._boards: dict[str, Board] = {}
        self._watchers: dict[Watcher, None] = {}
        self._changes = lobby.changes

    @contextmanager
    def watching(self, address: str, boards: Sequence[str]) -> Iterator[Watcher]:
        """A page watches boards: PLACES, or the id of a match. Raises TooManyWatchers."""
        of_address = Counter(watcher.address for watcher in self._watchers)[address]
        if len(self._watchers) >= MOST_WATCHERS or of_address >= MOST_OF_ONE_ADDRESS:
            raise TooManyWatchers
        watcher = Watcher(address, boards)
        self._watchers[watcher] = None
        try:
            yield watcher
        finally:
            del self._watchers[watcher]

    def close(self) -> None:
        """End all streams."""
        for watcher in self._watchers:
            watcher.tell(b"")

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(max(TICK_S, BOARD_S * len(self._watched())))
            self.tick()

    def tick(self) -> None:
        """Send what is new to all who watch."""
        playing = {str(match.match_id): match for match in self._lobby.matches}
        watched = self._watched()
        self._boards = {key: self._boards.get(key) or Board(key) for key in watched}
        self._assign(playing)
        for key, board in self._boards.items():
            board.advance(board.match is not None and str(board.match.match_id) in playing)
            for watcher in self._watchers:
                if key in watcher.boards:
                    watcher.offer(board)
        if self._changes != self._lobby.changes:
            self._changes = self._lobby.changes
            for watcher in self._watchers:
                watcher.tell(event("changed"))

    def _watched(self) -> dict[str, None]:
        return {key: None for watcher in self._watchers for key in watcher.boards}

    def _assign(self, playing: dict[str, Match]) -> None:
        """Give each board that shows nothing its match, or a place the oldest match that is not shown yet."""
        shown = {board.match for key, board in self._boards.items() if key in PLACES}
        rest = [match for match in playing.values() if match not in shown]
        for key, board in self._boards.items():
            if board.match is None and (match := playing.get(key) or (rest.pop(0) if key in PLACES and rest else None)):
                board.show(match)


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
