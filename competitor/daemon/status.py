"""What each daemon says about itself every few seconds in a file, and the table of all of them.

Daemons that share a records directory are numbered: `daemons/N.json` is what number N says, and a lock on
`daemons/N.lock`, which the system lifts when a process dies in whatever way, says that it is alive. A daemon
takes the lowest number that is free; it removes its file when it ends as asked, and leaves it otherwise.
Whether it still speaks is decided by the monotonic clock, which nobody sets: it counts from the start of the machine.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from competitor.daemon.telemetry import FINITE, Numbers
from competitor.screen import Table, duration, print_line, print_table
from competitor.system import is_locked
from dreamer.files import atomic_write_text

FOLDER = "daemons"
WRITE_EVERY_S = 5.0
HANGS_AFTER_S = 60.0
FORGOTTEN_AFTER_S = 7 * 24 * 3600.0
COLUMNS = ("daemon", "state", "server", "pid", "in play", "W/D/L", "p50/p99 ms", "heard", "up")


@dataclass(frozen=True)
class DaemonStatus:
    """What a daemon says. Times are unix seconds; error: why it ended, if not as asked."""

    __pydantic_config__ = FINITE
    pid: int
    server: str
    checkpoint: str
    digest: str
    version: str
    log: str
    started_at: float
    written_at: float
    written_monotonic_s: float  # the same moment on the clock that nobody sets
    phase: str
    numbers: Numbers
    error: str | None = None


_STATUS = TypeAdapter(DaemonStatus)


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
    """The place of one daemon among those of a records directory, as long as the `with` block."""

    def __init__(self, records: Path) -> None:
        """Take the lowest free number. Raises OSError when the directory cannot be written."""
        folder = records / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Somebody who looks at the very moment whether a number is taken makes us take the next one: harmless.
        for number in count(1):
            self._lock = FileLock(folder / f"{number}.lock", timeout=0, thread_local=False)
            with contextlib.suppress(Timeout):
                self._lock.acquire()
                break
        self.number = number
        self.path = folder / f"{number}.json"

    def write(self, status: DaemonStatus) -> None:
        """Replace what the file says; bytes of a path that are no text become question marks. Raises OSError."""
        text = json.dumps(asdict(status), indent=2, ensure_ascii=False) + "\n"
        atomic_write_text(self.path, text.encode(errors="replace").decode())

    def __enter__(self) -> StatusFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the number back; after an error the last words stay for whoever asks why the daemon ended."""
        if kind is None or not issubclass(kind, Exception):
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._lock.release()


def observe(
    records: Path, wall_clock: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
) -> list[Observed]:
    """The daemons of a records directory by number; those dead for a week are left out. Never raises."""
    found = []
    for path in _files(records):
        status = _read(path)
        if status is None:
            continue
        spoken_s, written_s = clock() - status.written_monotonic_s, max(0.0, wall_clock() - status.written_at)
        held = is_locked(path.with_suffix(".lock"))
        # Before a restart of the machine the other clock counted from elsewhere; but then nobody holds the lock.
        age_s = spoken_s if held is not False and spoken_s >= 0 else written_s
        alive = age_s <= HANGS_AFTER_S if held is None else held
        if alive or age_s < FORGOTTEN_AFTER_S:
            found.append(Observed(int(path.stem), status, alive, age_s))
    return found


def damaged_files(records: Path) -> list[Path]:
    """The status files that cannot be read."""
    return [path for path in _files(records) if _read(path) is None and path.exists()]


def status_json(daemons: list[Observed]) -> str:
    """The daemons as a JSON list, with their state."""
    rows = [
        {"number": one.number, "state": one.state, "alive": one.alive, "age_s": one.age_s, **asdict(one.status)}
        for one in daemons
    ]
    return json.dumps(rows, indent=2)


def print_status(daemons: list[Observed], records: Path, console: Console | None = None) -> None:
    """Print one row per daemon, why the dead ones ended, and what waits for the disk."""
    if daemons:
        print_table(Table(COLUMNS, [_cells(one) for one in daemons], texts=3), console)
    else:
        print_line(f"no daemon keeps its records in {records}", console)
    for one in daemons:
        for remark in _remarks(one):
            print_line(f"daemon {one.number} {remark}", console)
    for path in damaged_files(records):
        print_line(f"{path} is damaged and was passed over", console)


def _remarks(one: Observed) -> Iterator[str]:
    if one.state in ("dead", "hangs"):
        why = one.status.error or ("killed" if not one.alive else f"silent for {duration(one.age_s)}")
        yield f"is {'stuck' if one.alive else 'dead'}: {why}; log: {one.status.log}"
    if waits := one.status.numbers.warning:
        yield f"{'cannot' if one.alive else 'could not'} write to the disk: {waits}"


def _cells(one: Observed) -> list[str]:
    numbers = one.status.numbers if one.alive else replace(one.status.numbers, playing=0)
    age_s = numbers.last_message_age_s
    p50_ms, p99_ms = numbers.latency_p50_ms, numbers.latency_p99_ms
    return [
        *(str(one.number), one.state, one.status.server, str(one.status.pid), str(numbers.playing)),
        "/".join(str(numbers.results.get(result, 0)) for result in "WDL"),
        "-" if p50_ms is None or p99_ms is None else f"{p50_ms:.1f}/{p99_ms:.1f}",
        "-" if age_s is None else f"{duration(age_s + one.age_s)} ago",
        duration(numbers.uptime_s),
    ]


def _files(records: Path) -> list[Path]:
    found = [path for path in records.glob(f"{FOLDER}/*.json") if path.stem.isascii() and path.stem.isdecimal()]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _read(path: Path) -> DaemonStatus | None:
    """The status in `path`; None when it is gone by now, or not one."""
    try:
        return _STATUS.validate_json(path.read_bytes()) if path.is_file() else None
    except (OSError, ValidationError):
        return None
