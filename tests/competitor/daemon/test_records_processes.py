"""The records among processes: several daemons in one directory, readers beside them, and kill -9."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

import cli
from competitor.daemon.database import NAME, last_matches
from competitor.daemon.records import Records
from competitor.play.match_file import PATTERN, read_match, read_views
from tests.competitor.play.made_matches import numbered_match

ROOT = Path(cli.__file__).parent
WAIT_S = 60.0
KILLS = 6
KEEP = """
import pathlib, sys, threading
from competitor.daemon.records import Records
from tests.competitor.play.made_matches import numbered_match

directory, first, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
room = threading.Semaphore(3)

def safe(match):
    print(match.match_id, flush=True)
    room.release()

with Records(directory) as records:
    print("ready", flush=True)
    for match in map(numbered_match, range(first, first + count)):
        room.acquire()
        records.keep(match, lambda match=match: safe(match))
"""


@contextmanager
def keeping(directory: Path, first: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps matches: it says "ready", then the id of every match as soon as it is said to be safe."""
    command = [sys.executable, "-c", KEEP, str(directory), str(first), str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def listed(directory: Path) -> dict[str, str]:
    """Match ids and files in the table."""
    return {one.row.match_id: one.row.file for one in last_matches(directory, 1_000_000)}


def check_whole(directory: Path) -> None:
    """Every row has its file, every file its row, and both can be read."""
    with closing(sqlite3.connect(directory / NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        counts = "SELECT COUNT(*) FROM rounds GROUP BY match"
        assert {count for (count,) in connection.execute(counts)} <= {4}
    rows = listed(directory)
    assert sorted(path.name for path in directory.glob(PATTERN)) == sorted(rows.values())
    for match_id, file in rows.items():
        assert read_match(directory / file)[0].match_id == match_id
        assert len(list(read_views(directory / file))) == 4


def test_killed_at_random_moments(tmp_path: Path) -> None:
    random = np.random.default_rng(20261123)
    said: list[str] = []
    for kill in range(KILLS):
        with keeping(tmp_path, 10_000 * kill, 9_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(int(random.integers(0, 12))):
                said.append(process.stdout.readline().strip())
            process.kill()  # it writes on meanwhile: wherever it is
            said += process.stdout.read().split()
            assert process.wait(WAIT_S) == -9
        assert set(said) <= listed(tmp_path).keys()
    assert len(said) > 2 * KILLS and len(set(said)) == len(said)
    Records(tmp_path).close()
    check_whole(tmp_path)
    assert set(said) <= listed(tmp_path).keys()


@pytest.mark.parametrize(
    ("patch", "listed_before", "listed_after"),
    [
        ("os.fsync = lambda _: os._exit(9)", 0, 0),
        ("database.Database.add = lambda *_: os._exit(9)", 0, 1),
        ("saved = lambda: os._exit(9)", 1, 1),
    ],
    ids=["during the file", "before the row", "before saved"],
)
def test_killed_at_the_worst_moments(patch: str, listed_before: int, listed_after: int, tmp_path: Path) -> None:
    code = f"""
import os, sys, pathlib
from competitor.daemon import database, records
from tests.competitor.play.made_matches import numbered_match
saved = lambda: None
keeper = records.Records(pathlib.Path(sys.argv[1]))
{patch}
keeper.keep(numbered_match(1), saved)
keeper.close()
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, timeout=WAIT_S)
    assert killed.returncode == 9
    assert len(listed(tmp_path)) == listed_before
    Records(tmp_path).close()
    check_whole(tmp_path)
    assert len(listed(tmp_path)) == listed_after


def test_several_daemons_in_one_directory(tmp_path: Path) -> None:
    """They also make the directory and its table at the same time, and adopt each other's files meanwhile."""
    directory = tmp_path / "records"
    with keeping(directory, 0, 15) as one, keeping(directory, 100, 15) as two, Records(directory) as records:
        for number in range(200, 210):
            records.keep(numbered_match(number), lambda: None)
        for process in (one, two):
            out, err = process.communicate(timeout=WAIT_S)
            assert (process.returncode, err) == (0, "")
            assert len(out.split()) == 16
    check_whole(directory)
    assert len(listed(directory)) == 40


def test_reading_makes_nothing(tmp_path: Path) -> None:
    assert last_matches(tmp_path / "absent", 5) == []
    assert last_matches(tmp_path, 5) == []
    assert list(tmp_path.iterdir()) == []
    with Records(tmp_path) as records:
        records.keep(numbered_match(1), lambda: None)
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / NAME).chmod(0o444)
    assert list(listed(tmp_path)) == ["match-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_reader_does_not_hold_the_daemon_up(tmp_path: Path) -> None:
    with Records(tmp_path) as records:
        with closing(sqlite3.connect(f"file:{tmp_path / NAME}?mode=ro", uri=True)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT COUNT(*) FROM matches").fetchone() == (0,)
            saved = threading.Event()
            records.keep(numbered_match(1), saved.set)
            assert saved.wait(WAIT_S)
        assert records.waiting == 0
        assert list(listed(tmp_path)) == ["match-1"]
