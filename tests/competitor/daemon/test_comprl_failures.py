"""Everything that can go wrong between the comprl wire and its server, and how playing goes on."""

from __future__ import annotations

import logging
import socket

import pytest

from competitor.daemon.comprl import (
    ANSWER_WITHIN_S,
    CONNECT_TIMEOUT_S,
    LINGER_S,
    LOGIN_TIMEOUT_S,
    LOOK_EVERY_S,
    MOST_OWED,
    MOST_PAIRS,
    PROBE_AFTER_S,
)
from competitor.errors import LoginError, ProtocolVersionError, UnreachableError
from competitor.wire import dial
from tests.competitor.daemon.comprl_harness import ACTION, Daemon, FakeTournament, Unplugged, connected
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, START, TIMEOUT_S, Peer, Server
from tests.competitor.daemon.shared import TOKEN
from tests.competitor.wire.boxes import write_box


def play_on(server: Server) -> Peer:
    """The wire connects again and plays."""
    peer = server.accept()
    peer.queue()
    assert peer.action(peer.start()) == list(ACTION)
    return peer


@pytest.mark.parametrize(("ending", "reason"), [("close", "closed the connection"), ("reset", "reset by peer")])
def test_the_server_dies_in_a_match(ending: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with connected(in_match=True) as (server, daemon, peer):
        getattr(peer, ending)()
        _, name, said = daemon.tournament.wait_for("closed")
        assert name == "comprl-1" and reason in said
        play_on(server)
    assert f"{reason}" in caplog.text and "trying again in" in caplog.text


def test_the_server_dies_in_the_middle_of_a_box() -> None:
    with connected(in_match=True) as (server, daemon, peer):
        peer.socket.sendall(write_box({"_ask": "99", "_command": "Step", "obv": START})[:50])
        peer.close()
        assert daemon.tournament.wait_for("closed")
        play_on(server)


def test_the_server_dies_while_an_answer_is_owed() -> None:
    """The answer comes too late and goes nowhere, also when the next connection stands already."""
    tournament = FakeTournament()
    replies = []
    tournament.on_step = lambda session, obs, reply: tournament.note("step", replies.append(reply))
    with connected(tournament) as (server, _, peer):
        peer.start()
        tournament.wait_for("step")
        peer.close()
        tournament.wait_for("closed")
        again = server.accept()
        again.queue()
        replies[0](ACTION)
        again.answer(again.ask("Message", msg="anything else would have come first"))


def test_a_record_is_saved_after_the_connection_is_gone() -> None:
    tournament = FakeTournament()
    tournament.on_end = lambda saved: tournament.note("saving", saved)
    with connected(tournament, in_match=True) as (server, _, peer):
        peer.end(1.0, 0.0)
        _, saved = tournament.wait_for("saving")
        peer.close()
        tournament.wait_for("closed")
        saved()
        server.accept().queue()


def test_refused_connections_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server:
        server.stop_listening()
        with Daemon(server.port) as daemon:
            for _ in range(3):
                daemon.wait_until_it_waits()
            with socket.create_server(("127.0.0.1", server.port)) as listener:
                listener.settimeout(TIMEOUT_S)
                accepted, _ = listener.accept()
                with accepted:
                    Peer(accepted).queue()
    assert "Connection refused; trying again in" in caplog.text


def test_coming_back_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Server() as server, Daemon(server.port) as daemon:
        for _ in range(3):
            play_on(server).close()
            daemon.tournament.wait_for("closed")
        play_on(server)
        assert daemon.telemetry.numbers().reconnects == daemon.backoff.resets == 3
    assert caplog.text.count("back at 127.0.0.1") == 3
    assert caplog.text.count("logged in at 127.0.0.1") == 1


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
        assert daemon.backoff.resets == 0 and not daemon.tournament.participants
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
            daemon.pass_time(LOGIN_TIMEOUT_S - 1.0)
            peer.log_in()
            daemon.pass_time(LOGIN_TIMEOUT_S - 1.0)
            peer.answer(peer.ask("Message", msg="please wait"))
        daemon.pass_time(LOGIN_TIMEOUT_S - 0.5)
        assert daemon.is_running and not server.is_called
        daemon.pass_time(LOOK_EVERY_S)
        peer.expect_end()
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        server.accept().queue()
    assert "no login for 15 s" in caplog.text


def test_silence_in_the_queue_is_normal(caplog: pytest.LogCaptureFixture) -> None:
    with connected(fake_time=True) as (_, daemon, peer):
        for _ in range(10):  # hours would be the same: a server that answers is there
            daemon.pass_time(PROBE_AFTER_S)
            for _ in range(2):  # after the second answer the client has read that its question is none
                peer.answer(peer.ask("Message", msg="what was that?"))
        assert peer.probes == 10 and "nobody had asked" not in caplog.text
        assert peer.action(peer.start()) == list(ACTION)


def test_a_server_that_hangs_while_we_wait_in_its_queue_is_left(caplog: pytest.LogCaptureFixture) -> None:
    with connected(fake_time=True) as (_, daemon, peer):
        peer.hangs = True
        daemon.pass_time(PROBE_AFTER_S)
        daemon.pass_time(ANSWER_WITHIN_S)
        peer.expect_end()
        daemon.wait_until_it_waits()
    assert "the server has not answered for 50 s" in caplog.text


def test_a_match_that_is_stuck_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The tournament knows since when; the wire asks it every second."""
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        daemon.pass_time(30.0)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        daemon.tournament.is_stuck = True
        daemon.pass_time(1.0)
        peer.expect_end()
        assert daemon.tournament.wait_for("closed") == ("closed", "comprl-1", "the match was stuck")
        daemon.tournament.is_stuck = False
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        play_on(server)
    assert f"giving up match {GAME_ID}" in caplog.text


def test_a_server_that_reads_nothing_more_is_cut_off() -> None:
    """Closing politely would wait for ever for the answers to be taken."""
    unplugged = Unplugged()
    unplugged.line.close = lambda: None  # type: ignore[method-assign]
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.tournament.is_stuck = True
    unplugged.connection.look()
    assert not unplugged.line.is_closed
    unplugged.clock.advance(LINGER_S)
    assert unplugged.line.is_closed


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("Authentication failed", LoginError, 11),
        ("Tried to connect with wrong version", ProtocolVersionError, 12),
    ],
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
        assert not server.is_called and not daemon.tournament.participants
    assert "wr0ng-token" not in caplog.text + repr(error)


def test_a_refused_login_lets_another_connection_finish_its_match() -> None:
    with Server() as server, Daemon(server.port, connections=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        step = one.start()
        two.answer(two.ask("Auth"))
        two.ask("Error", msg="Authentication failed")
        two.expect_end()
        assert one.action(step) == list(ACTION)
        assert not one.finish_match(4.0, 0.0, result=True)
        one.expect_end()
        assert isinstance(daemon.ended(), LoginError)
        assert daemon.tournament.wait_for("end")[:4] == ("end", GAME_ID, 4, 0)


@pytest.mark.parametrize("text", ["Timeout after 10s", "the hall is closed for lunch"])
def test_other_errors_are_logged_and_it_connects_again(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with connected(in_match=True) as (server, daemon, peer):
        peer.ask("Error", msg=text)
        peer.close()
        assert daemon.tournament.wait_for("closed") == ("closed", "comprl-1", f"the server says: {text}")
        play_on(server)
    assert f"the server says: {text}" in caplog.text


def test_invalid_action_then_one_more_step_then_the_end() -> None:
    """What the real server does when it did not like the last answer."""
    with connected(in_match=True) as (server, daemon, peer):
        error, step = peer.send(
            peer.request("Error", msg="Invalid action"), peer.request("Step", obv=["nan"] * 6 + [0.0] * 12)
        )
        assert peer.answer(error) == {"_answer": error.encode()} and peer.action(step) == list(ACTION)
        peer.close()
        assert daemon.tournament.wait_for("closed")[2] == "the server says: Invalid action"
        play_on(server)


def test_a_server_that_does_not_close_after_an_error_is_left() -> None:
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        peer.answer(peer.ask("Error", msg="Timeout after 10s"))
        daemon.pass_time(LINGER_S + 0.1)
        peer.expect_end()
        assert daemon.tournament.wait_for("closed")


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


def test_the_largest_box_that_can_be_is_read() -> None:
    unplugged = Unplugged()
    fields = {f"{number:02}" + "k" * 253: "v" * 65535 for number in range(MOST_PAIRS - 2)}
    unplugged.ask("1", "Ready", **fields)
    assert list(unplugged.answers()) == ["1"] and not unplugged.line.is_closed
    unplugged.ask("2", "Ready", one="1", two="2", **fields)
    assert unplugged.line.is_closed


def test_a_list_as_long_as_a_value_can_be_is_answered() -> None:
    with connected(in_match=True) as (_, _, peer):
        assert peer.action(peer.ask("Step", obv=["0.0"] * 13_107)) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=["9" * 65_533])) == list(ACTION)


def test_attempts_are_counted_in_a_row() -> None:
    with Server() as server, Daemon(server.port, attempts=3) as daemon:
        for _ in range(2):
            server.accept().close()
        play_on(server).close()
        for _ in range(3):
            server.accept().close()
        check_unreachable(daemon, f"127.0.0.1:{server.port} after 3 attempts: the server closed the connection")


def test_one_attempt_at_a_port_where_nobody_listens() -> None:
    with Server() as server:
        server.stop_listening()
        with Daemon(server.port, attempts=1) as daemon:
            check_unreachable(daemon, f"127.0.0.1:{server.port} after one attempt: Connection refused")


def check_unreachable(daemon: Daemon, words: str) -> None:
    error = daemon.ended()
    assert isinstance(error, UnreachableError) and error.exit_code == 17
    assert str(error) == f"no connection to {words}; is the address right?"


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


def test_an_unreachable_server_is_kept_trying_while_another_connection_plays() -> None:
    with Server() as server, Daemon(server.port, connections=2, attempts=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        step = one.start()
        two.close()
        for _ in range(3):
            server.accept().close()
        assert one.action(step) == list(ACTION) and daemon.is_running


def test_a_host_with_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, until one answers."""
    with Server() as server:
        hosts = ("127.0.0.3", "127.0.0.2", "127.0.0.1")
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port)) for host in hosts]
        monkeypatch.setattr(dial.socket, "getaddrinfo", lambda *args, **kwargs: found)
        with Daemon(server.port, host="comprl.example") as daemon:
            play_on(server)
            assert daemon.wire.address == f"comprl.example:{server.port}"


