"""What tests of the arena share: its two wires on real sockets, players without a network, a comprl client by hand."""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import logging
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, web

from competitor.arena.comprl_server import ComprlServer
from competitor.arena.lobby import Lobby
from competitor.arena.logins import Logins
from competitor.arena.queries import MatchResult
from competitor.arena.rating import Rating, rate
from competitor.arena.store import User
from competitor.arena.web import limited
from competitor.arena.websocket_server import WebSocketServer
from competitor.engine.session import Action
from competitor.wire.connections import Connections
from competitor.wire.listener import HttpLog, Listener
from tests.competitor.wire.boxes import Box, read_floats, write_box, write_value

HOST = "127.0.0.1"
TIMEOUT_S = 120.0  # only what hangs takes so long, also where everything else is busy
log = logging.getLogger("servers")
STILL: Action = (0.0, 0.0, 0.0, 0.0)
Act = Callable[[int], Coroutine[Any, Any, Action]]


class MemoryStore:
    """Accounts, results and ratings without a file. full: as a disk that takes nothing. ada has "token of ada"."""

    def __init__(self) -> None:
        self.results: list[MatchResult] = []
        self.ratings: dict[str, Rating] = {}
        self.tokens = {f"token of {name}": name for name in ("ada", "bob", "cyd")} | {"token1": "one"}
        self.full = False

    def user_of(self, token: str, address: str = "") -> User | None:
        name = self.tokens.get(token)
        return None if name is None else User(1, name, "player")

    def rating(self, name: str) -> Rating:
        return self.ratings.get(name, Rating())

    def save(self, result: MatchResult) -> tuple[Rating, Rating]:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", "arena.sqlite")
        first, second = (self.rating(name) for name in result.users)
        if result.ending == "played":
            first, second = rate(first, second, result.scores)
            self.ratings.update(zip(result.users, (first, second), strict=True))
        self.results.append(result)
        return first, second


async def still(step: int) -> Action:
    await asyncio.sleep(0)
    return STILL


class FakeParticipant:
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


def never() -> Act:
    async def wait(step: int) -> Action:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("cannot happen")

    return wait


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Timer:
    """A call that is due at a time of a test's clock."""

    due_s: float
    call: Callable[[], None]

    def cancel(self) -> None:
        self.call = lambda: None


