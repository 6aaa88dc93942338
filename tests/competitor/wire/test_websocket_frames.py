"""Received bytes become messages whatever the pieces they come in; what is no WebSocket is one kind of error."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websocket import ABNF, WebSocketException

from competitor.wire import websocket_frames
from competitor.wire.messages import MOST_BYTES
from competitor.wire.websocket_frames import Frames, Kind, Received

LIMIT = 300  # instead of MOST_BYTES, for conversations that can be cut into single bytes
LENGTHS = st.sampled_from([0, 1, 125, 126, 127, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT])

fixed = settings(derandomize=True, deadline=None, max_examples=200)


def frame(kind: Kind | int, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as servers send them: without a mask."""
    opcode = kind.value if isinstance(kind, Kind) else kind
    size = len(data)
    length = (
        bytes([size])
        if size < 126
        else struct.pack("!BH", 126, size)
        if size < 1 << 16
        else struct.pack("!BQ", 127, size)
    )
    return bytes([fin << 7 | opcode]) + length + data


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Received]]:
    """Bytes of some messages, some of them in several frames with control frames between, and the messages."""
    sent, expected = b"", []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from([Kind.TEXT, Kind.BINARY, Kind.PING, Kind.PONG]))
        if kind in (Kind.PING, Kind.PONG):
            data = draw(st.binary(max_size=125))
            sent += frame(kind, data)
            expected.append(Received(kind, data))
            continue
        data = bytes(draw(LENGTHS))
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
        parts = [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]
        for place, part in enumerate(parts):
            sent += frame(kind if place == 0 else ABNF.OPCODE_CONT, part, fin=place == len(parts) - 1)
            if draw(st.booleans()) and place < len(parts) - 1:
                sent += frame(Kind.PING, b"between")
                expected.append(Received(Kind.PING, b"between"))
        expected.append(Received(kind, data) if len(data) <= LIMIT else Received(Kind.TOO_LONG, b""))
    return sent, expected


@fixed
@given(conversations(), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_pieces_make_no_difference(conversation: tuple[bytes, list[Received]], sizes: list[int]) -> None:
    sent, expected = conversation
    frames, got = Frames(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket_frames, "MOST_BYTES", LIMIT)
        for size in itertools.cycle(sizes):
            got += frames.feed(sent[:size])
            sent = sent[size:]
            if not sent:
                break
    assert got == expected


def test_the_longest_message() -> None:
    for size, kind in ((MOST_BYTES, Kind.TEXT), (MOST_BYTES + 1, Kind.TOO_LONG)):
        (message,) = Frames().feed(frame(Kind.TEXT, bytes(size)))
        assert message == Received(kind, bytes(size) if kind is Kind.TEXT else b"")


@fixed
@given(st.binary(max_size=400))
def test_any_bytes_are_messages_or_the_one_error(data: bytes) -> None:
    frames = Frames()
    try:
        for message in frames.feed(data):
            assert len(message.data) <= len(data)
    except WebSocketException:
        return
    # Without an error what came was the beginning of something.
    assert list(frames.feed(b"")) == []


@pytest.mark.parametrize(
    "data",
    [
        frame(3),  # no such kind of frame
        frame(0x40 | Kind.TEXT.value),  # a bit that only extensions use
        frame(ABNF.OPCODE_CONT, b"the rest of nothing"),
        frame(Kind.TEXT, b"a", fin=False) + frame(Kind.TEXT, b"b"),
        frame(Kind.PING, fin=False),
        frame(Kind.PONG, 126 * b"x"),
        frame(Kind.PING, 70_000 * b"x"),
        frame(Kind.CLOSE, b"\x03"),
        frame(Kind.CLOSE, struct.pack("!H", 1005)),
        b"HTTP/1.1 200 OK\r\n\r\n" + 100 * b"x",
    ],
)
def test_broken_frames(data: bytes) -> None:
    with pytest.raises(WebSocketException):
        list(Frames().feed(data))


def test_good_messages_before_a_broken_one_are_heard() -> None:
    messages = Frames().feed(frame(Kind.TEXT, b"good") + frame(3))
    assert next(messages) == Received(Kind.TEXT, b"good")
    with pytest.raises(WebSocketException):
        next(messages)


def test_a_frame_without_end_takes_no_memory() -> None:
    frames = Frames()
    assert list(frames.feed(struct.pack("!BBQ", 0x81, 127, 1 << 62))) == []
    for _ in range(100):
        assert list(frames.feed(bytes(MOST_BYTES))) == []
    assert len(frames._buffer.received) == 0 and not frames._buffer.recv_buffer


def test_masked_frames_are_read_too() -> None:
    masked = ABNF.create_frame("hello", ABNF.OPCODE_TEXT).format()
    assert list(Frames().feed(masked)) == [Received(Kind.TEXT, b"hello")]
