"""The whole arena on real sockets: matches, accounts, pages, restarts, and doors that do not open."""

import json
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
from dreamer.errors import CheckpointError
from tests.competitor.arena.raw_client import RawClient
from tests.competitor.arena.running import ArenaThread, running_arena

TIMEOUT_S = 20.0


@pytest.fixture
def lines() -> list[str]:
    """What the arena says of its matches."""
    return []


@pytest.fixture
def arena(tmp_path: Path, lines: list[str]) -> Iterator[ArenaThread]:
    with running_arena(tmp_path / "arena", bots=("weak", "strong"), rounds=1, announce=lines.append) as running:
        yield running


def fetch(arena: ArenaThread, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{arena.http_port}{path}", timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def test_a_client_plays_against_the_house(arena: ArenaThread, lines: list[str]) -> None:
    client = RawClient(arena.comprl_port, arena.add_user("ada"))
    played = client.play(2)
    assert client.messages[:2] == ["Authentication successful", "Waiting in queue"]
    assert client.errors == []
    assert len(lines) == 2 and all("ada" in line and "ratings" in line for line in lines)
    entries = arena.store.recent(5)
    assert [entry.result.match_id.bytes for entry in entries] == [match.match_id for match in reversed(played)]
    for entry, match in zip(reversed(entries), played, strict=True):
        assert entry.result.ending == "played"
        assert set(entry.result.users) - {"ada"} <= {"weak", "strong"}
        own = entry.result.users.index("ada")
        assert match.stats == [entry.result.scores[own], entry.result.scores[1 - own]]
        assert match.result == (match.stats[0] > match.stats[1])


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


def test_a_checkpoint_that_is_missing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError), running_arena(tmp_path / "arena", bots=("weak", "runs/none/latest")):
        pass
    assert list(tmp_path.iterdir()) == []
