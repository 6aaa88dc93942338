"""The commands `league ...` as a user types them: real processes, killed and stopped."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import cli
from competitor.errors import BusyError, StorageError
from competitor.population.book import Book
from competitor.population.workers import Turn, Workers
from tests.end_to_end.conftest import Fails

ROOT = Path(cli.__file__).parent
SMALL = ["--preset", "debug", "--set", "training.evaluate_every_steps=1000000"]
SHORT = ["--workers", "2", "--turn", "0.03", "--life", "0.05", "--rounds", "2"]
pytestmark = pytest.mark.slow


def league(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "league", *arguments],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def until(process: subprocess.Popen[str], said: str) -> str:
    """What the process has printed up to a line that holds `said`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if said in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def trainings(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The turns that a population, or a task of its cluster, runs."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "train" in child.cmdline()]


def test_a_killed_population_goes_on_and_a_signal_saves_it(tmp_path: Path, finished_run: Path) -> None:
    start = str(finished_run / "checkpoints/latest")
    with league("pool", *SMALL, *SHORT, "--start-from", start, cwd=tmp_path) as process:
        until(process, "of the points against the champion start")
        until(process, "begins")
        with league("pool", cwd=tmp_path) as second:
            said, _ = second.communicate(timeout=120)
        assert second.returncode == BusyError.exit_code and "in use by another process" in said
        children = trainings(process)
        process.kill()
    assert psutil.wait_procs(children, timeout=120)[1] == []  # asked to save by their parent's death
    before = Book.read(tmp_path / "pool")
    assert before.champion and before.main.turns >= 1
    for run in ("main", "exploiter-1-1"):
        assert (tmp_path / f"pool/runs/{run}/checkpoints/start.safetensors").is_file()  # both began with its weights
    with league("pool", *SHORT, cwd=tmp_path) as process:
        until(process, "enters the league")
        until(process, "begins")
        children = trainings(process)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "continue with: " in said
    assert not any(child.is_running() for child in children)
    after = Book.read(tmp_path / "pool")
    assert after.of("exploiter") and after.main.turns >= before.main.turns
    assert (tmp_path / "pool/runs/main/state/current").is_file()
    status_is_shown(tmp_path / "pool", after)


def test_a_population_that_nobody_reads_runs_as_long_as_it_shall(tmp_path: Path) -> None:
    with league("pool", *SMALL, *SHORT, "--minutes", "0.3", cwd=tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("running pool")
        process.stdout.close()
        assert process.wait(timeout=240) == 0
    assert Book.read(tmp_path / "pool").main.turns >= 1


SLOW = """
import signal
from pathlib import Path
class Slow:
    steps = 0
    def reset(self, slots):
        self.slots = slots
    def act(self, obs, is_first):
        self.steps += 1
        if self.steps == 20:  # the training has begun
            hears = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *what: (Path("heard").touch(), hears(*what)))
            Path("asked").touch()
            while not Path("go").exists():
                pass
        return [[0.0] * 4] * self.slots
"""


def test_a_turn_that_gets_sigterm_itself_as_well_saves(tmp_path: Path) -> None:
    """Who stops a service sends it to all processes; the population's wish comes on top and is no second one."""
    (tmp_path / "slow.py").write_text(SLOW)
    only = 'league.opponents={weak=0, strong=0, self=0, past=0, "slow:Slow"=1}'
    changes = [f"--set={each}" for each in (only, "training.lesson_rounds=0", "training.prelude_updates=0")]
    log, workers = tmp_path / "log", Workers(1)
    future = workers.submit(Turn("main", ("train", "--run", "main", *SMALL, *changes), tmp_path, log))
    while not (tmp_path / "asked").exists():
        assert not future.done(), log.read_text()
    psutil.Process().children()[-1].send_signal(signal.SIGTERM)
    while not (tmp_path / "heard").exists():
        assert not future.done(), log.read_text()
    workers.stop()
    (tmp_path / "go").touch()
    assert (future.result(), "all is saved" in log.read_text()) == (130, True), log.read_text()
    workers.close()


def status_is_shown(directory: Path, book: Book) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, str(ROOT / "cli.py"), "league", "status", ".", "--json", "status.json"]
    shown = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"not running; champion: {book.champion}" in shown and "exploiter-1-1" in shown
    assert max(map(len, shown.splitlines())) <= 80
    state = json.loads((directory / "status.json").read_text())
    assert state["champion"] == book.champion and state["is_running"] is False and state["exploitability"] is None
    assert [member["name"] for member in state["members"]] == [member.name for member in book.members]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: extra 'cluster'")
def test_a_killed_worker_of_a_cluster_costs_its_last_save_at_most(tmp_path: Path) -> None:
    with league("pool", *SMALL, *SHORT, "--ray", "local", cwd=tmp_path) as process:
        until(process, "main-1 is the new champion")
        until(process, "turn 2 begins")
        while not (running := trainings(process)):
            assert process.poll() is None
        for training in running:
            training.parent().kill()  # the worker of Ray that runs it
        until(process, "its turn was killed")
        before = Book.read(tmp_path / "pool")
        assert before.champion == "main-1" and before.main.turns >= 1
        until(process, "main: turn 2 has ended")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "continue with: " in said
    assert Book.read(tmp_path / "pool").main.turns >= 2


def test_a_full_disk_at_the_beginning_is_named(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dreamer.files.atomic_write_text", full)
    said = fails(StorageError.exit_code, "league", "pool", *SMALL, "--minutes", "1")
    assert "pool cannot be written: No space left on device" in said


def test_mistakes_are_one_line(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "holds no population: it has no book.json" in fails(9, "league", "status", "nowhere")
    assert "there is no checkpoint" in fails(4, "league", "pool", "--start-from", "none.safetensors")
    assert "unknown preset" in fails(3, "league", "pool", "--preset", "defualt")
    assert "cannot start from champion: it differs in" in fails(3, "league", "pool", *SMALL, "--start-from", "champion")
    assert not Path("pool").exists()
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    assert "is not empty and holds no population" in fails(3, "league", "mine")
    for option, value in (
        ("--turn", "0"),
        ("--turn", "nan"),
        ("--life", "1e999"),
        ("--minutes", "nan"),
        ("--workers", "0"),
    ):
        assert cli.run(["league", "pool", option, value]) == 2


@pytest.mark.skipif(importlib.util.find_spec("sbx") is not None, reason="sbx-rl is installed here")
def test_without_sbx_an_exploiter_says_what_to_install(fails: Fails) -> None:
    assert "training an exploiter needs the extra 'sparring'" in fails(18, "league", "exploit", "champion")
