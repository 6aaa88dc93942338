"""A signal while a command is still loading its modules: one line, exit code 130, no traceback.

The moment is exact: the signal is sent when a certain module begins to be imported.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(cli.__file__).parent
START = """
import os, runpy, sys

_, module, number, script, *_ = sys.argv

class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Trap())
sys.argv[:] = sys.argv[3:]
runpy.run_path(script, run_name="__main__")
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(arguments: list[str], module: str, number: int, folder: Path, *, ignored: bool = False) -> tuple[int, str]:
    """Return exit code and standard error of a command to which the signal was sent at the import of the module."""
    command = [sys.executable, "-c", START, module, str(int(number)), str(ROOT / "cli.py"), *arguments]

    def ignore() -> None:
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=ignore)
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["click", "competitor.errors", "rich.console"])
def test_while_the_program_itself_is_loaded(module: str, number: int, tmp_path: Path) -> None:
    assert start(["--help"], module, number, tmp_path) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["evaluate", "weak"], "numpy._core._multiarray_umath"),
        (["evaluate", "weak"], "torch.nn"),
        (["inspect", "champion"], "competitor.inspect.held_out"),
        (["info", "champion"], "safetensors"),
        (["replay", "round.npz"], "numpy._core.multiarray"),
        (["train", "--preset", "debug"], "competitor.train.selfplay"),
        (["matches"], "competitor.daemon.database"),
        (["status"], "competitor.daemon.status"),
        (["sparring", "list"], "competitor.sparring.tables"),
    ],
)
def test_while_a_command_loads_what_it_needs(arguments: list[str], module: str, tmp_path: Path) -> None:
    assert start(arguments, module, signal.SIGINT, tmp_path) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    code, err = start(["--help"], "click", signal.SIGHUP, tmp_path, ignored=True)
    assert (code, err) == (0, "")


COMPETE = ["compete", "--server", "127.0.0.1:9", "--token-file", "token", "--set", "compete.attempts=1"]
AT = ["click", "competitor.daemon.commands", "competitor.daemon.options", "torch.nn", "competitor.daemon.tournament"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", AT)
def test_compete_that_is_told_to_stop_while_it_starts_ends_well(module: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")
    (tmp_path / "token").chmod(0o600)
    assert start(COMPETE, module, number, tmp_path) == (0, "")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("module", AT)
def test_a_hangup_does_not_end_compete_while_it_starts(module: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")
    (tmp_path / "token").chmod(0o600)
    code, said = start(COMPETE, module, signal.SIGHUP, tmp_path)
    assert code == 17 and "no connection to 127.0.0.1:9 after one attempt" in said
