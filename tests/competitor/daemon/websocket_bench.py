"""What the tests of the WebSocket wire play with: scripted servers on loopback, and a daemon with a plain network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

from competitor.daemon.logs import Redaction
from competitor.daemon.supervisor import Lifecycle
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.daemon.websocket import WebSocketWire
from competitor.engine.engine import Engine
from competitor.play.finished_match import FinishedMatch
from competitor.wire.address import parse_address
from competitor.wire.backoff import Backoff, Retries
from competitor.wire.websocket_connection import Timing

TOKEN = "s3cret-Token_of.the~player"
PATIENCE_S = 10.0
OBS = [-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.5, 0.25, 0.0, 0.0, 0.0, 0.0]
QUICK = Timing(
    connect_s=5.0, login_s=5.0, ping_every_s=20.0, pong_within_s=20.0, settle_s=2.0, close_s=2.0, turn_s=0.05
)


def observation(number: float) -> list[float]:
    """One that the network answers with this number, see EchoBrain."""
    return [*OBS[:12], number, *OBS[13:]]


class EchoBrain:
    """Answers with what it saw of the puck: (x, y, 0, 0) / 4, exact in float32. `gate` holds it up."""

    name, digest = "echo", "0" * 64

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self._slots = 0

    def open(self) -> int:
        self._slots += 1
        return self._slots

    def close(self, slot: int) -> None:
        pass

    def self_test(self) -> None:
        pass

    def act(
        self,
        slots: Sequence[int],
        obs: NDArray[np.float32],
        is_first: NDArray[np.bool_],
        previous: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        assert self.gate.wait(PATIENCE_S)
        actions = np.zeros((len(slots), 4), np.float32)
        actions[:, :2] = obs[:, 12:14] / 4
        return actions


def echo(number: float) -> list[float]:
    """The answer to `observation(number)`."""
    return [number / 4, OBS[13] / 4, 0.0, 0.0]


class Shelf:
    """Keeps finished matches in a list, and in `held` what confirms them if that is a list."""

    def __init__(self) -> None:
        self.matches: list[FinishedMatch] = []
        self.held: list[Callable[[], None]] | None = None

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        self.matches.append(match)
        if self.held is not None:
            self.held.append(saved)
        else:
            threading.Thread(target=saved).start()


class CountedBackoff(Backoff):
    """Remembers how often it began again, and the waits since."""

    def __init__(self, first_s: float, cap_s: float, chance: random.Random) -> None:
        super().__init__(first_s, cap_s, chance)
        self.resets, self.waits = 0, 0

    def next_s(self) -> float:
        self.waits += 1
        return super().next_s()

    def reset(self) -> None:
        self.resets += bool(self.waits)
        self.waits = 0
        super().reset()


class Daemon:
    """A wire at a real tournament and engine, running in a thread until the `with` block ends."""

    def __init__(
        self,
        url: str,
        *,
        matches: int = 1,
        games: int | None = None,
        attempts: int = 0,
        timing: Timing = QUICK,
        stuck_after_s: float = 60.0,
        deadline_s: float = PATIENCE_S,
        retry_s: float = 0.01,
        token: str = TOKEN,
        tournament_clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self.brain, self.shelf, self.telemetry = EchoBrain(), Shelf(), Telemetry()
        self.lifecycle = Lifecycle(games)
        self.engine = Engine(
            self.brain, deadline_s=deadline_s, counter=self.telemetry, generator=np.random.default_rng(0)
        )
        self.tournament = Tournament(
            self.engine,
            self.shelf,
            self.lifecycle,
            self.telemetry,
            wire="websocket",
            server=url,
            stuck_after_s=stuck_after_s,
            redact=Redaction(token),
            clock=tournament_clock,
        )
        self.backoff = CountedBackoff(retry_s, retry_s, random.Random(0))
        self.wire = WebSocketWire(
            parse_address(url),
            token,
            self.tournament,
            matches=matches,
            retries=Retries(self.backoff, attempts),
            telemetry=self.telemetry,
            timing=timing,
            **options,
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="network")

    def _run(self) -> None:
        try:
            self.wire.run()
        except Exception as error:
            self.error = error

    def __enter__(self) -> Daemon:
        self.engine.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.brain.gate.set()
        self.wire.leave()
        self._thread.join(PATIENCE_S)
        self.engine.stop()
        assert not self._thread.is_alive()

    def ended(self) -> BaseException | None:
        """Wait until the wire has come to its end by itself; return its error."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the wire goes on"
        return self.error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()


