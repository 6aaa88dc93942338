"""One writer at a time for a directory, and how the process ends."""

import subprocess
import sys
from pathlib import Path

import pytest

import cli
from competitor.errors import BusyError
from competitor.system import sole_writer

HOLD = """
import pathlib, sys
import cli
from competitor.errors import BusyError
from competitor.system import sole_writer
with sole_writer(pathlib.Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_and_may_follow_when_the_first_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        busy = pytest.raises(BusyError, match="the run first is in use by another process")
        with busy, sole_writer(tmp_path, "the run first"):
            pass
        holder.kill()
        holder.wait()
        with sole_writer(tmp_path, "the run first"):
            pass


def test_the_directory_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sole_writer(tmp_path, "it"):
        raise ZeroDivisionError
    with sole_writer(tmp_path, "it"):
        pass


AT_THE_END = """
import atexit, gc, runpy, sys
atexit.register(lambda: print("frozen:", gc.get_freeze_count() > 10_000))  # runs after those registered later
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("argument", ["--version", "--no-such-option"])
def test_no_command_looks_for_garbage_when_it_has_ended(argument: str) -> None:
    command = [sys.executable, "-c", AT_THE_END, cli.__file__, argument]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "frozen: True"
