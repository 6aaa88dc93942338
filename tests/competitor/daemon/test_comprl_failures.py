"""Everything that can go wrong between the comprl wire and its server, and how playing goes on."""

import contextlib
import logging
import socket
from concurrent.futures import CancelledError

import pytest

from competitor.daemon.comprl import (
    ANSWER_WITHIN_S,
    CONNECT_TIMEOUT_S,
    LINGER_S,
    LOGIN_TIMEOUT_S,
    LOOK_EVERY_S,
    PROBE_AFTER_S,
)
from competitor.daemon.tournament import LONGEST_MATCH_S
from competitor.errors import LoginError, ProtocolVersionError, UnreachableError
from competitor.wire import dial
from tests.competitor.daemon.comprl_harness import ANSWER, Daemon, connected, play_on
from tests.competitor.daemon.misbehaving_server import GAME_ID, Server
from tests.competitor.daemon.shared import OBS, STUCK_AFTER_S, TOKEN, wait_until
from tests.competitor.wire.boxes import write_box


@pytest.mark.parametrize(("ending", "reason"), [("close", "closed the connection"), ("reset", "reset by peer")])
def test_the_server_dies_in_a_match(ending: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with connected(in_match=True) as (server, daemon, peer):
        peer.socket.sendall(write_box({"_ask": "99", "_command": "Step", "obv": OBS})[:50])
        getattr(peer, ending)()
        (said,) = daemon.has_kept("abandoned")
        assert reason in said
        for _ in range(2):
            play_on(server).close()
        play_on(server)
        assert daemon.telemetry.numbers().reconnects == daemon.backoff.resets == 3
    assert reason in caplog.text and "trying again in" in caplog.text
    assert caplog.text.count("back at 127.0.0.1") == 3 and caplog.text.count("logged in at 127.0.0.1") == 1


@pytest.mark.parametrize("saves", [False, True], ids=["a step is open", "a record is being saved"])
def test_the_server_dies_while_an_answer_is_owed(saves: bool) -> None:
    """The answer comes too late and goes nowhere, also when the next connection stands already."""
    with connected() as (server, daemon, peer):
        if saves:
            daemon.kept.delays = True
            peer.action(peer.start())
            peer.end(1.0, 0.0)
            wait_until(lambda: daemon.kept.waiting)
        else:
            daemon.brain.gate.clear()
            peer.start()
            assert daemon.brain.entered.acquire(timeout=10)
        peer.close()
        again = server.accept()
        again.queue()
        daemon.brain.gate.set()
        for saved in daemon.kept.waiting:
            saved()
        again.answer(again.ask("Message", msg="anything else would have come first"))


def test_refused_connections_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server:
        server.stop_listening()
        with Daemon(server.port) as daemon:
            for _ in range(3):
                daemon.wait_until_it_waits()
            with Server(port=server.port) as other:
                other.accept().queue()
    assert "Connection refused; trying again in" in caplog.text


def test_the_wait_grows_until_a_connection_was_useful() -> None:
    """A server that takes connections and drops them before the login gets no reset."""
    with Server() as server, Daemon(server.port) as daemon:
        server.accept().close()
        daemon.wait_until_it_waits()
        peer = server.accept()
        peer.log_in()
        peer.answer(peer.ask("Message", msg="no places left, come back later"))
        peer.close()
        daemon.wait_until_it_waits()
        assert daemon.backoff.resets == 0 and daemon.telemetry.events == []
        peer = server.accept()
        peer.queue()
        assert daemon.backoff.resets == 0  # a login alone has been of no use yet
        peer.action(peer.start())
        assert daemon.backoff.resets == 1


def test_a_server_that_does_not_answer_the_call(deaf_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with Daemon(deaf_port, fake_time=True) as daemon:
        daemon.settle()
        assert not daemon.backoff.waits.acquire(blocking=False)
        daemon.pass_time(CONNECT_TIMEOUT_S + 0.1)
        daemon.wait_until_it_waits()
    assert "no answer within 10 s; trying again" in caplog.text


@pytest.mark.parametrize("talks", [False, True], ids=["nothing", "Auth only"])
def test_silence_instead_of_a_login(talks: bool, caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, Daemon(server.port, fake_time=True) as daemon:
        peer = server.accept()
        if talks:
            peer.log_in()
        daemon.pass_time(LOGIN_TIMEOUT_S - 0.5)
        if talks:  # for ever, if it were let
            peer.answer(peer.ask("Message", msg="please wait"))
        assert daemon.is_running and not server.is_called
        daemon.pass_time(LOOK_EVERY_S)
        peer.expect_end()
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        server.accept().queue()
    assert "no login for 15 s" in caplog.text


def test_silence_in_the_queue_is_normal_until_the_server_hangs(caplog: pytest.LogCaptureFixture) -> None:
    with connected(fake_time=True) as (_, daemon, peer):
        for _ in range(10):  # hours would be the same: a server that answers is there
            daemon.pass_time(PROBE_AFTER_S)
            for _ in range(2):  # after the second answer the client has read that its question is none
                peer.answer(peer.ask("Message", msg="what was that?"))
        assert peer.probes == 10 and "nobody had asked" not in caplog.text
        peer.hangs = True
        daemon.pass_time(PROBE_AFTER_S)
        daemon.pass_time(ANSWER_WITHIN_S)
        peer.expect_end()
        daemon.wait_until_it_waits()
    assert "the server has not answered for 50 s" in caplog.text


@pytest.mark.parametrize("reads", [True, False])
def test_a_match_that_is_stuck_is_given_up(reads: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Also where the server reads no answer any more: closing politely would wait for ever for it to take them."""
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        daemon.rig.now_s += 0.9 * STUCK_AFTER_S
        assert peer.action(peer.ask("Step", obv=OBS)) == ANSWER
        daemon.rig.now_s += 0.9 * STUCK_AFTER_S
        daemon.pass_time(LOOK_EVERY_S)
        assert daemon.kept.matches == []
        daemon.rig.now_s += 0.2 * STUCK_AFTER_S
        if not reads:
            peer.send(*(peer.request("Message", msg="x" * 60_000) for _ in range(200)))
        daemon.pass_time(LOOK_EVERY_S)
        if reads:
            peer.expect_end()
        daemon.pass_time(LINGER_S + 0.1)
        assert daemon.has_kept("abandoned") == ["no step for 45 s"]
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        play_on(server)
    assert f"giving up match {GAME_ID}" in caplog.text


def test_a_match_without_end_holds_nobody_who_wants_to_finish() -> None:
    """A server that is slow, but never silent, as one whose matches never end."""
    with connected(in_match=True, fake_time=True) as (_, daemon, peer):
        daemon.wire.finish()
        for _ in range(int(LONGEST_MATCH_S // 44) + 1):
            daemon.pass_time(LOOK_EVERY_S)
            assert daemon.kept.matches == []
            daemon.rig.now_s += 44
            assert peer.action(peer.ask("Step", obv=OBS)) == ANSWER
        with contextlib.suppress(CancelledError):  # its loop may end before all of that has passed
            daemon.pass_time(LOOK_EVERY_S)
        peer.expect_end()
        assert daemon.ended() is None and daemon.has_kept("abandoned") == ["no end after 3 hours"]


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [("Authentication failed", LoginError, 11), ("Tried to connect with wrong version", ProtocolVersionError, 12)],
)
def test_refused_logins_end_it_at_once(
    text: str, kind: type[LoginError], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server, Daemon(server.port, token="wr0ng-token") as daemon:
        peer = server.accept()
        peer.answer(peer.ask("Auth"))
        peer.ask("Error", msg=text)
        peer.close()
        error = daemon.ended()
        assert isinstance(error, kind) and error.exit_code == code
        assert f"127.0.0.1:{server.port}" in str(error) and "\n" not in str(error)
        assert not server.is_called and daemon.telemetry.events == []
    assert "wr0ng-token" not in caplog.text + repr(error)


def test_a_refused_login_lets_another_connection_finish_its_match() -> None:
    with Server() as server, Daemon(server.port, connections=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        step = one.start()
        two.answer(two.ask("Auth"))
        two.ask("Error", msg="Authentication failed")
        two.expect_end()
        assert one.action(step) == ANSWER
        assert not one.finish_match(4.0, 0.0, result=True)
        one.expect_end()
        assert isinstance(daemon.ended(), LoginError)
    daemon.has_kept("played")


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("text", ["Invalid action", "the hall is closed for lunch"])
def test_other_errors_are_logged_and_it_connects_again(
    text: str, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """After an invalid action the real server sends one more step, then it closes; another one may not."""
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        error, step = peer.send(peer.request("Error", msg=text), peer.request("Step", obv=["nan"] * 6 + [0.0] * 12))
        assert peer.answer(error) == {"_answer": error.encode()} and peer.action(step)
        if closes:
            peer.close()
        else:
            daemon.pass_time(LINGER_S + 0.1)
            peer.expect_end()
        assert daemon.has_kept("abandoned") == [f"the server says: {text}"]
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        play_on(server)
    assert f"the server says: {text}" in caplog.text


GARBAGE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "key of 256": b"\x01\x00" + b"k" * 256,
    "endless key": b"\xff" * 70_000,
    "empty box": b"\0\0",
    "zeros": b"\0" * 10_000,
    "box that is no request": write_box({"msg": "hello"}),
    "random": bytes((7919 * number >> 4) % 251 + 5 for number in range(5000)),
    "box without end": b"".join(b"\0\x02%02x\xff\xff" % key + b"v" * 65535 for key in range(70)),
}


@pytest.mark.parametrize("in_match", [False, True], ids=["at login", "in a match"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_ends_the_connection_and_it_connects_again(
    garbage: bytes, in_match: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = play_on(server) if in_match else server.accept()
        try:
            peer.socket.sendall(garbage)
            peer.expect_end()
        except ConnectionError:
            pass  # closed with part of it unread
        daemon.wait_until_it_waits()
        play_on(server)
    assert "the server sent" in caplog.text


def check_unreachable(daemon: Daemon, words: str) -> None:
    error = daemon.ended()
    assert isinstance(error, UnreachableError) and error.exit_code == 17
    assert str(error) == f"no connection to {words}; is the address right?"


def test_attempts_are_counted_in_a_row() -> None:
    with Server() as server, Daemon(server.port, attempts=3) as daemon:
        for _ in range(2):
            server.accept().close()
        play_on(server).close()
        for _ in range(3):
            server.accept().close()
        check_unreachable(daemon, f"127.0.0.1:{server.port} after 3 attempts: the server closed the connection")


def test_an_unreachable_server_is_kept_trying_while_another_connection_plays() -> None:
    with Server() as server, Daemon(server.port, connections=2, attempts=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        step = one.start()
        two.close()
        for _ in range(3):
            server.accept().close()
        assert one.action(step) == ANSWER and daemon.is_running


HOSTS = {
    "unknown": "no-such-host.invalid",
    "hole": "a..b",
    "long": "x" * 300,
    "blank": "two words",
    "surrogate": "\ud800",
    "umlaut and hole": "bücher..de",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS.keys())
def test_hosts_that_do_not_exist(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def offline(name: str, *args: object, **kwargs: object) -> object:
        if name in ("no-such-host.invalid", "two words"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(dial.socket, "getaddrinfo", offline)
    with Daemon(9, host=host, attempts=2) as daemon:
        check_unreachable(daemon, f"{daemon.wire.address} after 2 attempts: there is no such host, or no network")
    assert "\n" not in daemon.wire.address


def test_a_host_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, until one answers; its socket finds out about a dead server while it waits in the queue."""
    tuned: list[socket.socket] = []
    real = dial.keep_alive
    with Server() as server:
        hosts = ("127.0.0.3", "127.0.0.2", "127.0.0.1")
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in hosts]
        monkeypatch.setattr(dial.socket, "getaddrinfo", lambda *args, **kwargs: found)
        monkeypatch.setattr(dial, "keep_alive", lambda opened: (tuned.append(opened), real(opened)))
        with Daemon(server.port, host="comprl.example") as daemon:
            play_on(server)
            assert daemon.wire.address == f"comprl.example:{server.port}"
            assert tuned[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_ipv6() -> None:
    try:
        server = Server(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server, Daemon(server.port, host="::1") as daemon:
        play_on(server)
        assert daemon.wire.address == f"[::1]:{server.port}"


def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with connected(in_match=True) as (server, daemon, peer):
        peer.ask("Error", msg=f"Authentication failed for {TOKEN}")
        peer.close()
        assert TOKEN not in daemon.has_kept("abandoned")[0]
        play_on(server)
        assert TOKEN not in repr(daemon.wire)
    assert TOKEN not in caplog.text
