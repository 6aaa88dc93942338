"""The whole arena on real sockets: matches, accounts, pages, restarts, and doors that do not open."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from competitor.arena.queries import MatchResult
from competitor.arena.rating import Rating
from competitor.arena.recorder import match_line
from competitor.arena.running import ArenaThread, running_arena
from competitor.arena.store import Store
from competitor.errors import AddressError, ConfigError, PortError
from dreamer.errors import CheckpointError
from tests.competitor.arena.raw_client import Played, RawClient

TIMEOUT_S = 20.0


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[ArenaThread]:
    with running_arena(tmp_path / "arena", bots=("weak", "strong"), rounds=1) as running:
        yield running


def fetch(arena: ArenaThread, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{arena.http_port}{path}", timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def test_a_client_plays_against_the_house(arena: ArenaThread) -> None:
    client = RawClient(arena.comprl_port, arena.add_user("ada"))
    played = client.play(2)
    assert client.messages[:2] == ["Authentication successful", "Waiting in queue"]
    assert client.errors == []
    entries = arena.store.recent(5)
    assert [entry.result.match_id.bytes for entry in entries] == [match.match_id for match in reversed(played)]
    for entry, match in zip(reversed(entries), played, strict=True):
        assert entry.result.ending == "played"
        assert set(entry.result.users) - {"ada"} <= {"weak", "strong"}
        own = entry.result.users.index("ada")
        assert match.stats == [entry.result.scores[own], entry.result.scores[1 - own]]
        assert match.result == (match.stats[0] > match.stats[1])


def test_two_people_play_each_other(tmp_path: Path) -> None:
    with running_arena(tmp_path, rounds=2) as arena, ThreadPoolExecutor() as pool:
        clients = [RawClient(arena.comprl_port, arena.add_user(name)) for name in ("ada", "bob")]
        ada, bob = (future.result(TIMEOUT_S) for future in [pool.submit(client.play, 1) for client in clients])
        assert ada[0].match_id == bob[0].match_id
        assert ada[0].stats == bob[0].stats[::-1]
        (entry,) = arena.store.recent(5)
        assert set(entry.result.users) == {"ada", "bob"}
        assert {line["name"] for line in fetch(arena, "/api/leaderboard.json")["players"]} == {"ada", "bob"}


def test_every_waiting_connection_finds_a_partner(tmp_path: Path) -> None:
    with running_arena(tmp_path, bots=("weak",), rounds=1) as arena:
        token = arena.add_user("ada")
        together = threading.Barrier(18, timeout=TIMEOUT_S)
        first = threading.local()

        def wait_for_the_others(obs: list[float]) -> list[float]:
            if not hasattr(first, "done"):
                first.done = True
                together.wait()
            return [0.0] * 4

        def play() -> list[Played]:
            return RawClient(arena.comprl_port, token, act=wait_for_the_others).play(1)

        with ThreadPoolExecutor(18) as pool:
            played = [future.result(TIMEOUT_S) for future in [pool.submit(play) for _ in range(18)]]
        assert len({match.match_id for (match,) in played}) == 18


def test_the_pages_tell_of_matches_in_play(arena: ArenaThread) -> None:
    started, may_go_on = threading.Event(), threading.Event()

    def wait(obs: list[float]) -> list[float]:
        started.set()
        assert may_go_on.wait(TIMEOUT_S)
        return [0.0] * 4

    client = RawClient(arena.comprl_port, arena.add_user("ada"), act=wait)
    with ThreadPoolExecutor() as pool:
        playing = pool.submit(client.play, 1)
        assert started.wait(TIMEOUT_S)
        (match,) = fetch(arena, "/api/running.json")["matches"]
        may_go_on.set()
        (played,) = playing.result(TIMEOUT_S)
    assert "ada" in match["users"]
    assert (match["round"], match["rounds"], match["scores"]) == (1, 1, [0, 0])
    assert match["match_id"] == str(uuid.UUID(bytes=played.match_id))
    assert [line["match_id"] for line in fetch(arena, "/api/results.json")["matches"]] == [match["match_id"]]
    assert fetch(arena, "/healthz")["running"] == 0


def test_waiting_people_are_counted_and_bots_are_not(tmp_path: Path) -> None:
    with running_arena(tmp_path, bots=("weak",), tick_s=60.0) as arena, ThreadPoolExecutor() as pool:
        heard: queue.Queue[str] = queue.Queue()
        client = RawClient(arena.comprl_port, arena.add_user("ada"), heard=heard.put)
        playing = pool.submit(client.play, 1)
        assert [heard.get(timeout=TIMEOUT_S) for _ in range(2)][1] == "Waiting in queue"
        assert fetch(arena, "/api/running.json")["waiting"] == 1
        arena.stop()
        assert playing.result(TIMEOUT_S) == []


def test_a_wrong_token_opens_nothing(arena: ArenaThread) -> None:
    client = RawClient(arena.comprl_port, "guessed")
    assert client.play(1) == []
    assert client.errors == ["Authentication failed"]


def test_an_account_made_by_another_process_works_at_once(arena: ArenaThread) -> None:
    with contextlib.closing(Store(arena.directory / "arena.sqlite")) as store:
        token = store.add_user("eve")
    assert len(RawClient(arena.comprl_port, token).play(1)) == 1


def test_a_restart_in_the_same_place(arena: ArenaThread) -> None:
    token = arena.add_user("ada")
    before = RawClient(arena.comprl_port, token).play(1)
    ports = arena.comprl_port, arena.http_port
    arena.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), TIMEOUT_S)
    arena.start()
    assert (arena.comprl_port, arena.http_port) == ports
    after = RawClient(arena.comprl_port, token).play(1)
    ids = {entry.result.match_id.bytes for entry in arena.store.recent(9)}
    assert ids == {match.match_id for match in before + after}
    assert len(ids) == 2


def test_stopping_ends_connections_without_a_word(arena: ArenaThread) -> None:
    started = threading.Event()

    def play_slowly(obs: list[float]) -> list[float]:
        started.set()
        return [0.0] * 4

    client = RawClient(arena.comprl_port, arena.add_user("ada"), act=play_slowly)
    with ThreadPoolExecutor() as pool:
        playing = pool.submit(client.play, 1000)
        assert started.wait(TIMEOUT_S)
        arena.stop()
        playing.result(TIMEOUT_S)
    assert client.errors == []
    arena.start()
    assert {entry.result.ending for entry in arena.store.recent(1000)} <= {"played", "arena closed"}
    assert arena.store.recent(1)[0].result.ending == "arena closed"


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running_arena(tmp_path, bots=("weak", "champion")) as arena:
        arena.add_user("ada")
    assert set(threading.enumerate()) - before == set()


def test_lines_for_every_match(tmp_path: Path) -> None:
    lines: list[str] = []
    with running_arena(tmp_path, bots=("weak",), rounds=1, announce=lines.append) as arena:
        RawClient(arena.comprl_port, arena.add_user("ada")).play(2)
    assert len(lines) == 2
    assert all("ada" in line and "weak" in line and "ratings" in line for line in lines)


@pytest.mark.parametrize(
    ("ending", "left_by", "line"),
    [
        ("played", None, "ada 2 : 1 bob; ratings 0.00 and 4.00"),
        ("timeout", "bob", "ada 2 : 1 bob; broken off, not rated: bob timeout"),
        ("arena closed", None, "ada 2 : 1 bob; broken off, not rated: arena closed"),
    ],
)
def test_the_line_of_a_match(ending: str, left_by: str | None, line: str) -> None:
    result = MatchResult(uuid.UUID(int=0), ("ada", "bob"), (2, 1), ending, left_by, 0.0, 1.0)
    assert match_line(result, (Rating(), Rating(10.0, 2.0))) == line


@pytest.mark.parametrize(("setting", "option"), [("comprl_port", "--comprl-port"), ("http_port", "--http-port")])
def test_a_port_in_use(setting: str, option: str, arena: ArenaThread, tmp_path: Path) -> None:
    taken = getattr(arena, setting)
    words = f"port {taken} on 127.0.0.1 is in use.*{option}"
    with pytest.raises(PortError, match=words), running_arena(tmp_path / "other", **{setting: taken}):
        pass
    assert fetch(arena, "/healthz")["status"] == "ok"


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match=r"cannot listen on 192\.0\.2\.1"), running_arena(tmp_path, host="192.0.2.1"):
        pass


def test_a_bot_with_the_name_of_a_player(tmp_path: Path) -> None:
    with running_arena(tmp_path) as arena:
        arena.add_user("weak")
    with pytest.raises(ConfigError, match="weak is a player's account"), running_arena(tmp_path, bots=("weak",)):
        pass


def test_a_checkpoint_that_is_missing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError), running_arena(tmp_path / "arena", bots=("weak", "runs/none/latest")):
        pass
    assert list(tmp_path.iterdir()) == []