class Timers:
    """Deadlines that come only when a test lets time pass."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pending: list[Timer] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self.clock.now_s + delay_s, call)
        self.pending.append(timer)
        return timer

    def let_pass(self, seconds: float) -> None:
        """Time goes by, and what is due happens."""
        self.clock.now_s += seconds
        due = [timer for timer in self.pending if timer.due_s <= self.clock.now_s]
        self.pending = [timer for timer in self.pending if timer.due_s > self.clock.now_s]
        for timer in due:
            timer.call()


class Servers:
    """Both wires of an arena; `store`, `lobby` and `connections` can be looked into, `clock` is theirs."""

    def __init__(self, store: MemoryStore, lobby: Lobby, most: int, deadline_s: float, heartbeat_s: float) -> None:
        self.store, self.lobby = store, lobby
        self.clock = Clock()
        self.connections = Connections(most, clock=self.clock)
        self.timers = Timers(self.clock)
        logins = Logins(store, self.connections)  # type: ignore[arg-type]
        self.comprl = ComprlServer(lobby, logins, deadline_s=deadline_s, later=self.timers.later)
        self.websocket = WebSocketServer(
            lobby, logins, deadline_s=deadline_s, heartbeat_s=heartbeat_s, later=self.timers.later
        )
        self.comprl_port = self.http_port = 0
        self.ports: list[Listener] = []

    def close_ports(self) -> None:
        """Take nobody in any more."""
        while self.ports:
            self.ports.pop().close()

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """A new comprl connection, not logged in."""
        reader, writer = await asyncio.open_connection(HOST, self.comprl_port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def socket(self, user: str, **options: Any) -> AsyncIterator[ClientWebSocketResponse]:
        """A new WebSocket with the user's token; no hello has been said."""
        headers = {"Authorization": f"Bearer token of {user}"}
        async with ClientSession() as session:
            url = f"http://{HOST}:{self.http_port}/play"
            async with session.ws_connect(url, headers=headers, **options) as socket:
                yield socket

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that happens in the arena."""
        while not condition():
            await asyncio.sleep(0)


@asynccontextmanager
async def open_servers(
    *,
    rounds: int = 1,
    deadline_s: float = 10.0,
    tick_s: float = 0.002,
    most: int = 64,
    heartbeat_s: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Servers]:
    store = MemoryStore()
    lobby = Lobby(store, random=Random(7), rounds=rounds, tick_s=tick_s)
    servers = Servers(store, lobby, most, deadline_s, heartbeat_s)
    app = web.Application(middlewares=[limited(lambda request: servers.connections.renew(request.transport), clock)])
    servers.websocket.add_to(app)
    runner = web.AppRunner(app, logger=HttpLog(log, logging.WARNING), shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    ticking = asyncio.create_task(lobby.run())
    try:
        for connect in (servers.comprl.connect, runner.server):
            servers.ports.append(await Listener.open(HOST, 0, connect, servers.connections, idle_s=15.0))
        servers.comprl_port, servers.http_port = (listener.port for listener in servers.ports)
        yield servers
    finally:
        ticking.cancel()
        servers.close_ports()
        await lobby.close()
        await servers.comprl.close()
        await servers.websocket.close()
        await runner.cleanup()


def run(check: Callable[[Servers], Coroutine[Any, Any, None]], **settings: Any) -> MemoryStore:
    """Play a check; returns the store at the end."""

    async def play() -> MemoryStore:
        async with open_servers(**settings) as servers:
            await asyncio.wait_for(check(servers), TIMEOUT_S)
            return servers.store

    return asyncio.run(play())


Ends = list[tuple[str, str | None]]


def in_servers(*, ends: Ends | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Play a test that takes `servers` in an arena with these settings; ends: how all matches have to have ended."""

    def wrap(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def played(**named: Any) -> None:
            store = run(lambda servers: test(servers, **named), **settings)
            assert ends is None or [(result.ending, result.left_by) for result in store.results] == ends

        signature = inspect.signature(test)
        others = [one for name, one in signature.parameters.items() if name != "servers"]
        played.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return played

    return wrap


class Peer:
    """One comprl connection. `box` reads the next one, `play` answers as a good client does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard: list[Box] = []

    async def box(self) -> Box | None:
        """The server's next box; None when it has closed the connection."""
        box: Box = {}
        try:
            while key := await self._string():
                box[key.decode()] = await self._string()
        except (asyncio.IncompleteReadError, ConnectionError):
            assert not box, "closed within a box"
            return None
        self.heard.append(box)
        return box

    async def request(self) -> Box:
        """The next box, which has to be there."""
        box = await self.box()
        assert box is not None, "closed"
        return box

    async def expect(self, command: str) -> Box:
        """The next box, which has to be this command."""
        box = await self.request()
        assert box["_command"].decode() == command, box
        return box

    async def text(self, command: str) -> str:
        """The text of the next box, a Message or Error."""
        return (await self.expect(command))["msg"].decode()

    async def closed(self) -> bool:
        """Whether nothing but the end of the stream comes."""
        return await self.box() is None

    def answer(self, request: Box, **fields: bytes) -> None:
        self.write({"_answer": request["_ask"], **fields})

    def act(self, step: Box, action: Sequence[float] = STILL) -> None:
        self.answer(step, action=write_value(action))

    def write(self, box: Box) -> None:
        self.writer.write(write_box(box))

    async def is_heard(self) -> None:
        """All that was written has been read, and nothing was said to it: a request of ours is the next answer."""
        self.write({"_ask": b"1", "_command": b"Hm"})
        answer = await self.request()
        assert answer["_error_code"] == b"UNHANDLED", answer

    async def login(self, user: str) -> None:
        """Until the server says that we wait in the queue."""
        self.answer(await self.expect("Auth"), token=f"token of {user}".encode(), version=b"1")
        ready = await self.expect("Ready")
        self.answer(await self.expect("Message"))
        self.answer(ready, ready=b"True")
        self.answer(await self.expect("Message"))

    async def first_step(self) -> Box:
        """From the queue into a match; its first step is not answered."""
        self.answer(await self.expect("StartGame"))
        return await self.expect("Step")

    async def play(self, matches: int = 1, policy: Callable[[list[float]], Sequence[float]] = lambda obs: STILL) -> Box:
        """Logged in: play so many matches and be ready for no other one; returns the last EndGame."""
        ends = 0
        while (box := await self.box()) is not None:
            command = box["_command"].decode()
            if command == "Step":
                self.act(box, policy(read_floats(box["obv"])))
            elif command == "Ready":
                ends += 1
                self.answer(box, ready=b"True" if ends < matches else b"False")
            else:
                assert command in ("StartGame", "EndGame", "Message"), box
                self.answer(box)
                if command == "EndGame" and ends == matches:
                    return box
        raise AssertionError("closed before the end of the match")

    async def _string(self) -> bytes:
        (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        return await self.reader.readexactly(size)


@asynccontextmanager
async def in_match(servers: Servers) -> AsyncIterator[tuple[Peer, Box, Peer, Box]]:
    """ada and bob in a match, each with an open first step."""
    async with servers.peer() as ada, servers.peer() as bob:
        await ada.login("ada")
        await bob.login("bob")
        yield ada, await ada.first_step(), bob, await bob.first_step()


async def hears_the_end(peer: Peer) -> list[float]:
    """Ready and EndGame of a match that was not won; returns the stats. The peer goes on waiting."""
    ready = await peer.expect("Ready")
    end = await peer.expect("EndGame")
    assert end["result"] == b"False" and int(end["_ask"], 16) == int(ready["_ask"], 16) + 1
    peer.answer(ready, ready=b"True")
    peer.answer(end)
    assert await peer.text("Message") == "Waiting in queue"
    return read_floats(end["stats"])
