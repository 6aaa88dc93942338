"""What the tests of the WebSocket wire play with: scripted servers on loopback, and a daemon with a plain network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from competitor.daemon.logs import Redaction
from competitor.daemon.websocket import WebSocketWire
from competitor.wire.address import parse_address
from competitor.wire.websocket_connection import Timing
from tests.competitor.daemon.shared import (
    TOKEN,
    CountedRetries,
    EchoBrain,
    Rig,
    WireThread,
    echo,
    observation,
    wait_until,
)
from tests.competitor.engine.fakes import WAIT_S

PATIENCE_S = WAIT_S
QUICK = Timing(
    connect_s=5.0, login_s=5.0, ping_every_s=20.0, pong_within_s=20.0, settle_s=2.0, close_s=2.0, turn_s=0.05
)


class Daemon(WireThread):
    """The WebSocket wire in a thread."""

    def __init__(
        self,
        url: str,
        *,
        matches: int = 1,
        games: int | None = None,
        attempts: int = 0,
        timing: Timing = QUICK,
        retry_s: float = 0.01,
        token: str = TOKEN,
        **options: Any,
    ) -> None:
        rig = Rig(EchoBrain(), games=games, wire="websocket", server=url, redact=Redaction(token))
        super().__init__(rig, CountedRetries(retry_s, attempts))
        self.wire = WebSocketWire(
            parse_address(url),
            token,
            rig.tournament,
            matches=matches,
            retries=lambda: self.backoff,
            timing=timing,
            **options,
        )


class Peer:
    """The server's side of one connection, for scripts."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, daemon: Daemon | None) -> None:
        self.socket, self.request, self._daemon = socket, request, daemon

    @property
    def daemon(self) -> Daemon:
        """Who plays here, where `play` began it."""
        assert self._daemon is not None
        return self._daemon

    def abort(self) -> None:
        """End the connection without a word."""
        assert self.request.transport is not None
        self.request.transport.abort()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def next(self) -> dict[str, Any]:
        """The client's next message."""
        message = await self._past_pings()
        assert message.type is WSMsgType.TEXT, f"{message.type}: {message.data!r} {message.extra!r}"
        return dict(json.loads(message.data))

    async def expect(self, kind: str, **fields: Any) -> None:
        got = await self.next()
        assert got == {"type": kind, **fields}, got

    async def closed(self) -> int | None:
        """Wait for the client to close; return its code."""
        message = await self._past_pings()
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING), message
        return self.socket.close_code

    async def _past_pings(self) -> WSMessage:
        """The next frame that is no ping: those come whenever their time has come."""
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        while message.type is WSMsgType.PING:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        return message

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
        self.daemon: Daemon | None = None
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
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
            await script(Peer(answer, request, self.daemon))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._errors.append(error)
        self.finished += 1
        async for _ in answer:  # until the client goes: otherwise it would come again
            pass
        return answer


def play(*scripts: Script, ends: bool = False, server: Mapping[str, Any] | None = None, **options: Any) -> Daemon:
    """Have a daemon play at a server until the scripts have come to their ends; with `ends` it ends by itself.

    server, options: those of the server and of the daemon.
    """
    with Server(*scripts, **(server or {})) as serving:
        daemon = serving.daemon = Daemon(serving.url, **options)
        with daemon:
            assert not ends or daemon.ended() is None
            serving.done(len(scripts))
            assert ends or daemon.is_running
    return daemon


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that hands every connection to `serve`, in a thread of its own; yields its ws:// address."""
    listening = socket.create_server(("127.0.0.1", 0))
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
