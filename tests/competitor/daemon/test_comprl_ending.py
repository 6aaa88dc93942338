"""How the comprl wire ends: declined matches, finishing, leaving, and starting again in the same process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from competitor.wire import comprl_dial
from competitor.wire.comprl_dial import CONNECT_TIMEOUT_S
from tests.competitor.daemon.comprl_bench import ACTION, Daemon, FakeTournament, Unplugged, elsewhere
from tests.competitor.daemon.misbehaving_server import (
    GAME,
    GAME_ID,
    START,
    TIMEOUT_S,
    Peer,
    Server,
    write_box,
)


def closed_for_good(daemon: Daemon, server: Server) -> bool:
    """The wire ends by itself and nobody calls again."""
    return daemon.ended() is None and not server.has_caller


def test_no_match_wanted_right_after_the_login() -> None:
    tournament = FakeTournament()
    tournament.wants = [False]
    with Server() as server, Daemon(server.port, tournament) as daemon:
        peer = server.accept()
        peer.log_in()
        ready, message = peer.send(peer.request("Ready"), peer.request("Message", msg="Authentication successful"))
        assert peer.answer(ready)["ready"] == b"False"
        peer.owed.discard(message)  # may be cut off: nothing is lost with it
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_the_last_match_is_ended_before_closing() -> None:
    """Ready is declined one box before the end; the connection stays until the record is saved."""
    tournament = FakeTournament()
    tournament.wants = [True, False]
    tournament.on_end = lambda saved: tournament.note("saving", saved)
    with Server() as server, Daemon(server.port, tournament) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        peer.answer(peer.ask("Message", msg="one moment"))
        end = peer.ask("EndGame", result=True, stats=[2.0, 1.0])
        _, saved = tournament.wait_for("saving")
        peer.answer(peer.ask("Message", msg="still there?"))
        elsewhere(saved)
        assert peer.answer(end) == {"_answer": end.encode()}
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_what_is_owed_is_sent_before_closing() -> None:
    """A step that outlives the last match keeps the connection open."""
    tournament = FakeTournament()
    tournament.wants = [True, False]
    tournament.on_step = lambda session, obs, reply: tournament.note("step", reply)
    with Server() as server, Daemon(server.port, tournament) as daemon:
        peer = server.accept()
        peer.queue()
        step = peer.start()
        _, reply = tournament.wait_for("step")
        for tag in peer.end(0.0, 0.0):
            peer.answer(tag)
        peer.answer(peer.ask("Message", msg="still there?"))
        elsewhere(reply, ACTION)
        assert peer.action(step) == list(ACTION)
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_a_match_that_begins_after_all_is_played_to_its_end() -> None:
    unplugged = Unplugged()
    unplugged.tournament.wants = [False]
    unplugged.tournament.on_step = lambda session, obs, reply: None
    first = write_box({"_ask": "1", "_command": "Step", "obv": START})
    unplugged.feed(first.replace(b"Step", b"Auth") + write_box({"_ask": "2", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "3", "_command": "Ready"}))
    assert not unplugged.line.is_closed
    unplugged.feed(write_box({"_ask": "4", "_command": "StartGame", "game_id": GAME[::-1]}))
    assert not unplugged.line.is_closed
    unplugged.feed(write_box({"_ask": "5", "_command": "EndGame", "result": False, "stats": [0.0, 0.0]}))
    assert unplugged.line.is_closed and list(unplugged.answers()) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_last_match_that_is_lost_is_played_again(ending: str) -> None:
    """Declined, but the match went down with the server: the budget has a place again."""
    tournament = FakeTournament()
    tournament.wants = [True, False]
    with Server() as server, Daemon(server.port, tournament) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        getattr(peer, ending)()
        tournament.wait_for("closed")
        again = server.accept()
        again.queue()
        assert again.action(again.start()) == list(ACTION) and daemon.is_running


def test_each_connection_ends_for_itself() -> None:
    tournament = FakeTournament()
    with Server() as server, Daemon(server.port, tournament, connections=3) as daemon:
        peers = [server.accept() for _ in range(3)]
        for peer in peers:
            peer.queue()
        assert {tournament.wait_for("open")[1] for _ in range(3)} == {"comprl-1", "comprl-2", "comprl-3"}
        steps = [peer.start(bytes([number]) * 16) for number, peer in enumerate(peers)]
        for peer, step in zip(peers, steps, strict=True):
            assert peer.action(step) == list(ACTION)
        tournament.wants = [False] * 3
        for peer in peers:
            assert daemon.is_running
            ready, end = peer.end(1.0, 0.0)
            assert peer.answer(ready)["ready"] == b"False" and peer.answer(end)
            peer.expect_end()
        assert closed_for_good(daemon, server)


def test_finish_in_the_queue_closes_at_once() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        daemon.wire.finish()
        peer.expect_end()
        assert closed_for_good(daemon, server)
        assert daemon.tournament.wait_for("closed") == ("closed", "comprl-1", "no more matches wanted")


def test_finish_before_the_login_closes_at_once() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.answer(peer.ask("Auth"))
        daemon.wire.finish()
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_finish_in_a_match_plays_it_to_its_end() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        daemon.wire.finish()
        for _ in range(3):
            assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        ready, end = peer.end(1.0, 3.0)
        assert peer.answer(ready)["ready"] == b"False" and peer.answer(end)
        peer.expect_end()
        assert closed_for_good(daemon, server)
        assert [event[0] for event in daemon.tournament.drain()] == ["open", "ready", "begin", "end", "closed"]


def test_finish_between_ready_and_the_end_of_the_match() -> None:
    """The next match was wanted a moment ago; it is not any more."""
    with Server() as server, Daemon(server.port, fake_time=True) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        daemon.wire.finish()
        daemon.in_reactor(lambda: None)
        end = peer.ask("EndGame", result=False, stats=[0.0, 0.0])
        assert peer.answer(end)
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_a_match_that_begins_while_the_last_record_is_saved_is_played() -> None:
    tournament = FakeTournament()
    tournament.on_end = lambda saved: tournament.note("saving", saved)
    with Server() as server, Daemon(server.port, tournament, fake_time=True) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        ready, end = peer.end(0.0, 1.0)
        assert peer.answer(ready)["ready"] == b"True"
        _, saved = tournament.wait_for("saving")
        daemon.wire.finish()
        daemon.in_reactor(lambda: None)
        step = peer.start(GAME[::-1])
        assert peer.action(step) == list(ACTION)
        elsewhere(saved)
        peer.answer(end)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        ready, end = peer.end(0.0, 1.0)
        assert peer.answer(ready)["ready"] == b"False"
        elsewhere(tournament.wait_for("saving")[1])
        peer.answer(end)
        peer.expect_end()
        assert closed_for_good(daemon, server)


def test_finish_then_the_server_dies() -> None:
    """There is nothing to connect again for."""
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        daemon.wire.finish()
        peer.close()
        assert closed_for_good(daemon, server)


@pytest.mark.parametrize("how", ["finish", "leave"])
def test_a_stop_in_a_long_wait(how: str) -> None:
    with Server() as server:
        server.stop_listening()
        with Daemon(server.port, retry_s=100_000.0) as daemon:
            daemon.wait_until_it_waits()
            getattr(daemon.wire, how)()
            assert daemon.ended() is None


@pytest.mark.parametrize("how", ["finish", "leave"])
def test_a_stop_while_connecting(how: str) -> None:
    with Server(backlog=0) as server:
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", server.port))
        with Daemon(server.port, fake_time=True) as daemon:
            daemon.in_reactor(lambda: None)
            getattr(daemon.wire, how)()
            assert daemon.ended() is None
        for caller in callers:
            caller.close()


@pytest.mark.parametrize("how", ["finish", "leave"])
def test_a_stop_while_the_name_is_looked_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer must not hold anybody up, and what it says later is of no interest."""
    asked, may_answer = threading.Semaphore(0), threading.Event()
    lookups = []

    def slow(*args: object, **kwargs: object) -> list[object]:
        lookups.append(threading.current_thread())
        asked.release()
        assert may_answer.wait(TIMEOUT_S)
        return []

    monkeypatch.setattr(comprl_dial.socket, "getaddrinfo", slow)
    with Daemon(9, host="slow.example", fake_time=True) as daemon:
        assert asked.acquire(timeout=TIMEOUT_S)
        daemon.pass_time(CONNECT_TIMEOUT_S + 0.1)
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        assert asked.acquire(timeout=TIMEOUT_S)
        getattr(daemon.wire, how)()
        assert daemon.ended() is None
    may_answer.set()
    for thread in lookups:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


