"""Who runs the turns: processes of this machine. The tasks of a Ray cluster are in `cluster`.

A turn is one process that trains a learner for some minutes, saves and ends. Nothing heavy is imported here: this file
is also the first thing that such a process runs, see `main`.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CLI = Path(__file__).resolve().parents[2] / "cli.py"
"""The command line: beside the package in a checkout and in an installation."""
PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux: the kernel sends a signal when the parent has died
ASKED = getattr(signal, "SIGHUP", signal.SIGTERM)
"""Asks a turn to save and end: never the second wish of `competitor.system.stopping_on_signals`, which ends it unsaved.

Whoever stops a service sends SIGTERM to all its processes, and so to the turns as well.
"""
UNBEGUN = -int(ASKED)
"""The exit code of a turn that was asked before it could hear: there was nothing to save."""
LOST = -int(getattr(signal, "SIGKILL", 9))
"""The exit code of a turn whose worker has died."""
Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Turn:
    """What a worker runs: a command of cli.py in the population's directory, and where its output goes."""

    learner: str
    arguments: tuple[str, ...]
    directory: Path
    log: Path


class Workers:
    """Processes of this machine, `count` at once; turns that are submitted beyond that wait."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count)
        self._processes: dict[str, Process] = {}
        self._stopped = False

    def submit(self, turn: Turn) -> Future[int]:
        """Run a turn; the future is its exit code, or LOST."""
        return self._threads.submit(self._run, turn)

    def _run(self, turn: Turn) -> int:
        def begun(process: Process) -> None:
            self._processes[turn.learner] = process
            if self._stopped:
                process.send_signal(ASKED)

        try:
            return run_turn(turn, begun)
        finally:
            self._processes.pop(turn.learner, None)

    def stop(self) -> None:
        """Ask every turn to save and end. A second call ends them at once."""
        again, self._stopped = self._stopped, True
        for process in list(self._processes.values()):
            process.terminate() if again else process.send_signal(ASKED)

    def close(self) -> None:
        self._threads.shutdown()


def run_turn(turn: Turn, begun: Callable[[Process], None] = lambda process: None) -> int:
    """Run a turn to its end and return its exit code. `begun` is given its process.

    The process has a session of its own, so that a terminal's Ctrl-C reaches the population alone, which then asks it
    to save; and it is asked to save when this process dies.
    """
    turn.log.parent.mkdir(parents=True, exist_ok=True)
    with turn.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(os.getpid()), *turn.arguments],
            cwd=turn.directory,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        begun(process)
        try:
            return process.wait()
        except BaseException:  # a cluster's task that is cancelled
            process.send_signal(ASKED)
            process.wait()
            raise


def main() -> None:
    """Become a command of cli.py that is asked to save when its parent dies."""
    parent, *arguments = sys.argv[1:]
    signal.signal(ASKED, signal.SIG_DFL)  # it is ignored under nohup
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, ASKED)
        if os.getppid() != int(parent):
            sys.exit("whoever wanted this turn has ended")
    os.execv(sys.executable, [sys.executable, str(CLI), *arguments])


if __name__ == "__main__":
    main()
