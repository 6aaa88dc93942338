"""One open WebSocket. A single thread reads and writes it and blocks on neither; any thread may send.

Reading and writing are one thread's work because a TLS connection must not be used by two threads at a time, and
because one that never blocks needs no second: a server that stops reading makes messages wait, not their senders.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from websocket import ABNF, STATUS_GOING_AWAY, STATUS_NORMAL, STATUS_PROTOCOL_ERROR, WebSocketException

from competitor.wire.messages import MOST_BYTES, ClientMessage, encode, plain
from competitor.wire.websocket_frames import Frames, Kind, Received

CHUNK_BYTES = 64 * 1024
MASKS_BYTES = 1024
MOST_UNSENT_BYTES = 64 * 1024  # beyond these nothing more is read until the server reads, too;
MOST_UNSENT = 512  # nor beyond so many messages
_LATER = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


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


class Lost(Exception):
    """The connection is over; the text says why."""


class Connection:
    """An open WebSocket on `opened`, a socket that does not block; `run` serves it and closes it in the end."""

    def __init__(
        self, opened: socket.socket, timing: Timing = USUAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket, self._timing, self._clock = opened, timing, clock
        self._frames = Frames()
        self._lock = threading.Lock()
        self._outbox: deque[ClientMessage] = deque()
        self._out = bytearray()
        self._masks = b""
        self._bell, self._alarm = socket.socketpair()
        self._bell.setblocking(False)
        self._alarm.setblocking(False)
        self._rung = self._over = False
        self._abort_reason = ""
        self._closing = False
        self._close_by: float | None = None
        self._pinged_at = clock()
        self._unheard_since: float | None = None
        self._events = 0

    def send(self, message: ClientMessage) -> None:
        """Send `message` as soon as the server reads it, or never if the connection is over. From any thread."""
        with self._lock:
            if not self._over:
                self._outbox.append(message)
                self._ring()

    def wake(self) -> None:
        """Give the handler its turn soon. From any thread."""
        with self._lock:
            if not self._over:
                self._ring()

    def abort(self, reason: str) -> None:
        """End it now, whatever is under way. From any thread."""
        self._abort_reason = self._abort_reason or reason
        self.wake()

    def close(self) -> None:
        """End it in order once everything is sent. From the handler."""
        self._closing = True

    def probe(self, data: bytes) -> None:
        """Send a ping, which the server reads after all that was sent before. From the handler."""
        self._encode(most_bytes=None)
        self._frame(ABNF.OPCODE_PING, data)

    def run(self, handler: Handler) -> str:
        """Serve the connection until it is over, and return why. What the handler raises comes through."""
        status = STATUS_GOING_AWAY
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            try:
                while True:
                    self._round(selector, handler)
            except Lost as lost:
                return str(lost)
            except WebSocketException as error:
                status = STATUS_PROTOCOL_ERROR
                return f"the server broke the WebSocket protocol: {plain(str(error))}"
            finally:
                self._end(status)

    def _round(self, selector: selectors.BaseSelector, handler: Handler) -> None:
        handler.turn()
        self._write()
        if self._abort_reason:
            raise Lost(self._abort_reason)
        if self._wait(selector, handler):
            for message in self._frames.feed(self._read()):
                self._handle(message, handler)
                if self._outbox:  # the first answers need not wait until the last of many messages is read
                    self._write()
        # After reading: what has come while this computer slept counts.
        self._look_at_the_clock()

    def _handle(self, message: Received, handler: Handler) -> None:
        self._unheard_since = None
        if message.kind is Kind.PING:
            self._frame(ABNF.OPCODE_PONG, message.data)
        elif message.kind is Kind.PONG:
            handler.echoed(message.data)
        elif message.kind is Kind.CLOSE:
            raise Lost(_close_reason(message.data))
        elif message.kind is Kind.TEXT:
            handler.received(message.data)
        else:
            handler.ignored("a binary message" if message.kind is Kind.BINARY else f"more than {MOST_BYTES} bytes")

    def _look_at_the_clock(self) -> None:
        now, timing = self._clock(), self._timing
        if self._close_by is not None and now >= self._close_by:
            raise Lost("closed")
        if self._unheard_since is not None and now - self._unheard_since >= timing.pong_within_s:
            raise Lost(f"the server has not answered a ping for {timing.pong_within_s:g} s")
        if now - self._pinged_at >= timing.ping_every_s:
            self._pinged_at = now
            self._unheard_since = now if self._unheard_since is None else self._unheard_since
            self._frame(ABNF.OPCODE_PING, b"")

    def _wait(self, selector: selectors.BaseSelector, handler: Handler) -> bool:
        """Wait until there is something to do; return whether there may be something to read."""
        reading = not handler.busy and len(self._outbox) < MOST_UNSENT and len(self._out) < MOST_UNSENT_BYTES
        self._watch(selector, (selectors.EVENT_READ * reading) | (selectors.EVENT_WRITE * bool(self._out)))
        # What TLS has decrypted already does not show at the socket.
        decrypted = reading and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
        ready = {key.fileobj: events for key, events in selector.select(0 if decrypted else self._timing.turn_s)}
        if self._bell in ready:
            with self._lock:
                self._rung = False
                self._bell.recv(CHUNK_BYTES)
        return decrypted or bool(ready.get(self._socket, 0) & selectors.EVENT_READ)

    def _watch(self, selector: selectors.BaseSelector, events: int) -> None:
        if events == self._events:
            return
        if not events:
            selector.unregister(self._socket)
        elif self._events:
            selector.modify(self._socket, events)
        else:
            selector.register(self._socket, events)
        self._events = events

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(CHUNK_BYTES)
        except _LATER:
            return b""
        except OSError as error:
            raise Lost(error.strerror or str(error)) from None
        if not data:
            raise Lost("closed" if self._closing else "the server closed the connection without a word")
        return data

    def _write(self) -> None:
        self._encode(MOST_UNSENT_BYTES)
        if self._closing and self._close_by is None and not self._out:
            self._close_by = self._clock() + self._timing.close_s
            self._frame(ABNF.OPCODE_CLOSE, struct.pack("!H", STATUS_NORMAL))
        try:
            while self._out:
                del self._out[: self._socket.send(bytes(self._out[:CHUNK_BYTES]))]
        except _LATER:
            return
        except OSError as error:
            raise Lost(error.strerror or str(error)) from None

    def _encode(self, most_bytes: int | None) -> None:
        while self._outbox and (most_bytes is None or len(self._out) < most_bytes):
            self._frame(ABNF.OPCODE_TEXT, encode(self._outbox.popleft()).encode())

    def _frame(self, opcode: int, data: bytes) -> None:
        frame = ABNF.create_frame(data, opcode)
        frame.get_mask_key = self._mask
        self._out += frame.format()

    def _mask(self, size: int) -> bytes:
        """Random bytes, drawn in bulk: a system call for each frame would let another thread in each time."""
        if len(self._masks) < size:
            self._masks = os.urandom(MASKS_BYTES)
        mask, self._masks = self._masks[:size], self._masks[size:]
        return mask

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._alarm.send(b"\0")

    def _end(self, status: int) -> None:
        if self._close_by is None:
            self._closing = False
            self._frame(ABNF.OPCODE_CLOSE, struct.pack("!H", status))
        with contextlib.suppress(Lost):
            self._write()
        with self._lock:
            self._over = True
            self._outbox.clear()
            for used in (self._socket, self._bell, self._alarm):
                used.close()


def _close_reason(data: bytes) -> str:
    if len(data) < 2:
        return "the server closed the connection"
    text = plain(data[2:].decode(errors="replace"))
    return f"the server closed the connection ({struct.unpack('!H', data[:2])[0]}{' ' * bool(text)}{text})"
