"""What each daemon says about itself every few seconds in a file, and the table of all of them.

Daemons that share a records directory are numbered: `daemons/N.json` is what number N says, and a lock on
`daemons/N.lock`, which the system lifts when a process dies in whatever way, says that it is alive. A daemon
takes the lowest number that is free; it removes its file when it ends as asked, and leaves it otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from competitor.daemon.telemetry import Numbers
from dreamer.files import atomic_write_text

FOLDER = "daemons"
WRITE_EVERY_S = 5.0
HANGS_AFTER_S = 60.0
FORGOTTEN_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class DaemonStatus:
    """What a daemon says. Times are unix seconds; error: why it ended, if not as asked."""

    pid: int
    server: str
    checkpoint: str
    digest: str
    version: str
    log: str
    started_at: float
    written_at: float
    phase: str
    numbers: Numbers
    error: str | None = None


@dataclass(frozen=True)
class Observed:
    """A daemon as others see it: its number, what it said last, whether its process lives."""

    number: int
    status: DaemonStatus
    alive: bool
    age_s: float

    @property
    def state(self) -> str:
        """In one word or two: playing, finishing, leaving, not connected, hangs or dead."""
        if not self.alive:
            return "dead"
        if self.age_s > HANGS_AFTER_S:
            return "hangs"
        if self.status.phase == "playing" and not self.status.numbers.connected:
            return "not connected"
        return self.status.phase

    @property
    def works(self) -> bool:
        """Whether it lives and still says so."""
        return self.alive and self.age_s <= HANGS_AFTER_S


class StatusFile:
    """The place of one daemon among those of a records directory; hold it as long as the daemon lives."""

    def __init__(self, records: Path) -> None:
        """Take the lowest free number. Raises OSError when the directory cannot be written."""
        folder = records / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Somebody who looks at the very moment whether a number is taken makes us take the next one: harmless.
        for number in count(1):
            lock = _lock(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX)
            if lock is not None:
                break
        self.number, self._lock = number, lock
        self.path = folder / f"{number}.json"

    def write(self, status: DaemonStatus) -> None:
        """Replace what the file says. Raises OSError."""
        atomic_write_text(self.path, json.dumps(asdict(status), indent=2) + "\n")

    def close(self, *, keep: bool) -> None:
        """Give the number back; keep: leave the last words for whoever asks why the daemon ended."""
        if self._lock is None:
            return
        if not keep:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None


def observe(records: Path, clock: Callable[[], float] = time.time) -> list[Observed]:
    """The daemons of a records directory by number; those dead for a week are left out. Never raises."""
    found = []
    for path in sorted(records.glob(f"{FOLDER}/*.json"), key=lambda path: (len(path.name), path.name)):
        status = _read(path)
        if status is None or not path.stem.isdecimal():
            continue
        age_s = max(0.0, clock() - status.written_at)
        alive = _is_locked(path.with_suffix(".lock"))
        if alive or age_s < FORGOTTEN_AFTER_S:
            found.append(Observed(int(path.stem), status, alive, age_s))
    return found


def status_json(daemons: list[Observed]) -> str:
    """The daemons as a JSON list, with their state."""
    rows = [
        {"number": one.number, "state": one.state, "alive": one.alive, "age_s": one.age_s, **asdict(one.status)}
        for one in daemons
    ]
    return json.dumps(rows, indent=2)


def print_status(daemons: list[Observed], records: Path, console: Console | None = None) -> None:
    """Print one line per daemon, and why the dead ones ended."""
    console = console or Console()
    if not daemons:
        console.print(f"no daemon keeps its records in {records}", markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    for column in ("daemon", "pid", "state", "server", "in play", "W/D/L", "p50/p99 ms", "heard", "up"):
        table.add_column(column, no_wrap=column != "server", overflow="fold")
    for one in daemons:
        table.add_row(str(one.number), str(one.status.pid), one.state, one.status.server, *_cells(one))
    console.print(table)
    for one in daemons:
        if one.state in ("dead", "hangs"):
            why = one.status.error or ("killed" if not one.alive else f"silent for {_duration(one.age_s)}")
            text = f"daemon {one.number} is {'dead' if not one.alive else 'stuck'}: {why}; log: {one.status.log}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _cells(one: Observed) -> list[str]:
    numbers = one.status.numbers if one.alive else replace(one.status.numbers, playing=0)
    age_s = numbers.last_message_age_s
    p50_ms, p99_ms = numbers.latency_p50_ms, numbers.latency_p99_ms
    return [
        str(numbers.playing),
        "/".join(str(numbers.results[result]) for result in "WDL"),
        "-" if p50_ms is None or p99_ms is None else f"{p50_ms:.1f}/{p99_ms:.1f}",
        "-" if age_s is None else f"{_duration(age_s + one.age_s)} ago",
        _duration(numbers.uptime_s),
    ]


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _read(path: Path) -> DaemonStatus | None:
    """The status in `path`; None when it is gone by now, or not one."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return DaemonStatus(**{**values, "numbers": Numbers(**values["numbers"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_locked(path: Path) -> bool:
    try:
        lock = _lock(path, os.O_RDONLY, fcntl.LOCK_SH)
    except OSError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


def _lock(path: Path, flags: int, kind: int) -> int | None:
    """A descriptor that holds the lock, which lasts until it is closed; None when another process holds it."""
    descriptor = os.open(path, flags, 0o644)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
