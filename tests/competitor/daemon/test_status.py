"""Status files: one per daemon, alive as long as the process, and the table of them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from competitor.daemon.status import DaemonStatus, StatusFile, observe, print_status, status_json
from competitor.daemon.telemetry import Telemetry

NOW = 1_800_000_000.0
STATUS = DaemonStatus(
    pid=4711,
    server="comprl://example.org:65335",
    checkpoint="champion",
    digest="abc",
    version="1.2.3",
    log="records/logs/compete-1.log",
    started_at=NOW - 100,
    written_at=NOW,
    phase="playing",
    numbers=replace(
        Telemetry().numbers(),
        connections=1,
        playing=1,
        results={"W": 3, "D": 1, "L": 2},
        latency_p50_ms=1.25,
        latency_p99_ms=3.5,
        last_message_age_s=0.5,
        uptime_s=7300.0,
    ),
)

HOLD = """
import sys
from pathlib import Path
from competitor.daemon.status import StatusFile
place = StatusFile(Path(sys.argv[1]))
place.path.write_text(sys.argv[2])
print(place.number, flush=True)
sys.stdin.read()
"""


def table(records: Path, width: int = 120) -> str:
    text = io.StringIO()
    print_status(observe(records, lambda: NOW + 1), records, Console(file=text, width=width))
    return text.getvalue()


def test_a_daemon_is_seen_as_long_as_it_lives(tmp_path: Path) -> None:
    place = StatusFile(tmp_path)
    place.write(STATUS)
    (one,) = observe(tmp_path, lambda: NOW + 2)
    assert (one.number, one.status, one.alive, one.age_s) == (1, STATUS, True, 2.0)
    assert (one.state, one.works) == ("playing", True)
    place.close(keep=False)
    place.close(keep=False)
    assert observe(tmp_path) == []


def test_daemons_side_by_side_have_their_own_numbers(tmp_path: Path) -> None:
    places = [StatusFile(tmp_path) for _ in range(3)]
    assert [place.number for place in places] == [1, 2, 3]
    for place in places:
        place.write(replace(STATUS, pid=place.number))
    places[1].close(keep=False)
    assert [one.status.pid for one in observe(tmp_path, lambda: NOW)] == [1, 3]
    places[1] = StatusFile(tmp_path)
    assert places[1].number == 2
    for place in places:
        place.close(keep=False)


@pytest.mark.parametrize(
    ("change", "age_s", "state", "works"),
    [
        ({}, 1.0, "playing", True),
        ({"phase": "finishing"}, 1.0, "finishing", True),
        ({"numbers": replace(STATUS.numbers, connections=0)}, 1.0, "not connected", True),
        ({}, 61.0, "hangs", False),
    ],
)
def test_states(change: dict[str, object], age_s: float, state: str, works: bool, tmp_path: Path) -> None:
    place = StatusFile(tmp_path)
    place.write(replace(STATUS, **change))  # type: ignore[arg-type]
    (one,) = observe(tmp_path, lambda: NOW + age_s)
    assert (one.state, one.works) == (state, works)
    place.close(keep=False)


def test_a_killed_process_is_dead_at_once_and_its_number_free(tmp_path: Path) -> None:
    text = json.dumps(json.loads(as_status_text(tmp_path)))
    command = [sys.executable, "-c", HOLD, str(tmp_path), text]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        (one,) = observe(tmp_path, lambda: NOW)
        assert one.alive
        process.send_signal(signal.SIGKILL)
    (one,) = observe(tmp_path, lambda: NOW + 3)
    assert (one.alive, one.state, one.works) == (False, "dead", False)
    assert "daemon 1 is dead: killed; log: records/logs/compete-1.log" in table(tmp_path)
    place = StatusFile(tmp_path)
    assert place.number == 1
    place.close(keep=False)


def as_status_text(folder: Path) -> str:
    place = StatusFile(folder)
    place.write(STATUS)
    text = place.path.read_text()
    place.close(keep=False)
    return text


def test_the_last_words_of_a_failed_daemon_are_told_for_a_week(tmp_path: Path) -> None:
    place = StatusFile(tmp_path)
    place.write(replace(STATUS, error="the server does not accept the token"))
    place.close(keep=True)
    shown = table(tmp_path)
    assert "dead" in shown
    assert "daemon 1 is dead: the server does not accept the token; log:" in shown
    assert observe(tmp_path, lambda: NOW + 8 * 24 * 3600) == []


def test_the_table_shows_what_matters(tmp_path: Path) -> None:
    place = StatusFile(tmp_path)
    place.write(STATUS)
    shown = table(tmp_path)
    (line,) = [line for line in shown.splitlines() if "4711" in line]
    assert re.split(r"  +", line.strip()) == [
        *("1", "4711", "playing", "comprl://example.org:65335", "1", "3/1/2", "1.2/3.5", "2 s ago", "2 h")
    ]
    (row,) = json.loads(status_json(observe(tmp_path, lambda: NOW)))
    assert (row["number"], row["state"], row["alive"], row["pid"]) == (1, "playing", True, 4711)
    assert row["numbers"]["results"] == {"W": 3, "D": 1, "L": 2}
    place.close(keep=False)


def test_a_narrow_terminal_folds_the_server_alone(tmp_path: Path) -> None:
    place = StatusFile(tmp_path)
    place.write(replace(STATUS, pid=4194304))
    shown = table(tmp_path, width=80)
    for words in ("4194304", "playing", "p50/p99 ms", "2 s ago"):
        assert words in shown
    place.close(keep=False)


def test_foreign_and_damaged_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "daemons"
    folder.mkdir()
    (folder / "1.json").write_text("{")
    (folder / "2.json").write_text("[]")
    (folder / "3.json").write_text('{"numbers": {}}')
    (folder / "mine.json").write_text(as_status_text(tmp_path / "other"))
    assert observe(tmp_path) == []
    assert observe(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        StatusFile(tmp_path / "file" / "records")
