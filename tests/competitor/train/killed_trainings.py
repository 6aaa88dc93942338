"""Continues copies of a run and kills each of them at another moment: `python killed_trainings.py RUN FOLDER EVERY`.

The moments are those at which a file is flushed, renamed or removed; every EVERY-th of them gets a copy of its own in
FOLDER, killed there as if the power went. Ends with the number of copies as its only output.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from competitor.train.selfplay import Trainer

CHANGES = (
    "training.environment_steps=2000",
    "training.checkpoint_every_minutes=0.4",
    "training.evaluate_every_steps=100",
)


def count_moments(then: Callable[[int], None]) -> None:
    """Call `then` with its number before each change of a file on the disk."""
    numbers = itertools.count()

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            then(next(numbers))
            return change(*arguments, **named)

        return call

    for name in ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def train(path: Path) -> None:
    """Continue a run to its end, saving every few steps."""
    seconds = itertools.count()
    Trainer.resume(path, CHANGES, clock=lambda: float(next(seconds))).train()


def forked(work: Callable[[], None]) -> int:
    """Do the work in a process of its own; returns the wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main(run: Path, folder: Path, every: int) -> None:
    """Kill one copy at each chosen moment, until a training comes to its end."""
    torch.set_num_threads(1)
    for number in itertools.count():
        copy = folder / f"{number:03d}"
        shutil.copytree(run, copy)

        def killed(copy: Path = copy, moment: int = number * every) -> None:
            count_moments(lambda met: os.kill(os.getpid(), signal.SIGKILL) if met == moment else None)
            train(copy)

        status = forked(killed)
        if status == 0:
            print(number)
            return
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
