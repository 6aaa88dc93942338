"""How the comprl wire ends: declined matches, finishing, leaving, and starting again in the same process."""

import threading
from pathlib import Path

import pytest

from competitor.daemon.comprl import CONNECT_TIMEOUT_S
from competitor.wire import dial
from tests.competitor.daemon.comprl_harness import ANSWER, Daemon, connected, play_on
from tests.competitor.daemon.misbehaving_server import GAME, TIMEOUT_S, Peer, Server
from tests.competitor.daemon.shared import OBS, wait_until

both_ways = pytest.mark.parametrize("how", ["finish", "leave"])


def ends_for_good(server: Server, daemon: Daemon, *peers: Peer) -> None:
    """The connections close, the wire ends by itself, and nobody calls again."""
    for peer in peers:
        peer.expect_end()
    assert daemon.ended() is None and not server.is_called


def test_no_match_wanted_right_after_the_login() -> None:
    with Server() as server, Daemon(server.port, games=0) as daemon:
        peer = server.accept()
        peer.log_in()
        ready, message = peer.send(peer.request("Ready"), peer.request("Message", msg="Authentication successful"))
        assert peer.answer(ready)["ready"] == b"False"
        peer.owed.discard(message)  # may be cut off: nothing is lost with it
        ends_for_good(server, daemon, peer)


@pytest.mark.parametrize("games", [1, None])
def test_the_end_of_a_match_is_confirmed_when_its_record_is_saved(games: int | None) -> None:
    """Ready comes one box before the end; after the last match the connection stays until all is confirmed."""
    with connected(games=games, in_match=True) as (server, daemon, peer):
        daemon.kept.delays = True
        ready, end = peer.end(2.0, 1.0, result=True)
        assert peer.answer(ready)["ready"] == (b"True" if games is None else b"False")
        wait_until(lambda: daemon.kept.waiting)
        peer.answer(peer.ask("Message", msg="still there?"))
        assert end not in peer.answers
        daemon.kept.waiting.pop()()
        assert peer.answer(end) == {"_answer": end.encode()}
        if games is not None:
            ends_for_good(server, daemon, peer)


def test_what_is_owed_is_sent_before_closing() -> None:
    """A step that outlives the last match keeps the connection open."""
    with connected(games=1) as (server, daemon, peer):
        daemon.brain.gate.clear()
        step = peer.start()
        assert not peer.finish_match(0.0, 0.0)
        peer.answer(peer.ask("Message", msg="still there?"))
        daemon.brain.gate.set()
        assert peer.action(step) == ANSWER
        ends_for_good(server, daemon, peer)


def test_a_match_that_begins_after_all_is_played_to_its_end() -> None:
    with connected(games=1, in_match=True) as (server, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        assert peer.action(peer.start(GAME[::-1])) == ANSWER
        peer.finish_match(0.0, 1.0)
        ends_for_good(server, daemon, peer)
    daemon.has_kept("abandoned", "opponent left")


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_last_match_that_is_lost_is_played_again(ending: str) -> None:
    """Declined, but the match went down with the server: the budget has a place again."""
    with connected(games=1, in_match=True) as (server, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        getattr(peer, ending)()
        daemon.has_kept("abandoned")
        again = play_on(server)
        assert daemon.is_running and not again.finish_match(1.0, 0.0, result=True)
        ends_for_good(server, daemon, again)
    daemon.has_kept("abandoned", "played")


def test_each_connection_ends_for_itself() -> None:
    with Server() as server, Daemon(server.port, connections=3, games=3) as daemon:
        peers = [server.accept() for _ in range(3)]
        for peer in peers:
            peer.queue()
        steps = [peer.start(bytes([number]) * 16) for number, peer in enumerate(peers)]
        for peer, step in zip(peers, steps, strict=True):
            assert peer.action(step) == ANSWER
        for peer in peers:
            assert daemon.is_running and not peer.finish_match(1.0, 0.0, result=True)
            peer.expect_end()
        ends_for_good(server, daemon)
    names = [match.connection for match in daemon.kept.matches]
    assert sorted(names) == ["comprl-1", "comprl-2", "comprl-3"]


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


@pytest.mark.parametrize("has_been_asked", [True, False], ids=["after the next one was wanted", "before"])
def test_finish_in_a_match_plays_it_to_its_end(has_been_asked: bool) -> None:
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        if has_been_asked:
            assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        daemon.wire.finish()
        daemon.settle()
        assert peer.action(peer.ask("Step", obv=OBS)) == ANSWER
        if has_been_asked:
            assert peer.answer(peer.ask("EndGame", result=False, stats=[0.0, 0.0]))
        else:
            assert not peer.finish_match(1.0, 3.0)
        ends_for_good(server, daemon, peer)
    assert len(daemon.kept.matches) == 1


def test_a_match_that_begins_while_the_last_record_is_saved_is_played() -> None:
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        daemon.kept.delays = True
        ready, end = peer.end(0.0, 1.0)
        assert peer.answer(ready)["ready"] == b"True"
        wait_until(lambda: daemon.kept.waiting)
        daemon.wire.finish()
        daemon.settle()
        assert peer.action(peer.start(GAME[::-1])) == ANSWER
        daemon.kept.waiting.pop()()
        peer.answer(end)
        assert peer.action(peer.ask("Step", obv=OBS)) == ANSWER
        daemon.kept.delays = False
        assert not peer.finish_match(0.0, 1.0)
        ends_for_good(server, daemon, peer)


@pytest.mark.parametrize("ends", [True, False], ids=["each is ended", "none is ended"])
def test_matches_without_end_do_not_hold_the_last_one(ends: bool) -> None:
    """One may have been on its way; a server that begins another one then would never let anybody go."""
    with connected(in_match=True, fake_time=True) as (server, daemon, peer):
        daemon.wire.finish()
        daemon.settle()
        daemon.kept.delays = True  # as a disk does; meanwhile the next match has begun
        for number in (1, 2):
            end = [peer.request("EndGame", result=False, stats=[0.0, 1.0])] if ends else []
            *ended, begun = peer.send(*end, peer.request("StartGame", game_id=bytes([number] * 16)))
            peer.answer(begun)
            peer.owed.difference_update(ended)
        ends_for_good(server, daemon, peer)
    daemon.has_kept(*["opponent left" if ends else "abandoned"] * 2, "abandoned")


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


def test_leave_in_a_match_closes_now() -> None:
    """What comes after it is nothing: another stop, or the answer to the open step."""
    with Server() as server, Daemon(server.port, connections=2) as daemon:
        one, two = server.accept(), server.accept()
        one.queue()
        daemon.brain.gate.clear()
        step = one.start()
        two.queue()
        daemon.wire.finish()
        two.expect_end()
        assert daemon.is_running and daemon.brain.entered.acquire(timeout=TIMEOUT_S)
        daemon.wire.leave()
        one.owed.remove(step)
        ends_for_good(server, daemon, one)
        assert daemon.has_kept("abandoned") == ["leaving"]
        daemon.wire.finish()
        daemon.wire.leave()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_it_can_run_many_times_in_a_process_and_leaves_nothing_open() -> None:
    before = 0
    for number in range(6):
        with connected(games=1, in_match=True) as (server, daemon, peer):
            assert not peer.finish_match(1.0, 0.0)
            ends_for_good(server, daemon, peer)
        before = before if number else descriptors()
    assert descriptors() == before
