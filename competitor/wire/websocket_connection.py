"""One open WebSocket in an event loop: aiohttp reads and writes it, any thread may send.

A server that stops reading makes messages wait, not their senders; one that floods is read no faster than it is
answered, and of its pings only the last is.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import ClientError, ClientWebSocketResponse, WSCloseCode, WSMessage, WSMsgType

from competitor.wire.messages import MOST_BYTES, ClientMessage, encode

MOST_UNSENT = 512  # messages; beyond these nothing more is read until the server reads, too
FAIR = 32  # messages read before everybody else has a turn
LEAVE_WITHIN_S = 0.25  # for a last word to a server that we leave at once


@dataclass(frozen=True)
class Timing:
    """How long to wait for what, in seconds. turn_s: the handler gets its turn at least so often."""

    connect_s: float = 15.0
    login_s: float = 10.0
    ping_every_s: float = 20.0
    pong_within_s: float = 20.0
    settle_s: float = 5.0
    close_s: float = 3.0
    turn_s: float = 1.0


USUAL = Timing()


class Handler(Protocol):
    """What a connection tells of what happens; always in the connection's thread."""

    @property
    def busy(self) -> bool:
        """Whether nothing more shall be read for now."""

    def received(self, data: bytes) -> None:
        """A text message came."""

    def ignored(self, what: str) -> None:
        """Something came that is not a text message."""

    def echoed(self, data: bytes) -> None:
        """A pong came, with the data of its ping."""

    def turn(self) -> None:
        """Something may have happened in another thread, or time has passed."""


class Connection:
    """An open WebSocket; `run` serves it and closes it in the end. Made in the event loop."""

    def __init__(
        self, opened: ClientWebSocketResponse[Any], timing: Timing = USUAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket, self._timing, self._clock = opened, timing, clock
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[ClientMessage | bytes] = deque()  # bytes: a ping
        self._pong: bytes | None = None
        self._write_wanted = asyncio.Event()  # for the writer
        self._turn = asyncio.Event()  # for the handler
        self._may_read = asyncio.Event()  # for the reader
        self._writer_is_called = self._closing = False
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._pinged_at = clock()
        self._unheard_since: float | None = None

    def send(self, message: ClientMessage) -> None:
        """Send `message` as soon as the server reads it, or never if the connection is over. From any thread."""
        self._outbox.append(message)
        if not self._writer_is_called:  # once for all messages that wait
            self._writer_is_called = True
            self._call(self._wake_writer_and_reader)

    def wake(self) -> None:
        """Give the handler its turn soon. From any thread."""
        self._call(self._turn.set)

    def abort(self, reason: str) -> None:
        """End it now, whatever is under way. From any thread."""
        self._call(self._end, reason)

    def close(self) -> None:
        """End it in an orderly way once everything is sent. From the handler."""
        self._closing = True
        self._write_wanted.set()

    def probe(self, data: bytes) -> None:
        """Send a ping, which the server reads after all that was sent before. From the handler."""
        self._outbox.append(data)
        self._write_wanted.set()

    async def run(self, handler: Handler) -> str:
        """Serve the connection till it is over; returns why, unredacted. What the handler raises comes through."""
        tasks = [
            asyncio.ensure_future(work) for work in (self._read(handler), self._write(), self._take_turns(handler))
        ]
        try:
            done, _ = await asyncio.wait([*tasks, self._over], return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError, ClientError, OSError):
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._socket.close(code=WSCloseCode.GOING_AWAY)

    async def _read(self, handler: Handler) -> str:
        while True:
            for _ in range(FAIR):
                while handler.busy or len(self._outbox) >= MOST_UNSENT:
                    self._may_read.clear()
                    await self._may_read.wait()
                message = await self._socket.receive()
                if message.type is WSMsgType.CLOSING:  # by the writer, who says when that is done
                    await asyncio.sleep(self._timing.close_s + LEAVE_WITHIN_S)
                reason = self._handle(message, handler)
                if reason is not None:
                    return reason
            await asyncio.sleep(0)  # what a flood has filled the buffer with is read without waiting

    def _handle(self, message: WSMessage, handler: Handler) -> str | None:
        """Pass a message on; returns why the connection is over, if it is."""
        self._unheard_since = None
        match message.type:
            case WSMsgType.TEXT if len(message.data) <= MOST_BYTES:
                handler.received(message.data)
            case WSMsgType.TEXT:
                handler.ignored(f"more than {MOST_BYTES} bytes")
            case WSMsgType.BINARY:
                handler.ignored("a binary message")
            case WSMsgType.PING:
                self._pong = bytes(message.data)
                self._write_wanted.set()
            case WSMsgType.PONG:
                handler.echoed(bytes(message.data))
            case WSMsgType.CLOSE:
                text = str(message.extra or "")
                code = f" ({message.data}{' ' * bool(text)}{text})" if message.data else ""
                return f"the server closed the connection{code}"
            case WSMsgType.ERROR:
                return f"the server broke the WebSocket protocol: {message.data}"
            case _:
                return "closed" if self._closing else "the server closed the connection without a word"
        if handler.busy or self._outbox:
            self._write_wanted.set()
        return None

    async def _write(self) -> str:
        try:
            while True:
                self._writer_is_called = False
                await self._write_all()
                if self._closing:
                    await self._socket.close(code=WSCloseCode.OK)
                    return "closed"
                await self._write_wanted.wait()
                self._write_wanted.clear()
        except (ClientError, OSError) as error:
            await asyncio.sleep(self._timing.close_s + LEAVE_WITHIN_S)  # what the server said last tells more
            return getattr(error, "strerror", None) or str(error) or "the connection is lost"

    async def _write_all(self) -> None:
        while self._outbox or self._pong is not None:
            if self._pong is not None:
                data, self._pong = self._pong, None
                await self._socket.pong(data)
            if self._outbox:
                message = self._outbox.popleft()
                if isinstance(message, bytes):
                    await self._socket.ping(message)
                else:
                    await self._socket.send_str(encode(message))
            self._may_read.set()

    async def _take_turns(self, handler: Handler) -> str:
        while True:
            handler.turn()
            self._may_read.set()
            lost = self._look_at_the_clock()
            if lost is not None:
                return lost
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.turn_s):  # wait_for may lose a cancellation
                    await self._turn.wait()
            self._turn.clear()

    def _look_at_the_clock(self) -> str | None:
        now, timing = self._clock(), self._timing
        if self._unheard_since is not None and now - self._unheard_since >= timing.pong_within_s:
            return f"the server has not answered a ping for {timing.pong_within_s:g} s"
        if now - self._pinged_at >= timing.ping_every_s:
            self._pinged_at = now
            self._unheard_since = now if self._unheard_since is None else self._unheard_since
            self.probe(b"")
        return None

    def _wake_writer_and_reader(self) -> None:
        self._write_wanted.set()
        self._may_read.set()

    def _end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    def _call(self, work: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the connection is over
            self._loop.call_soon_threadsafe(work, *arguments)
