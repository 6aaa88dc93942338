"""One connection by itself, its other end in the test's hand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from competitor.daemon.websocket_connection import Connection, Timing
from competitor.wire.messages import Ready
from competitor.wire.websocket_frames import Frames, Kind, Received
from tests.competitor.daemon.websocket_bench import PATIENCE_S, text

READY = [Received(Kind.TEXT, b'{"type":"ready","matches":%d}' % number) for number in range(3)]


class Listener:
    """A handler that answers the first message and looks whether the answer is out when the second one comes."""

    busy = False

    def __init__(self, connection: Connection, other: socket.socket) -> None:
        self._connection, self._other = connection, other
        self.heard: list[bytes] = []
        self.sent_in_between = b""

    def received(self, data: bytes) -> None:
        self.heard.append(data)
        if len(self.heard) == 1:
            self._connection.send(Ready(matches=1))
        else:
            self.sent_in_between = self._other.recv(4096)
            self._connection.close()

    def ignored(self, what: str) -> None:
        self.heard.append(what.encode())

    def echoed(self, data: bytes) -> None:
        self.heard.append(data)

    def turn(self) -> None:
        pass


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection and the other end of its socket."""
    opened, other = socket.socketpair()
    opened.setblocking(False)
    other.settimeout(PATIENCE_S)
    with other:
        yield Connection(opened, Timing(turn_s=0.02, close_s=0.05)), other


def test_answers_do_not_wait_for_the_rest_of_what_was_read(pair: tuple[Connection, socket.socket]) -> None:
    connection, other = pair
    other.sendall(text(type="one") + text(type="two"))
    listener = Listener(connection, other)
    assert connection.run(listener) == "closed"
    assert list(Frames().feed(listener.sent_in_between)) == [READY[1]]
    assert [message.kind for message in Frames().feed(other.recv(4096))] == [Kind.CLOSE]


def test_the_end_of_the_other_side_is_told(pair: tuple[Connection, socket.socket]) -> None:
    connection, other = pair
    other.sendall(b"\x88\x09" + struct.pack("!H", 4000) + b"gute N\x07")
    listener = Listener(connection, other)
    assert connection.run(listener) == "the server closed the connection (4000 gute N )"
    assert [message.kind for message in Frames().feed(other.recv(4096))] == [Kind.CLOSE]


def test_after_the_end_nothing_is_kept(pair: tuple[Connection, socket.socket]) -> None:
    connection, other = pair
    other.shutdown(socket.SHUT_WR)
    assert connection.run(Listener(connection, other)) == "the server closed the connection without a word"
    for _ in range(3):
        connection.send(Ready(matches=0))
        connection.wake()
        connection.abort("too late")
    assert not connection._outbox


def test_abort_from_another_thread(pair: tuple[Connection, socket.socket]) -> None:
    connection, other = pair
    reasons: list[str] = []
    thread = threading.Thread(target=lambda: reasons.append(connection.run(Listener(connection, other))))
    thread.start()
    connection.send(Ready(matches=2))
    assert list(Frames().feed(other.recv(4096))) == [READY[2]]
    connection.abort("enough")
    thread.join(PATIENCE_S)
    assert reasons == ["enough"]


def test_a_probe_follows_what_was_sent_before(pair: tuple[Connection, socket.socket]) -> None:
    connection, other = pair
    connection.send(Ready(matches=0))
    connection.probe(b"7")
    other.shutdown(socket.SHUT_WR)
    connection.run(Listener(connection, other))
    sent = list(Frames().feed(other.recv(4096)))
    assert sent[:2] == [READY[0], Received(Kind.PING, b"7")]


def test_a_pong_that_waited_while_the_computer_slept_counts() -> None:
    opened, other = socket.socketpair()
    opened.setblocking(False)
    now = [0.0]
    with other:
        connection = Connection(opened, Timing(turn_s=0.0), clock=lambda: now[0])
        listener = Sleeper(connection, other, now)
        assert connection.run(listener) == "awake"
    assert listener.heard == [b""]


class Sleeper(Listener):
    """Lets an hour pass between the ping and the moment when its pong is read."""

    def __init__(self, connection: Connection, other: socket.socket, now: list[float]) -> None:
        super().__init__(connection, other)
        self._now, self._turns = now, 0

    def turn(self) -> None:
        self._turns += 1
        if self._turns == 1:
            self._now[0] += 20.0  # time for a ping
        elif self._turns == 2:
            self._other.sendall(b"\x8a\x00")
            self._now[0] += 3600.0
        elif self._turns == 3:
            self._connection.abort("awake")
