"""Servers that do what they should not: nothing of it ends the wire, or a match that could go on."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import WSMsgType

from competitor.daemon.websocket_play import MOST_OPEN_STEPS
from competitor.engine.engine import Engine
from competitor.engine.session import Session
from competitor.wire.websocket_connection import Timing
from competitor.wire.websocket_dial import MOST_FRAME_BYTES, Sockets
from tests.competitor.daemon.shared import OBS, TOKEN, echo, observation, wait_until
from tests.competitor.daemon.websocket_harness import (
    PATIENCE_S,
    Daemon,
    Peer,
    Server,
    drain,
    handshake,
    play,
    raw_server,
    text,
)

BAD_TEXTS = {
    "empty": "",
    "no JSON": "{not json",
    "no object": "[1, 2]",
    "no type": "{}",
    "unknown type": '{"type": "dance"}',
    "the client's type": '{"type": "hello", "version": 1}',
    "deep": '{"x":' + 10_000 * "[",
    "no match": json.dumps({"type": "step", "step": 1, "obs": OBS}),
    "match of a wrong type": json.dumps({"type": "start", "match": {"id": 1}}),
    "step of a wrong type": json.dumps({"type": "step", "match": "m1", "step": "one", "obs": OBS}),
    "observation of a wrong type": json.dumps({"type": "step", "match": "m1", "step": 99, "obs": "left"}),
    "score of a wrong type": json.dumps({"type": "end", "match": "m1", "own": "three", "other": []}),
    "a match in play": json.dumps({"type": "start", "match": "m1"}),
    "one match too many": json.dumps({"type": "start", "match": "m9"}),
    "step of an unknown match": json.dumps({"type": "step", "match": "m0", "step": 1, "obs": OBS}),
    "end of an unknown match": json.dumps({"type": "end", "match": "m0", "own": 1, "other": 0}),
    "a step once more": json.dumps({"type": "step", "match": "m1", "step": 3, "obs": OBS}),
    "a second welcome": '{"type": "welcome", "version": 1}',
    "too long": json.dumps({"type": "notice", "message": 100_000 * "x"}),
}
ANSWERS = {"one match too many": ("leave", "m9"), "end of an unknown match": ("seen", "m0")}


def ignored(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was ignored, each time."""
    return [line for line in caplog.messages if line.startswith("ignored: ")]


