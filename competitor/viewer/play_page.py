"""The page of `play`: a person plays against an agent in the browser, over a WebSocket.

==========  =================================================================================================
GET /       the page
GET /play   the WebSocket of the game: JSON messages, an object each

from the page   {"action": [push x, push y, turn, shoot]}  as directions on the screen; holds until the next one
                {"opponent": NAME}, {"side": 0 left or 1 right}   begins a new game
                {"speed": 0.5}, {"paused": true}
to the page     {"welcome": {opponents, opponent, side, folder}}, {"begin" | "push" | "end": as <rink-viewer> takes it}
                {"kept": FILE}, {"error": LINE}, {"stopped": LINE}   the game waits to be told to go on
==========  =================================================================================================
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from competitor.errors import CompetitorError, message
from competitor.play.rounds import Round
from competitor.players import Player, make_player
from competitor.rink.constants import TIME_STEP
from competitor.viewer.frames import Json
from competitor.viewer.human_game import IDLE, HumanGame, RoundKeeper
from competitor.viewer.web import new_app, page
from dreamer.errors import DreamerError

BREAK_STEPS = 50  # between two rounds: time to see the result and to take the hands back to where they were
MOST_LATE_STEPS = 3
MOST_MESSAGE_BYTES = 1000
HEARTBEAT_S = 20.0
Pace = Callable[[float], Awaitable[None]]  # waits until the next step is due, so many seconds after the one before
Number = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]


class PageMessage(BaseModel):
    """What the page says; see the top of this module."""

    model_config = ConfigDict(extra="forbid")

    action: tuple[Number, Number, Number, Number] | None = None
    opponent: str | None = None
    side: Literal[0, 1] | None = None
    speed: Annotated[float, Field(ge=0.1, le=2.0)] | None = None
    paused: bool | None = None


class ClockPace:
    """A pace by the clock. What is late is made up for, but after a longer pause nobody has to react twice as fast."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._clock, self._sleep, self._due = clock, sleep, 0.0

    async def __call__(self, step_s: float) -> None:
        """Wait until `step_s` seconds after the last step."""
        now = self._clock()
        self._due += step_s
        if now - self._due > MOST_LATE_STEPS * step_s:
            self._due = now
        await self._sleep(max(0.0, self._due - now))


@dataclass
class PlaySetup:
    """What all games of a process have in common. opponents: names of players that the page may choose from.

    players: those that are loaded already; chance: of the rounds; pace: makes the pace of a game.
    """

    opponents: list[str]
    players: dict[str, Player]
    keeper: RoundKeeper
    person: str
    chance: np.random.Generator
    pace: Callable[[], Pace] = ClockPace

    async def player(self, name: str) -> Player:
        """The player of that name; raises CompetitorError or DreamerError when it cannot be made."""
        if name not in self.players:
            seed = int(self.chance.integers(2**31))
            self.players[name] = await asyncio.to_thread(make_player, name, seed=seed)
        return self.players[name]


class PlayPage:
    """One page's games: what the page says goes in by `hear`, `run` plays and sends."""

    def __init__(self, setup: PlaySetup, send: Callable[[Json], Awaitable[None]]) -> None:
        self._setup, self._send, self._pace = setup, send, setup.pace()
        self.opponent, self.side, self.speed = setup.opponents[0], 0, 1.0
        self.action: tuple[float, float, float, float] = IDLE
        self._game: HumanGame | None = None
        self._rest = 0
        self._paused = True
        self._asked = asyncio.Event()

    def hear(self, text: str) -> None:
        """Do what the page says; raises ValueError for what is no message."""
        said = PageMessage.model_validate_json(text)
        if said.opponent is not None and said.opponent not in self._setup.opponents:
            raise ValueError("unknown opponent")
        if said.opponent is not None or said.side is not None:
            self.opponent = self.opponent if said.opponent is None else said.opponent
            self.side = self.side if said.side is None else said.side
            self._game = None
        self.action = said.action or self.action
        self.speed = said.speed or self.speed
        self._paused = self._paused if said.paused is None else said.paused
        if {"opponent", "side", "paused"} & said.model_fields_set:
            self._asked.set()

    async def run(self) -> None:
        """Play until cancelled. What goes wrong is told to the page; another opponent may do better."""
        setup = self._setup
        chosen = {"opponents": setup.opponents, "opponent": self.opponent, "side": self.side}
        await self._send({"welcome": chosen | {"folder": str(setup.keeper.folder)}})
        while True:
            try:
                if self._game is None:
                    await self._new_game()
                elif self._paused:
                    self._asked.clear()
                    await self._asked.wait()
                else:
                    await self._step(self._game)
            except (CompetitorError, DreamerError) as error:
                self._game, self._paused = None, True
                self._asked.clear()
                await self._send({"stopped": message(error)})
                await self._asked.wait()

    async def _new_game(self) -> None:
        asked = self.opponent, self.side
        opponent = await self._setup.player(self.opponent)
        if asked == (self.opponent, self.side):  # nothing else was chosen in the meantime
            game = HumanGame(opponent, name=self._setup.person, side=self.side, chance=self._setup.chance)
            self._game, self._rest = game, 0
            await self._send({"begin": game.begin()})

    async def _step(self, game: HumanGame) -> None:
        await self._pace(TIME_STEP / self.speed)
        if self._paused or game is not self._game:  # since the last step
            return
        if self._rest:
            self._rest -= 1
            if not self._rest:
                await self._send({"begin": game.begin()})
            return
        step = game.step(self.action)
        await self._send({"push": step.push})
        if step.ended is not None:
            self._rest = BREAK_STEPS
            await self._send({"end": {"winner": step.ended.winner}})
            await self._keep(step.ended)

    async def _keep(self, played: Round) -> None:
        try:
            path = await asyncio.to_thread(self._setup.keeper.keep, played)
            await self._send({"kept": path.name})
        except OSError as error:
            await self._send({"error": f"the round is not kept: {message(error)}"})


def play_app(setup: PlaySetup, token: str) -> web.Application:
    """The application in which who has the token plays, in the window that was opened last."""
    app = new_app(token)
    app.router.add_get("/", page("play.html"))
    app.router.add_get("/play", _socket(setup))
    return app


def _socket(setup: PlaySetup) -> Handler:
    playing: list[web.WebSocketResponse] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MOST_MESSAGE_BYTES)
        await socket.prepare(request)
        earlier, playing[:] = [*playing], [socket]
        for other in earlier:
            with contextlib.suppress(ConnectionError):
                await other.send_json({"error": "the game is played in another window now"})
            await other.close()
        await _attend(socket, setup)
        return socket

    return handle


async def _attend(socket: web.WebSocketResponse, setup: PlaySetup) -> None:
    games = PlayPage(setup, socket.send_json)
    running = asyncio.ensure_future(games.run())
    running.add_done_callback(lambda _: asyncio.ensure_future(socket.close()))
    try:
        async for received in socket:
            if received.type is not WSMsgType.TEXT:
                continue
            try:
                games.hear(received.data)
            except (ValidationError, ValueError):
                await socket.send_json({"error": "a message that is not understood"})
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await running