@pytest.mark.parametrize("how", ["finish", "leave"])
def test_a_stop_before_the_start(how: str) -> None:
    with Server() as server:
        daemon = Daemon(server.port)
        getattr(daemon.wire, how)()
        with daemon:
            assert closed_for_good(daemon, server)


def test_stops_after_the_end_are_nothing() -> None:
    """And so is an answer that comes then."""
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: tournament.note("step", reply)
    with Server() as server, Daemon(server.port, tournament) as daemon:
        server.accept().start()
        _, reply = tournament.wait_for("step")
        daemon.wire.leave()
        assert daemon.ended() is None
        daemon.wire.finish()
        daemon.wire.leave()
        reply(ACTION)


def test_leave_in_a_match_closes_now() -> None:
    with Server() as server, Daemon(server.port, connections=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        one.action(one.start())
        two.queue()
        daemon.wire.finish()
        two.expect_end()
        assert daemon.is_running
        daemon.wire.leave()
        one.expect_end()
        assert closed_for_good(daemon, server)
        assert daemon.tournament.wait_for("begin")[1] == GAME_ID
        reasons = {daemon.tournament.wait_for("closed")[2] for _ in range(2)}
        assert reasons == {"no more matches wanted", "leaving"}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_it_can_run_many_times_in_a_process_and_leaves_nothing_open() -> None:
    def play_one_match() -> None:
        tournament = FakeTournament()
        tournament.wants = [True, False]
        with Server() as server, Daemon(server.port, tournament) as daemon:
            peer = server.accept()
            peer.queue()
            peer.action(peer.start())
            for tag in peer.end(1.0, 0.0):
                peer.answer(tag)
            peer.expect_end()
            assert daemon.ended() is None

    play_one_match()
    before = descriptors()
    for _ in range(5):
        play_one_match()
    assert descriptors() == before


def test_two_wires_at_once_in_one_process() -> None:
    with Server() as a, Server() as b, Daemon(a.port), Daemon(b.port):
        peers = [a.accept(), b.accept()]
        for peer in peers:
            peer.queue()
        steps = [peer.start() for peer in peers]
        assert [peer.action(step) for peer, step in zip(peers, steps, strict=True)] == [list(ACTION)] * 2


RUN_IN_MAIN_THREAD = """
import random, signal, socket, sys
from competitor.wire.backoff import Backoff, Retries
from competitor.daemon.comprl import ComprlWire
from competitor.daemon.telemetry import Telemetry

wire = ComprlWire("127.0.0.1", int(sys.argv[1]), "t", None, telemetry=Telemetry(),
                  retries=lambda: Retries(Backoff(1000.0, 1000.0, random.Random())))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits that it is ignored
signal.signal(signal.SIGTERM, lambda number, frame: wire.finish())
wire.run()
assert callable(signal.getsignal(signal.SIGTERM)) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert "torch" not in sys.modules and "twisted.internet.reactor" not in sys.modules
print("done")
"""


def test_in_the_main_thread_of_a_process() -> None:
    """Signals stay the caller's, whose handlers can stop the wire; no torch, and no global reactor is installed."""
    with Server() as server:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-W", "error", "-c", RUN_IN_MAIN_THREAD, str(server.port)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            peer: Peer = server.accept()
            peer.answer(peer.ask("Auth"))
            process.terminate()
            output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and output == "done\n"
