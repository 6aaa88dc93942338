"""Received bytes, in whatever pieces they come, become WebSocket messages; too long ones are skipped, not kept.

websocket-client takes the frames apart; what it does not do is to stop at a size, or to wait without blocking.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from websocket import ABNF, WebSocketProtocolException, frame_buffer

from competitor.wire.messages import MOST_BYTES

MOST_CONTROL_BYTES = 125


class Kind(Enum):
    """What a received message is."""

    TEXT = ABNF.OPCODE_TEXT
    BINARY = ABNF.OPCODE_BINARY
    CLOSE = ABNF.OPCODE_CLOSE
    PING = ABNF.OPCODE_PING
    PONG = ABNF.OPCODE_PONG
    TOO_LONG = -1


class Received(NamedTuple):
    """A whole message; a text is not yet decoded, and of one that is too long nothing is left."""

    kind: Kind
    data: bytes


class _NeedMore(Exception):
    """The bytes so far end in the middle of a frame."""


class _FrameBuffer(frame_buffer):
    """websocket-client's parser, fed with bytes instead of reading a socket."""

    def __init__(self) -> None:
        super().__init__(self._take, skip_utf8_validation=True)
        self.received = bytearray()
        self.skipped = False
        self._to_skip = 0

    def recv_strict(self, bufsize: int) -> bytes:
        """Return `bufsize` bytes; a longer payload than a message may have is thrown away as it comes."""
        if bufsize <= MOST_BYTES:
            return super().recv_strict(bufsize)
        if not self.skipped:
            self.skipped, self._to_skip = True, bufsize
        while self._to_skip:
            self._to_skip -= len(self._take(self._to_skip))
        return b""

    def _take(self, size: int) -> bytes:
        if not self.received:
            raise _NeedMore
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken


class Frames:
    """The receiving half of one connection."""

    def __init__(self) -> None:
        self._buffer = _FrameBuffer()
        self._begun: Kind | None = None
        self._parts = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield the messages that are complete with `data`. Raises WebSocketProtocolException where it is none."""
        self._buffer.received += data
        while True:
            self._buffer.skipped = self._buffer.skipped and not self._buffer.needs_header()
            try:
                frame = self._buffer.recv_frame()
            except _NeedMore:
                return
            yield from self._message(frame, frame.data if isinstance(frame.data, bytes) else b"")

    def _message(self, frame: ABNF, data: bytes) -> Iterator[Received]:
        if frame.opcode >= ABNF.OPCODE_CLOSE:
            if not frame.fin or len(data) > MOST_CONTROL_BYTES or self._buffer.skipped:
                raise WebSocketProtocolException("a control frame that is too long or in parts")
            yield Received(Kind(frame.opcode), data)
            return
        if (frame.opcode == ABNF.OPCODE_CONT) != (self._begun is not None):
            raise WebSocketProtocolException("a message within a message, or the rest of none")
        self._begun = self._begun or Kind(frame.opcode)
        self._too_long = self._too_long or self._buffer.skipped or len(self._parts) + len(data) > MOST_BYTES
        self._parts += data
        if self._too_long:
            self._parts.clear()
        if frame.fin:
            yield Received(Kind.TOO_LONG if self._too_long else self._begun, bytes(self._parts))
            self._begun, self._too_long = None, False
            self._parts.clear()