@pytest.mark.parametrize("what", BAD_TEXTS)
def test_a_bad_text_is_ignored(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        assert await peer.log_in() == 1
        await peer.play("m1", 3, end=False)
        for _ in range(3):
            await peer.socket.send_str(BAD_TEXTS[what])
            if what in ANSWERS:
                await peer.expect(ANSWERS[what][0], match=ANSWERS[what][1])
        await peer.play_on("m1", 4, 6)
        await peer.expect("seen", match="m1")

    daemon = play(script)
    assert len(ignored(caplog)) == 3 and len(set(ignored(caplog))) == 1
    assert len(daemon.kept.matches[0].obs) == 6


@pytest.mark.parametrize("data", [b"\x00\x01", b"", bytes(70_000)], ids=["short", "empty", "long"])
def test_a_binary_message_is_ignored(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", 3, end=False)
        await peer.socket.send_bytes(data)
        await peer.socket.send_frame(b"\xff\xfe no UTF-8", WSMsgType.TEXT)
        await peer.play_on("m1", 4, 6)
        await peer.expect("seen", match="m1")

    play(script)
    assert len(ignored(caplog)) == 2


def test_a_flood_of_bad_messages_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        for number in range(1000):
            await peer.socket.send_str(f"nonsense {number}")
        await peer.play("m1")
        await peer.expect("seen", match="m1")

    play(script)
    assert sum("ignored: a bad message" in line for line in caplog.messages) == 1000
    assert len({record.msg for record in caplog.records if "ignored" in record.msg}) == 1  # a kind to the log's limit


OBSERVATIONS: dict[str, list[Any]] = {
    "none": [],
    "short": OBS[:-1],
    "long": [*OBS, 0.0],
    "very long": 1000 * [0.0],
    "null": [None, *OBS[1:]],
    "all null": 18 * [None],
    "NaN": [*OBS[:17], float("nan")],
    "infinite": [*OBS[:17], float("-inf")],
    "too large for float32": [*OBS[:17], 1e300],
    "too large for a double": [*OBS[:17], 10**400],
}


@pytest.mark.parametrize("what", OBSERVATIONS)
def test_every_observation_gets_one_sound_answer(what: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        for match in ("m1", "m2"):
            await peer.send("start", match=match, rounds=1)
        await peer.send("step", match="m1", step=1, obs=OBSERVATIONS[what])
        got = await peer.next()
        assert (got["type"], got["match"], got["step"], len(got["action"])) == ("action", "m1", 1, 4)
        assert all(isinstance(value, float) and -1.0 <= value <= 1.0 for value in got["action"])
        await peer.play_on("m1", 2, 4)
        await peer.expect("seen", match="m1")
        await peer.play_on("m2", 1, 4)
        await peer.expect("seen", match="m2")

    assert [len(match.obs) for match in play(script, matches=2).kept.matches] == [4, 4]


def test_two_open_steps_get_two_answers(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.send("start", match="m1")
        for step in (1, 2, 2, 3, 3, 3, 1, 2):  # a number that comes twice running is one step
            await peer.send("step", match="m1", step=step, obs=observation(step / 8))
        for step in (1, 2, 3, 1, 2):
            await peer.expect("action", match="m1", step=step, action=echo(step / 8))

    play(script)
    assert len(ignored(caplog)) == 3 and all("a step once more" in line for line in ignored(caplog))


def test_after_the_end_comes_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1")
        await peer.expect("seen", match="m1")
        await peer.send("step", match="m1", step=4, obs=OBS)
        await peer.send("end", match="m1", own=0, other=4, won=False)
        await peer.expect("seen", match="m1")
        await peer.play("m2")
        await peer.expect("seen", match="m2")

    assert [(match.match_id, match.own) for match in play(script).kept.matches] == [("m1", 1), ("m2", 1)]


def test_matches_before_the_welcome_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Peer) -> None:
        await peer.send("start", match="m1")
        await peer.send("step", match="m1", step=1, obs=OBS)
        await peer.socket.send_str("nonsense")
        await peer.log_in()
        await peer.play("m1")
        await peer.expect("seen", match="m1")

    play(script)
    assert len(ignored(caplog)) == 3


def test_a_failing_tournament_costs_one_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    open_session = Engine.open_session

    def failing(self: Engine, session: Session) -> Any:
        return [][1] if session.match_id == "m2" else open_session(self, session)

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", 2, end=False)
        await peer.send("start", match="m2")
        await peer.play_on("m1", 3, 5)
        await peer.expect("seen", match="m1")

    monkeypatch.setattr(Engine, "open_session", failing)
    play(script, matches=2)
    assert "a message could not be handled" in caplog.text and "IndexError" in caplog.text


def test_a_server_that_does_not_read_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for steps and reads no answer until the daemon reads no more: nothing is lost."""
    asked, answers = 0, []

    def small(self: Sockets, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # the system's own would swallow 50,000 answers
        made.setblocking(False)
        return made

    monkeypatch.setattr(Sockets, "__call__", small)

    async def script(peer: Peer) -> None:
        nonlocal asked
        assert peer.request.transport is not None
        opened = peer.request.transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the system's own would swallow much
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.log_in()
        await peer.send("start", match="m1")
        with contextlib.suppress(TimeoutError):
            while asked < 1_000_000:
                await asyncio.wait_for(ask(peer, asked + 1), 1.0)
                asked += 1
        for step in range(1, asked + 2):  # the one that was held up has been sent in part: it comes through, too
            answers.append(await peer.next())
            assert answers[-1] == {"type": "action", "match": "m1", "step": step, "action": echo(0.5)}

    async def ask(peer: Peer, step: int) -> None:
        await peer.send("step", match="m1", step=step, obs=observation(0.5))

    with Server(script) as server, Daemon(server.url) as daemon:
        wait_until(lambda: server.finished, 6 * PATIENCE_S)
        server.done()
        assert MOST_OPEN_STEPS < asked < 1_000_000 and len(answers) == asked + 1
        assert daemon.telemetry.numbers().steps == asked + 1


def test_reading_that_stopped_goes_on_as_steps_are_answered() -> None:
    steps = 4 * MOST_OPEN_STEPS

    async def script(peer: Peer) -> None:
        await peer.log_in()
        peer.daemon.brain.gate.clear()
        await peer.send("start", match="m1")
        asking = asyncio.create_task(ask(peer))
        await asyncio.to_thread(wait_until, lambda: peer.daemon.telemetry.numbers().messages >= MOST_OPEN_STEPS)
        peer.daemon.brain.gate.set()
        for step in range(1, steps + 1):
            await peer.expect("action", match="m1", step=step, action=echo(0.5))
        await asking

    async def ask(peer: Peer) -> None:
        for step in range(1, steps + 1):
            await peer.send("step", match="m1", step=step, obs=observation(0.5))

    play(script)


def test_no_more_ends_are_read_than_can_be_saved() -> None:
    """A server that begins and ends matches without waiting for `seen` costs no memory and no threads."""

    async def script(peer: Peer) -> None:
        assert await peer.log_in() == 2
        peer.daemon.kept.delays = True
        for number in range(20):
            await peer.send("start", match=f"m{number}", rounds=1)
            await peer.send("end", match=f"m{number}", own=0, other=0)
        for number in range(20):
            await asyncio.to_thread(wait_until, lambda: peer.daemon.kept.waiting)
            assert len(peer.daemon.kept.matches) - number <= 3
            peer.daemon.kept.waiting.pop(0)()
            while (said := await peer.next())["type"] != "seen":
                pass
            assert said["match"] == f"m{number}"

    assert len(play(script, matches=2).kept.matches) == 20


def play_garbage(peer: socket.socket, data: bytes) -> None:
    handshake(peer)
    peer.sendall(text(type="welcome", version=1) + text(type="start", match="m1") + data)
    drain(peer)


def reset(peer: socket.socket) -> None:
    handshake(peer)
    peer.sendall(text(type="welcome", version=1) + text(type="start", match="m1"))
    peer.recv(100)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


BROKEN: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "closes at once": (lambda peer: peer.close(), ""),
    "speaks first": (lambda peer: peer.sendall(b"220 mail.example.org ESMTP\r\n\r\n"), "no WebSocket server"),
    "no status": (lambda peer: peer.sendall(b"\r\n\r\n"), "no connection"),
    "no UTF-8": (lambda peer: peer.sendall(b"HTTP/1.1 101 \xff\xff\r\n\r\n"), "no WebSocket server"),
    "no upgrade": (lambda peer: peer.sendall(b"HTTP/1.1 101 Fine\r\n\r\n"), "no WebSocket server"),
    "endless headers": (
        lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\n" + 9999 * b"X-Filler: 1\r\n"),
        "no WebSocket server",
    ),
    "endless body": (
        lambda peer: peer.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 99999999\r\n\r\n" + bytes(99_999)),
        "HTTP status 500",
    ),
    "bad cookie": (
        lambda peer: peer.sendall(b"HTTP/1.1 302 F\r\nSet-Cookie: a\x01=;\x01=\r\nLocation: /\r\n\r\n"),
        "no connection",
    ),
    "garbage": (lambda peer: play_garbage(peer, bytes(range(256))), "broke the WebSocket protocol"),
    "unknown frame": (lambda peer: play_garbage(peer, b"\x83\x00"), "broke the WebSocket protocol"),
    "long control frame": (lambda peer: play_garbage(peer, b"\x89\x7e\x01\x00" + bytes(256)), "broke the WebSocket"),
    "bad close": (lambda peer: play_garbage(peer, b"\x88\x02\x03\xed"), "broke the WebSocket protocol"),
    "close without a code": (lambda peer: play_garbage(peer, b"\x88\x00"), "closed the connection"),
    "reset": (reset, "is lost"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_after_a_broken_connection_comes_the_next(how: str, caplog: pytest.LogCaptureFixture) -> None:
    serve, reason = BROKEN[how]
    welcomed: list[bool] = []

    def script(peer: socket.socket) -> None:
        if not served:
            served.append(True)
            serve(peer)
            return
        handshake(peer)
        peer.sendall(text(type="welcome", version=1))
        welcomed.append(True)
        drain(peer)

    served: list[bool] = []
    with raw_server(script) as url, Daemon(url) as daemon:
        wait_until(lambda: welcomed)
        assert daemon.is_running
    assert reason in caplog.text and TOKEN not in caplog.text


def test_silence_instead_of_a_handshake(caplog: pytest.LogCaptureFixture) -> None:
    timing = Timing(connect_s=0.1)
    with raw_server(drain) as url, Daemon(url, timing=timing, attempts=2) as daemon:
        assert "no connection within 0.1 s" in str(daemon.ended())


def test_a_frame_that_never_ends_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: socket.socket) -> None:
        handshake(peer)
        peer.sendall(text(type="welcome", version=1) + struct.pack("!BBQ", 0x81, 127, MOST_FRAME_BYTES - 1))
        while True:
            peer.sendall(bytes(1))
            pause.wait(0.01)

    pause = threading.Event()
    timing = Timing(ping_every_s=0.05, pong_within_s=0.05, turn_s=0.01)
    with raw_server(script) as url, Daemon(url, timing=timing):
        wait_until(lambda: "has not answered a ping" in caplog.text)


@pytest.mark.parametrize("size", [MOST_FRAME_BYTES + 1, 1 << 60])
def test_a_frame_beyond_all_bounds_ends_the_connection_at_once(size: int, caplog: pytest.LogCaptureFixture) -> None:
    def script(peer: socket.socket) -> None:
        handshake(peer)
        peer.sendall(text(type="welcome", version=1) + struct.pack("!BBQ", 0x81, 127, size))
        while True:
            peer.sendall(bytes(65536))

    with raw_server(script) as url, Daemon(url):
        wait_until(lambda: "broke the WebSocket protocol" in caplog.text)


def test_one_byte_at_a_time() -> None:
    def script(peer: socket.socket) -> None:
        handshake(peer)
        data = text(type="welcome", version=1) + text(type="start", match="m1")
        for byte in data + text(type="step", match="m1", step=1, obs=OBS):
            peer.sendall(bytes([byte]))
        drain(peer)

    with raw_server(script) as url, Daemon(url) as daemon:
        wait_until(lambda: daemon.telemetry.numbers().steps == 1)
