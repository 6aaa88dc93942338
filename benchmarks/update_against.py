"""An update of today's code against that of another commit, in processor time, taking turns in one run.

Each is made by a process of its own, in its default preset, one thread; the other commit lies in a folder for the time.
"""

import statistics
import subprocess
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from competitor.screen import Table

ROOT = Path(__file__).resolve().parent.parent
CHILD = """
import sys
sys.path.insert(0, ".")
from benchmarks.update import Learning, load_config
one = Learning(load_config().dreamer, sys.argv[1], 1)
for line in sys.stdin:
    one.stretch(int(line))
    print(one.cpu_ms[-1], file=sys.stderr, flush=True)
"""


class _Side:
    """One way of one tree."""

    def __init__(self, name: str, way: str, tree: Path, stack: ExitStack) -> None:
        self.name, self.ms = f"{name}, {way}", list[float]()
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
        command = [sys.executable, "-W", "ignore", "-c", CHILD, way]
        self._process = stack.enter_context(subprocess.Popen(command, cwd=tree, text=True, **pipes))

    def stretch(self, updates: int) -> None:
        """Some updates in a row; raises SystemExit with what the process said instead of a time."""
        pipe, answers = self._process.stdin, self._process.stderr
        assert pipe is not None and answers is not None
        print(updates, file=pipe, flush=True)
        said = answers.readline()
        try:
            self.ms.append(float(said))
        except ValueError:
            raise SystemExit(f"{self.name}: {said}{answers.read()}") from None

    def end(self) -> None:
        """Let the process end."""
        if self._process.stdin is not None:
            self._process.stdin.close()


def against(commit: str, ways: list[str], updates: int, stretch: int) -> list[dict[str, Any]]:
    """Figures of the other commit's compiled way and of each of ours, after a stretch of warming up.

    Raises CalledProcessError where there is no such commit.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        sides = [_Side(commit, "native", Path(folder), stack)]
        sides += [_Side("now", way, ROOT, stack) for way in ways]
        for _ in range(1 + max(1, updates // stretch)):
            for side in sides:
                side.stretch(stretch)
        for side in sides:
            side.end()
    base = statistics.median(sides[0].ms[1:])
    return [
        {
            "way": side.name,
            "cpu_ms": statistics.median(side.ms[1:]),
            "cpu_ms_min": min(side.ms[1:]),
            "cpu_ms_max": max(side.ms[1:]),
            "times as fast": base / statistics.median(side.ms[1:]),
        }
        for side in sides
    ]


def against_table(found: list[dict[str, Any]]) -> Table:
    """One line for each."""
    columns = list(found[0])
    rows = [[one["way"], *(f"{one[key]:.0f}" for key in columns[1:-1]), f"{one[columns[-1]]:.2f}"] for one in found]
    return Table(columns, rows)
