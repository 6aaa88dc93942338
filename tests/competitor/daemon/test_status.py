"""Status files: one per daemon, alive as long as the process, and the table of them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from competitor.daemon.status import (
    DaemonStatus,
    Observed,
    StatusFile,
    damaged_files,
    observe,
    print_status,
    status_json,
)
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
    written_monotonic_s=500.0,
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


def seen(records: Path, later_s: float) -> list[Observed]:
    """The daemons so long after STATUS was written."""
    return observe(records, lambda: NOW + later_s, lambda: 500.0 + later_s)


def table(records: Path, width: int = 120) -> str:
    text = io.StringIO()
    print_status(seen(records, 1), records, Console(file=text, width=width))
    return text.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[StatusFile]:
    """Of a daemon that lives, as STATUS says."""
    with StatusFile(tmp_path) as held:
        held.write(STATUS)
        yield held


def test_a_daemon_is_seen_as_long_as_it_lives(tmp_path: Path) -> None:
    with StatusFile(tmp_path) as place:
        place.write(STATUS)
        (one,) = seen(tmp_path, 2)
        assert (one.number, one.status, one.alive, one.age_s) == (1, STATUS, True, 2.0)
        assert (one.state, one.works) == ("playing", True)
    assert observe(tmp_path) == []


def test_daemons_side_by_side_have_their_own_numbers(place: StatusFile, tmp_path: Path) -> None:
    with StatusFile(tmp_path) as second, StatusFile(tmp_path) as third:
        assert [one.number for one in (place, second, third)] == [1, 2, 3]
        third.write(replace(STATUS, pid=3))
        second.__exit__(None)
        assert [one.status.pid for one in seen(tmp_path, 0)] == [STATUS.pid, 3]
        with StatusFile(tmp_path) as again:
            assert again.number == 2


@pytest.mark.parametrize(
    ("change", "age_s", "state", "works"),
    [
        ({}, 1.0, "playing", True),
        ({"phase": "finishing"}, 1.0, "finishing", True),
        ({"numbers": replace(STATUS.numbers, connections=0)}, 1.0, "not connected", True),
        ({}, 61.0, "hangs", False),
    ],
)
def test_states(
    place: StatusFile, change: dict[str, object], age_s: float, state: str, works: bool, tmp_path: Path
) -> None:
    place.write(replace(STATUS, **change))  # type: ignore[arg-type]
    (one,) = seen(tmp_path, age_s)
    assert (one.state, one.works) == (state, works)


def test_a_killed_process_is_dead_at_once_and_its_number_free(tmp_path: Path) -> None:
    text = json.dumps(json.loads(as_status_text(tmp_path)))
    command = [sys.executable, "-c", HOLD, str(tmp_path), text]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        (one,) = seen(tmp_path, 0)
        assert one.alive
        process.send_signal(signal.SIGKILL)
    (one,) = seen(tmp_path, 3)
    assert (one.alive, one.state, one.works) == (False, "dead", False)
    assert "daemon 1 is dead: killed; log: records/logs/compete-1.log" in table(tmp_path)
    with StatusFile(tmp_path) as place:
        assert place.number == 1


def as_status_text(folder: Path) -> str:
    with StatusFile(folder) as place:
        place.write(STATUS)
        return place.path.read_text()


def test_why_a_daemon_failed_is_shown_for_a_week(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token"), StatusFile(tmp_path) as place:
        place.write(replace(STATUS, error="the server does not accept the token"))
        raise ValueError("token")
    shown = table(tmp_path)
    assert "dead" in shown
    assert "daemon 1 is dead: the server does not accept the token; log:" in shown
    assert seen(tmp_path, 8 * 24 * 3600) == []


def test_the_table_shows_what_matters(place: StatusFile, tmp_path: Path) -> None:
    shown = table(tmp_path)
    (line,) = [line for line in shown.splitlines() if "4711" in line]
    assert re.split(r"  +", line.strip()) == [
        *("1", "playing", "comprl://example.org:65335", "4711", "1", "3/1/2", "1.2/3.5", "2 s ago", "2 h")
    ]
    (row,) = json.loads(status_json(seen(tmp_path, 0)))
    assert (row["number"], row["state"], row["alive"], row["pid"]) == (1, "playing", True, 4711)
    assert row["numbers"]["results"] == {"W": 3, "D": 1, "L": 2}


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_narrow_terminal_stacks_and_cuts_nothing(place: StatusFile, width: int, tmp_path: Path) -> None:
    server = "wss://arena.example.org:8443/play"
    place.write(replace(STATUS, pid=4194304, server=server))
    shown = table(tmp_path, width)
    for words in ("4194304", "playing", "p50/p99 ms", "1.2/3.5", server):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_path_that_is_no_text_does_not_hide_a_daemon(place: StatusFile, tmp_path: Path) -> None:
    place.write(replace(STATUS, checkpoint="runs/\udcff", log="\udcff/compete-1.log"))
    (one,) = seen(tmp_path, 2)
    assert (one.status.checkpoint, one.status.log) == ("runs/?", "?/compete-1.log")


@pytest.mark.parametrize("set_by_s", [-7200.0, 7200.0])
def test_a_wall_clock_that_is_set_misleads_nobody(place: StatusFile, set_by_s: float, tmp_path: Path) -> None:
    for silent_s, state in ((2.0, "playing"), (61.0, "hangs")):
        (one,) = observe(tmp_path, lambda: NOW + set_by_s, lambda after=silent_s: 500.0 + after)
        assert (one.state, one.age_s) == (state, silent_s)


def test_matches_that_wait_for_the_disk_are_shown(place: StatusFile, tmp_path: Path) -> None:
    place.write(replace(STATUS, numbers=replace(STATUS.numbers, waiting=3, refusal="records: No space left on device")))
    shown = " ".join(table(tmp_path).split())
    assert "daemon 1 cannot write to the disk: 3 matches wait to be written: records: No space left on device" in shown


def test_foreign_and_damaged_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "daemons"
    folder.mkdir()
    (folder / "1.json").write_text("{")
    (folder / "2.json").write_text("[]")
    (folder / "3.json").write_text('{"numbers": {}}')
    (folder / "mine.json").write_text(as_status_text(tmp_path / "other"))
    (folder / "4.json").write_text(100_000 * "[")
    (folder / "5.json").write_text(as_status_text(tmp_path / "another").replace('"uptime_s": ', '"uptime_s": 9e999'))
    os.mkfifo(folder / "6.json")  # whoever opens one to read it waits for a writer
    assert observe(tmp_path) == []
    assert [path.name for path in damaged_files(tmp_path)] == [f"{number}.json" for number in range(1, 7)]
    assert "1.json is damaged and was passed over" in " ".join(table(tmp_path, 1000).split())
    assert observe(tmp_path / "nowhere") == []