def test_ipv6() -> None:
    try:
        server = Server(host="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server, Daemon(server.port, host="::1") as daemon:
        play_on(server)
        assert daemon.wire.address == f"[::1]:{server.port}"


def test_sockets_are_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep-alive finds a dead server in the queue, where silence is normal."""
    tuned: list[dict[str, int]] = []
    real = dial.keep_alive

    def noting(opened: socket.socket) -> None:
        real(opened)
        names = {"SO_KEEPALIVE": socket.SOL_SOCKET, **dict.fromkeys(dial.KEEP_ALIVE, socket.IPPROTO_TCP)}
        present = {name: level for name, level in names.items() if hasattr(socket, name)}
        tuned.append({name: opened.getsockopt(level, getattr(socket, name)) for name, level in present.items()})

    monkeypatch.setattr(dial, "keep_alive", noting)
    with connected():
        pass
    (options,) = tuned
    assert options["SO_KEEPALIVE"]
    dead_after_s = options.get("TCP_KEEPIDLE", 20) + options.get("TCP_KEEPINTVL", 10) * options.get("TCP_KEEPCNT", 3)
    assert dead_after_s <= 60


def test_no_more_is_read_than_is_answered_and_taken() -> None:
    """Neither a server that asks without waiting nor one that does not read its answers fills the memory."""
    unplugged = Unplugged()
    replies = []
    unplugged.tournament.on_step = lambda session, obs, reply: replies.append(reply)
    unplugged.ask("1", "StartGame", game_id=GAME)
    for number in range(MOST_OWED):
        assert not unplugged.line.is_paused
        unplugged.ask(f"s{number}", "Step", obv=START)
    assert unplugged.line.is_paused
    replies.pop()(ACTION)
    assert not unplugged.line.is_paused
    unplugged.connection.pause_writing()
    replies.pop()(ACTION)
    assert unplugged.line.is_paused
    unplugged.connection.resume_writing()
    assert not unplugged.line.is_paused


def test_the_token_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with connected(in_match=True) as (server, daemon, peer):
        peer.ask("Error", msg=f"Authentication failed for {TOKEN}")
        peer.close()
        daemon.tournament.wait_for("closed")
        play_on(server)
        assert TOKEN not in repr(daemon.wire)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(Unplugged().connection)
