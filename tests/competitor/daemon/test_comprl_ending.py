"""How the comprl wire ends: declined matches, finishing, leaving, and starting again in the same process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from competitor.daemon.comprl import CONNECT_TIMEOUT_S
from competitor.wire import dial
from tests.competitor.daemon.comprl_harness import ACTION, Daemon, FakeTournament, Unplugged, connected, elsewhere
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, START, TIMEOUT_S, Peer, Server

both_ways = pytest.mark.parametrize("how", ["finish", "leave"])


def wanting(*wants: bool) -> FakeTournament:
    """A tournament that wants these matches, and keeps what confirms their records in its events."""
    tournament = FakeTournament()
    tournament.wants = list(wants)
    return tournament


def holding_records(*wants: bool) -> FakeTournament:
    tournament = wanting(*wants)
    tournament.on_end = lambda saved: tournament.note("saving", saved)
    return tournament


def ends_for_good(server: Server, daemon: Daemon, *peers: Peer) -> None:
    """The connections close, the wire ends by itself, and nobody calls again."""
    for peer in peers:
        peer.expect_end()
    assert daemon.ended() is None and not server.is_called


def test_no_match_wanted_right_after_the_login() -> None:
    with Server() as server, Daemon(server.port, wanting(False)) as daemon:
        peer = server.accept()
        peer.log_in()
        ready, message = peer.send(peer.request("Ready"), peer.request("Message", msg="Authentication successful"))
        assert peer.answer(ready)["ready"] == b"False"
        peer.owed.discard(message)  # may be cut off: nothing is lost with it
        ends_for_good(server, daemon, peer)


def test_the_last_match_is_ended_before_closing() -> None:
    """Ready is declined one box before the end; the connection stays until the record is saved."""
    tournament = holding_records(True, False)
    with connected(tournament, in_match=True) as (server, daemon, peer):
        ready, end = peer.end(2.0, 1.0, result=True)
        assert peer.answer(ready)["ready"] == b"False"
        _, saved = tournament.wait_for("saving")
        peer.answer(peer.ask("Message", msg="still there?"))
        assert end not in peer.answers
        elsewhere(saved)
        assert peer.answer(end) == {"_answer": end.encode()}
        ends_for_good(server, daemon, peer)


def test_what_is_owed_is_sent_before_closing() -> None:
    """A step that outlives the last match keeps the connection open."""
    tournament = wanting(True, False)
    tournament.on_step = lambda session, obs, reply: tournament.note("step", reply)
    with connected(tournament) as (server, daemon, peer):
        step = peer.start()
        _, reply = tournament.wait_for("step")
        assert not peer.finish_match(0.0, 0.0)
        peer.answer(peer.ask("Message", msg="still there?"))
        elsewhere(reply, ACTION)
        assert peer.action(step) == list(ACTION)
        ends_for_good(server, daemon, peer)


def test_a_match_that_begins_after_all_is_played_to_its_end() -> None:
    unplugged = Unplugged(wanting(False))
    unplugged.tournament.on_step = lambda session, obs, reply: None
    unplugged.ask("1", "Auth", obv=START)
    unplugged.ask("2", "StartGame", game_id=GAME)
    unplugged.ask("3", "Ready")
    assert not unplugged.line.is_closed
    unplugged.ask("4", "StartGame", game_id=GAME[::-1])
    assert not unplugged.line.is_closed
    unplugged.ask("5", "EndGame", result=False, stats=[0.0, 0.0])
    assert unplugged.line.is_closed and list(unplugged.answers()) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_last_match_that_is_lost_is_played_again(ending: str) -> None:
    """Declined, but the match went down with the server: the budget has a place again."""
    with connected(wanting(True, False), in_match=True) as (server, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        getattr(peer, ending)()
        daemon.tournament.wait_for("closed")
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
            assert daemon.is_running and not peer.finish_match(1.0, 0.0)
            peer.expect_end()
        ends_for_good(server, daemon)


@pytest.mark.parametrize("has_logged_in", [True, False], ids=["in the queue", "before the login"])
def test_finish_without_a_match_closes_at_once(has_logged_in: bool) -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        if has_logged_in:
            peer.queue()
        else:
            peer.answer(peer.ask("Auth"))
        daemon.wire.finish()
        ends_for_good(server, daemon, peer)
        if has_logged_in:
            assert daemon.tournament.wait_for("closed") == ("closed", "comprl-1", "no more matches wanted")


def test_finish_in_a_match_plays_it_to_its_end() -> None:
    with connected(in_match=True) as (server, daemon, peer):
        daemon.wire.finish()
        for _ in range(3):
            assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        assert not peer.finish_match(1.0, 3.0)
        ends_for_good(server, daemon, peer)
        assert [event[0] for event in daemon.tournament.drain()] == ["open", "ready", "begin", "end", "closed"]


def test_finish_between_ready_and_the_end_of_the_match() -> None:
    """The next match was wanted a moment ago; it is not any more."""
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        daemon.wire.finish()
        daemon.settle()
        assert peer.answer(peer.ask("EndGame", result=False, stats=[0.0, 0.0]))
        ends_for_good(server, daemon, peer)


def test_a_match_that_begins_while_the_last_record_is_saved_is_played() -> None:
    tournament = holding_records()
    with connected(tournament, in_match=True, fake_time=True) as (server, daemon, peer):
        ready, end = peer.end(0.0, 1.0)
        assert peer.answer(ready)["ready"] == b"True"
        _, saved = tournament.wait_for("saving")
        daemon.wire.finish()
        daemon.settle()
        step = peer.start(GAME[::-1])
        assert peer.action(step) == list(ACTION)
        elsewhere(saved)
        peer.answer(end)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        ready, end = peer.end(0.0, 1.0)
        assert peer.answer(ready)["ready"] == b"False"
        elsewhere(tournament.wait_for("saving")[1])
        peer.answer(end)
        ends_for_good(server, daemon, peer)


def test_finish_then_the_server_dies() -> None:
    """There is nothing to connect again for."""
    with connected(in_match=True) as (server, daemon, peer):
        daemon.wire.finish()
        peer.close()
        ends_for_good(server, daemon)


@both_ways
def test_a_stop_in_a_long_wait(how: str) -> None:
    with Server() as server:
        server.stop_listening()
        with Daemon(server.port, retry_s=100_000.0) as daemon:
            daemon.wait_until_it_waits()
            getattr(daemon.wire, how)()
            assert daemon.ended() is None


@both_ways
def test_a_stop_while_connecting(how: str, deaf_port: int) -> None:
    with Daemon(deaf_port, fake_time=True) as daemon:
        daemon.settle()
        getattr(daemon.wire, how)()
        assert daemon.ended() is None


@both_ways
def test_a_stop_while_the_name_is_looked_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer must not hold anybody up, and what it says later is of no interest."""
    asked, may_answer = threading.Semaphore(0), threading.Event()
    lookups = []

    def slow(*args: object, **kwargs: object) -> list[object]:
        lookups.append(threading.current_thread())
        asked.release()
        assert may_answer.wait(TIMEOUT_S)
        return []

    monkeypatch.setattr(dial.socket, "getaddrinfo", slow)
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