def wait_until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for something that happens in another thread."""
    until = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        pause.wait(0.002)


class Peer:
    """The server's side of one connection, for scripts."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self.request = socket, request

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def next(self) -> dict[str, Any]:
        """The client's next message."""
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        assert message.type is WSMsgType.TEXT, f"{message.type}: {message.data!r} {message.extra!r}"
        return dict(json.loads(message.data))

    async def expect(self, kind: str, **fields: Any) -> None:
        got = await self.next()
        assert got == {"type": kind, **fields}, got

    async def closed(self) -> int | None:
        """Wait for the client to close; return its code."""
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        while message.type is WSMsgType.PING:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING), message
        return self.socket.close_code

    async def log_in(self, **welcome: Any) -> int:
        """Hello and welcome; return how many matches the client is ready for."""
        hello = await self.next()
        assert hello["type"] == "hello" and hello["version"] == 1 and "hockey-dreamer" in hello["client"]
        await self.send("welcome", version=1, **welcome)
        ready = await self.next()
        assert ready["type"] == "ready"
        return int(ready["matches"])

    async def play(self, match: str, steps: int = 3, *, end: bool = True) -> None:
        """A whole match, one step after the other."""
        await self.send("start", match=match, opponent="nobody", rounds=1)
        await self.play_on(match, 1, steps, end=end)

    async def play_on(self, match: str, first: int, last: int, *, end: bool = True) -> None:
        """These steps of a match."""
        for number in range(first, last + 1):
            await self.send("step", match=match, step=number, obs=observation(number / 64))
            await self.expect("action", match=match, step=number, action=echo(number / 64))
        if end:
            await self.send("end", match=match, own=1, other=0, won=True)


Script = Callable[[Peer], Awaitable[None]]


async def stay(peer: Peer) -> None:
    """The end of a script that leaves it to the client to go."""
    with contextlib.suppress(AssertionError):
        while True:
            await peer.next()


class Server:
    """A WebSocket server in a thread; connection k follows script k, later ones the last.

    After a script the connection stays open until one of the two has closed it. Errors of scripts are raised.
    """

    def __init__(
        self,
        *scripts: Script,
        tls: ssl.SSLContext | None = None,
        statuses: Sequence[int] = (),
        location: str = "/elsewhere",
        autoping: bool = True,
        retry_after: str = "",
    ) -> None:
        """statuses: HTTP statuses that turn down the next connections. autoping: answers pings by itself."""
        self.scripts, self._tls, self.statuses, self._autoping = list(scripts), tls, list(statuses), autoping
        self._location, self._retry_after = location, retry_after
        self.requests: list[web.BaseRequest] = []
        self.connections = self.finished = 0
        self._errors: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server")
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}/play"

    def __enter__(self) -> Server:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        if self._errors and kind is None:
            raise self._errors[0]

    def done(self, count: int = 1) -> None:
        """Wait until so many scripts have come to their ends."""
        wait_until(lambda: self.finished >= count or self._errors)
        if self._errors:
            raise self._errors[0]

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost" if self._tls else "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.statuses:
            return web.Response(
                status=self.statuses.pop(0), headers={"Location": self._location, "Retry-After": self._retry_after}
            )
        answer = web.WebSocketResponse(max_msg_size=0, autoping=self._autoping)
        await answer.prepare(request)
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await script(Peer(answer, request))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._errors.append(error)
        self.finished += 1
        async for _ in answer:  # until the client goes: otherwise it would come again
            pass
        return answer


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None], *, buffer: int = 0) -> Iterator[str]:
    """A TCP server that hands every connection to `serve`, in a thread of its own; yields its ws:// address.

    buffer: bytes that the system keeps of what is not yet read; 0: as many as it likes.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    if buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    threads: list[threading.Thread] = []
    accepted: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                accepted.append(peer)
                threads.append(threading.Thread(target=guarded, args=(peer,)))
                threads[-1].start()

    def guarded(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(peer)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/play"
    finally:
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for peer in accepted:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in [accepting, *threads]:
            thread.join(PATIENCE_S)
        for peer in accepted:
            peer.close()


def handshake(peer: socket.socket, more: bytes = b"") -> None:
    """The server's side of an opening handshake, by hand; `more` goes out in one piece with its end."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += peer.recv(4096)
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in request
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    peer.sendall(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + more)


def text(**fields: Any) -> bytes:
    """A message in a frame."""
    data = json.dumps(fields).encode()
    size = bytes([len(data)]) if len(data) < 126 else struct.pack("!BH", 126, len(data))
    return b"\x81" + size + data


def drain(peer: socket.socket) -> None:
    """Read until the client closes."""
    while peer.recv(65536):
        pass
