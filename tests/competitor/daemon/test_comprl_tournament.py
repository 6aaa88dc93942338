"""The comprl wire at the real tournament: engine, sessions, budget and records behind a server of raw bytes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from competitor.daemon.supervisor import Lifecycle
from competitor.daemon.tournament import Tournament
from competitor.engine.session import Source
from tests.competitor.daemon.comprl_bench import Daemon
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, TIMEOUT_S, Peer, Server
from tests.competitor.daemon.test_tournament import Ledger
from tests.competitor.engine.fakes import FakeBrain, Shelf, make_engine, play_obs, running

ROWS = play_obs(40)


class Hall:
    """Everything behind the wire."""

    def __init__(self, games: int | None = None, deadline_s: float = 1000.0) -> None:
        self.brain, self.shelf, self.telemetry = FakeBrain(), Shelf(), Ledger()
        self.engine = make_engine(self.brain, self.telemetry, deadline_s=deadline_s)
        self.lifecycle = Lifecycle(games)
        self.now_s = 0.0
        self.tournament = Tournament(
            self.engine,
            self.shelf,
            self.lifecycle,
            self.telemetry,
            wire="comprl",
            server="127.0.0.1",
            stuck_after_s=45.0,
            clock=lambda: self.now_s,
        )


@contextmanager
def playing(server: Server, hall: Hall, connections: int = 1, fake_time: bool = False) -> Iterator[Daemon]:
    with (
        running(hall.engine),
        Daemon(server.port, hall.tournament, connections=connections, fake_time=fake_time) as daemon,
    ):
        yield daemon


def play(peer: Peer, rows: list[list[float]], game: bytes = GAME) -> list[list[float]]:
    """A match with these observations up to its end; returns the actions."""
    peer.send(peer.request("StartGame", game_id=game))
    actions = [peer.action(peer.ask("Step", obv=row)) for row in rows]
    ready, end = peer.end(1.0, 0.0, result=True)
    peer.answer(ready)
    peer.answer(end)
    return actions


def alone(rows: list[list[float]]) -> list[list[float]]:
    """What the fake brain does in a match by itself."""
    brain, actions, sent = FakeBrain(), [], np.zeros((1, 4), np.float32)
    slots = [brain.open()]
    for step, row in enumerate(rows):
        sent = brain.act(slots, np.array([row], np.float32), np.array([step % 10 == 0]), sent)
        actions.append([float(value) for value in sent[0]])
    return actions


def test_two_matches_and_no_more() -> None:
    hall = Hall(games=2)
    with Server() as server, playing(server, hall) as daemon:
        peer = server.accept()
        peer.queue()
        assert play(peer, ROWS) == alone(ROWS)
        assert play(peer, ROWS[:20], GAME[::-1]) == alone(ROWS[:20])
        peer.expect_end()
        assert daemon.ended() is None and not server.has_caller
    first, second = hall.shelf.matches
    assert first.match_id == GAME_ID and (first.own, first.other, first.ending, first.reason) == (1, 0, "played", "")
    assert first.obs.tolist() == ROWS and first.actions.tolist() == alone(ROWS) and first.connection == "comprl-1"
    assert first.is_first.tolist() == [step % 10 == 0 for step in range(40)] and second.obs.tolist() == ROWS[:20]
    assert hall.lifecycle.is_spent and hall.telemetry.numbers().connected is False


def test_connections_do_not_share_anything() -> None:
    """Four matches at once, in step or not: each as if it were alone."""
    hall = Hall(games=4)
    all_rows = [play_obs(30 + number, seed=number) for number in range(4)]
    actions: dict[int, list[list[float]]] = {}
    with Server() as server, playing(server, hall, connections=4) as daemon:

        def serve(number: int, peer: Peer) -> None:
            peer.queue()
            actions[number] = play(peer, all_rows[number], bytes([number]) * 16)
            peer.expect_end()

        peers = [server.accept() for _ in range(4)]
        threads = [threading.Thread(target=serve, args=numbered) for numbered in enumerate(peers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert daemon.ended() is None
    assert actions == {number: alone(rows) for number, rows in enumerate(all_rows)}
    assert len(hall.shelf.matches) == 4


def test_bad_observations_get_safe_actions() -> None:
    hall = Hall()
    bad = [ROWS[3][:17], [*ROWS[3], 0.0], [], [math.nan] * 18, [*ROWS[3][:17], math.inf], [1e300] * 18]
    with Server() as server, playing(server, hall):
        peer = server.accept()
        peer.queue()
        actions = play(peer, [*ROWS[:3], *bad, *ROWS[3:10]])
    assert all(len(action) == 4 and all(-1.0 <= value <= 1.0 for value in action) for action in actions)
    assert actions[:3] == alone(ROWS[:3])
    assert hall.telemetry.sources.count(Source.BAD_OBSERVATION) == len(bad)


def test_the_end_is_answered_when_the_record_is_kept() -> None:
    hall = Hall()
    hall.shelf.delays = True
    with Server() as server, playing(server, hall):
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        ready, end = peer.end(0.0, 0.0)
        peer.answer(ready)
        peer.answer(peer.ask("Message", msg="are you there?"))
        assert end not in peer.answers and [match.match_id for match in hall.shelf.matches] == [GAME_ID]
        hall.shelf.waiting[0]()  # type: ignore[operator]
        peer.answer(end)


def test_a_step_outlives_its_match() -> None:
    hall = Hall()
    with Server() as server, playing(server, hall):
        peer = server.accept()
        peer.queue()
        hall.brain.gate.clear()
        old = peer.start()
        assert hall.brain.entered.acquire(timeout=TIMEOUT_S)
        for tag in peer.end(0.0, 0.0):
            peer.answer(tag)
        new = peer.start(GAME[::-1])
        hall.brain.gate.set()
        assert len(peer.action(old)) == len(peer.action(new)) == 4


def test_a_match_lost_with_the_server_goes_back_into_the_budget() -> None:
    hall = Hall(games=1)
    with Server() as server, playing(server, hall) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        peer.close()
        again = server.accept()
        again.queue()
        play(again, ROWS[:5], GAME[::-1])
        again.expect_end()
        assert daemon.ended() is None
    assert [match.ending for match in hall.shelf.matches] == ["abandoned", "played"]
    assert hall.shelf.matches[0].reason == "the server closed the connection"


def test_a_stuck_match_is_given_up_and_played_on() -> None:
    hall = Hall()
    with Server() as server, playing(server, hall, fake_time=True) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        hall.now_s = 44.0
        daemon.pass_time(1.0)
        peer.action(peer.ask("Step", obv=ROWS[1]))
        hall.now_s = 88.0
        daemon.pass_time(1.0)
        peer.answer(peer.ask("Message", msg="still here"))
        hall.now_s = 90.0
        daemon.pass_time(1.0)
        peer.expect_end()
        daemon.wait_until_it_waits()
        daemon.pass_time(1.0)
        server.accept().queue()
    assert [(match.ending, match.reason) for match in hall.shelf.matches] == [("abandoned", "the match was stuck")]


@pytest.mark.parametrize("in_match", [False, True])
def test_finish(in_match: bool) -> None:
    hall = Hall()
    with Server() as server, playing(server, hall) as daemon:
        peer = server.accept()
        peer.queue()
        if in_match:
            peer.action(peer.start())
        hall.lifecycle.finish()
        daemon.wire.finish()
        if in_match:
            peer.action(peer.ask("Step", obv=ROWS[1]))
            ready, end = peer.end(2.0, 1.0, result=True)
            assert peer.answer(ready)["ready"] == b"False" and peer.answer(end)
        peer.expect_end()
        assert daemon.ended() is None
    assert [match.ending for match in hall.shelf.matches] == ["played"] * in_match
    assert hall.lifecycle.in_play == 0
