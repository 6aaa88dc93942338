"""The comprl wire at the real tournament: engine, sessions, budget and records behind a server of raw bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.competitor.daemon.comprl_harness import Daemon
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, TIMEOUT_S, Peer, Server
from tests.competitor.daemon.shared import Rig
from tests.competitor.engine.fakes import FakeBrain, play_obs, running

ROWS = play_obs(40)


@contextmanager
def playing(server: Server, rig: Rig, connections: int = 1) -> Iterator[Daemon]:
    with running(rig.engine), Daemon(server.port, rig.tournament, connections=connections) as daemon:
        yield daemon


def play(peer: Peer, rows: list[list[float]], game: bytes = GAME) -> list[list[float]]:
    """A match with these observations up to its end; returns the actions."""
    peer.send(peer.request("StartGame", game_id=game))
    actions = [peer.action(peer.ask("Step", obv=row)) for row in rows]
    peer.finish_match(1.0, 0.0, result=True)
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
    rig = Rig(games=2)
    with Server() as server, playing(server, rig) as daemon:
        peer = server.accept()
        peer.queue()
        assert play(peer, ROWS) == alone(ROWS)
        assert play(peer, ROWS[:20], GAME[::-1]) == alone(ROWS[:20])
        peer.expect_end()
        assert daemon.ended() is None and not server.is_called
    first, second = rig.kept.matches
    assert first.match_id == GAME_ID and (first.own, first.other, first.ending, first.reason) == (1, 0, "played", "")
    assert first.obs.tolist() == ROWS and first.actions.tolist() == alone(ROWS) and first.connection == "comprl-1"
    assert first.is_first.tolist() == [step % 10 == 0 for step in range(40)] and second.obs.tolist() == ROWS[:20]
    assert rig.lifecycle.is_spent and rig.telemetry.numbers().connected is False


def test_connections_do_not_share_anything() -> None:
    """Four matches at once, in step or not: each as if it were alone."""
    rig = Rig(games=4)
    all_rows = [play_obs(30 + number, seed=number) for number in range(4)]
    actions: dict[int, list[list[float]]] = {}
    with Server() as server, playing(server, rig, connections=4) as daemon:

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
    assert len(rig.kept.matches) == 4


def test_a_match_lost_with_the_server_goes_back_into_the_budget() -> None:
    rig = Rig(games=1)
    with Server() as server, playing(server, rig) as daemon:
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
    assert [match.ending for match in rig.kept.matches] == ["abandoned", "played"]
    assert rig.kept.matches[0].reason == "the server closed the connection"
