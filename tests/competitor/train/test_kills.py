"""Two processes at one run, and runs killed at any moment: one is told, and nothing is lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cli
from benchmarks import learning_curve
from competitor import saves
from competitor.errors import BusyError
from competitor.train import run_directory
from competitor.train.metrics import read_lines
from competitor.train.selfplay import Trainer
from dreamer.checkpoint import load_checkpoint
from tests.competitor.train.test_selfplay import Recorder, tiny

ROOT = Path(cli.__file__).parent
HOLD = """
import pathlib, sys
from competitor.train.run_directory import RunDirectory
with RunDirectory.open(pathlib.Path(sys.argv[1])).sole_writer():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def saved_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a few updates, a league and a best checkpoint; tests that change it take a copy."""
    trainer = Trainer.start(tiny("training.environment_steps=1900"), tmp_path_factory.mktemp("runs") / "run")
    trainer.train()
    return trainer.run.path


@pytest.fixture
def run(saved_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_run, tmp_path / "runs" / "first"))


@contextmanager
def held_by_another_process(run: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        yield


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_second_training_of_a_run_is_told_and_changes_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_by_another_process(run):
        before = files(run)
        assert cli.run(["train", "--resume", str(run), "--set", "training.environment_steps=5000"]) == 19
        assert files(run) == before
    err = capsys.readouterr().err
    assert err.startswith(f"error: the run {run} is in use by another process") and len(err.splitlines()) == 1
    assert cli.run(["train", "--resume", str(run), "--set", "training.environment_steps=1910"]) == 0


def test_a_second_trainer_in_this_process_is_told_too(run: Path) -> None:
    with Trainer.resume(run), pytest.raises(BusyError):
        Trainer.resume(run)
    Trainer.resume(run).close()


def test_a_learning_curve_waits_for_nobody_either(tmp_path: Path) -> None:
    options = learning_curve.Options(0.01, seed=3, preset="debug", every=0.01, rounds=2, runs=tmp_path)
    path = learning_curve.Curve(options).path
    Trainer.start(tiny(), path).close()
    with held_by_another_process(path), pytest.raises(BusyError):
        learning_curve.run(options)


def test_a_run_killed_at_any_moment_goes_on_from_a_whole_save(saved_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.competitor.train.killed_trainings", str(saved_run), str(tmp_path), "37"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    copies = sorted(tmp_path.iterdir())
    assert len(copies) == int(done.stdout) + 1 > 5
    ends = []
    for copy in copies:
        with Trainer.resume(copy) as trainer:
            ends.append(trainer.state.counters.environment_steps)
            for member in trainer.state.league.members:
                load_checkpoint(trainer.run.league / member.name)
        for name in ("latest", "best"):
            load_checkpoint(copy / "checkpoints" / name)
        assert read_lines(copy / "metrics.jsonl")
    assert ends == sorted(ends) and ends[0] < ends[-1]


def test_what_a_killed_run_wrote_after_its_save_does_not_stop_it(run: Path) -> None:
    (run / "state" / ".current.123.tmp").write_text("save-0")
    (run / "checkpoints" / ".best.safetensors.123.tmp").write_bytes(b"half")
    (run / "state" / "save-000099").mkdir()
    Trainer.resume(run, ["training.environment_steps=1910"]).train()
    assert not (run / "state" / "save-000099").exists()


def test_only_files_of_its_own_names_are_removed(run: Path) -> None:
    foreign = ["state/save-000002.bak", "state/save-1", "state/my save-000003", "league/.ipynb_checkpoints"]
    foreign += ["league/step-000000300.safetensors.bak", "league/mine", "state/save-000004 (copy)"]
    for name in foreign:
        (run / name).mkdir()
        (run / name / "file").write_text("mine")
    (run / "league" / "Thumbs.db").write_text("x")
    trainer = Trainer.resume(run, ["training.environment_steps=2600"])
    trainer.train()
    assert all((run / name / "file").read_text() == "mine" for name in foreign)
    assert (run / "league" / "Thumbs.db").exists()
    assert [path.name for path in trainer.run.saves.leftovers()] == []


def test_an_old_save_that_cannot_be_removed_stops_nothing_and_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(saves.shutil, "rmtree", refused)
    for limit in ("1910", "1960"):
        assert cli.run(["train", "--resume", str(run), "--set", f"training.environment_steps={limit}"]) == 0
    old = [line for line in capsys.readouterr().out.splitlines() if "could not be deleted" in line]
    assert len(old) == 2 and "save-0000" in old[-1]
    current = (run / "state/current").read_text().strip()
    assert current == max(path.name for path in (run / "state").glob("save-*"))


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\n", b'{"other": "program"}\n', b"null\n", b'{"environment_st\n', b"[" * 99_999 + b"\n"]
)
def test_a_damaged_line_of_the_record_is_left_out_and_said(
    damage: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run / "metrics.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    whole = read_lines(record)
    record.write_bytes(b"".join([*lines[:1], damage, *lines[1:]]))
    assert cli.run(["train", "--resume", str(run), "--set", "training.environment_steps=1910"]) == 0
    assert "1 damaged or foreign lines of" in capsys.readouterr().out
    after = [json.loads(line) for line in record.read_text().splitlines()]
    assert after[: len(whole)] == whole


def test_damaged_event_files_of_tensorboard_stop_nothing(run: Path) -> None:
    for file in (run / "tensorboard").iterdir():
        file.write_bytes(file.read_bytes()[:-7] + b"\x00garbage")
    (run / "tensorboard" / "events.out.tfevents.1.x").write_bytes(b"\xff" * 50)
    assert Trainer.resume(run, ["training.environment_steps=1960"]).train().updates > 0


def test_a_damaged_pointer_to_the_save_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "state" / "current").write_bytes(b"../../elsewhere")
    assert cli.run(["train", "--resume", str(run)]) == 9
    err = capsys.readouterr().err
    assert "state/current" in err and len(err.splitlines()) == 1


def test_a_start_that_fails_leaves_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_directory, "atomic_write_text", full)
    with pytest.raises(KeyboardInterrupt):
        Trainer.start(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_trainer_that_was_stopped_lets_go_of_its_run(run: Path) -> None:
    trainer = Trainer.resume(run, ["training.environment_steps=99999"])
    Recorder(trainer, stop_after=1)
    trainer.train()
    Trainer.resume(run).close()