@both_ways
def test_a_stop_before_the_start(how: str) -> None:
    with Server() as server:
        daemon = Daemon(server.port)
        getattr(daemon.wire, how)()
        with daemon:
            ends_for_good(server, daemon)


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
        ends_for_good(server, daemon, one)
        assert daemon.tournament.wait_for("begin")[1] == GAME_ID
        reasons = {daemon.tournament.wait_for("closed")[2] for _ in range(2)}
        assert reasons == {"no more matches wanted", "leaving"}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_it_can_run_many_times_in_a_process_and_leaves_nothing_open() -> None:
    before = 0
    for number in range(6):
        with connected(wanting(True, False), in_match=True) as (server, daemon, peer):
            assert not peer.finish_match(1.0, 0.0)
            ends_for_good(server, daemon, peer)
        before = before if number else descriptors()
    assert descriptors() == before


def test_two_wires_at_once_in_one_process() -> None:
    with connected(in_match=True) as (_, _, one), connected(in_match=True) as (_, _, two):
        steps = [peer.ask("Step", obv=START) for peer in (one, two)]
        assert [peer.action(step) for peer, step in zip((one, two), steps, strict=True)] == [list(ACTION)] * 2


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
    """Signals stay the caller's, whose handlers can stop the wire; no torch, and no reactor is installed."""
    with Server() as server:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-W", "error", "-c", RUN_IN_MAIN_THREAD, str(server.port)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            peer = server.accept()
            peer.answer(peer.ask("Auth"))
            process.terminate()
            output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and output == "done\n"
