"""A finished run of the preset `debug`, made by the real command, and a command that has to fail."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import cli

Fails = Callable[..., str]

SMALL = [
    *("--preset", "debug", "--set", "training.environment_steps=1200", "--set", "training.lesson_rounds=0"),
    *("--set", "training.evaluate_every_steps=600", "--set", "league.snapshot_every_steps=300"),
]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory; tests that change it take `run_copy`."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.run(["train", *SMALL, "--run", "first"]) == 0
    return folder / "runs" / "first"


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run as `runs/first` below the current directory."""
    monkeypatch.chdir(tmp_path)
    copy = Path("runs/first")
    shutil.copytree(finished_run, copy)
    return copy


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that has to fail with a code; returns its one line."""

    def run(code: int, *arguments: str) -> str:
        capsys.readouterr()
        assert cli.run(list(arguments)) == code
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert len(err.strip().splitlines()) == 1
        return err

    return run
