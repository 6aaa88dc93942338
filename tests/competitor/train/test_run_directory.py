"""The run directory: whole saves or none, clear refusals."""

import errno
import json
from datetime import datetime
from pathlib import Path

import pytest

from competitor.config import Config
from competitor.errors import ConfigError, ResumeError, StorageError
from competitor.train.run_directory import RunDirectory, default_name, storage
from competitor.train.run_list import run_facts
from dreamer.errors import CheckpointError


@pytest.fixture
def run(tmp_path: Path, debug_config: Config) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", debug_config, preset="debug")


def test_a_new_run_tells_what_made_it(run: RunDirectory, debug_config: Config) -> None:
    about = json.loads((run.path / "version.json").read_text())
    assert about.keys() == {"code", "preset", "python", "torch", "numpy", "machine"}
    assert about["preset"] == run.preset == "debug"
    assert run.config() == debug_config
    assert run.config(["training.minutes=2.0"]).training.minutes == 2.0
    assert run.saves.current() is None


def test_an_existing_directory_is_never_overwritten(run: RunDirectory, debug_config: Config) -> None:
    with pytest.raises(ConfigError, match="exists already.*--resume"):
        RunDirectory.create(run.path, debug_config)


def test_a_folder_that_tensorboard_cannot_name_is_no_run(run: RunDirectory) -> None:
    renamed = run.path.rename(run.path.with_name("a\udcffb"))
    with pytest.raises(ResumeError, match="no path that is not UTF-8"):
        RunDirectory.open(renamed)


def test_what_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not a run directory"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("direct", [True, False])
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_save(run: RunDirectory, direct: bool) -> None:
    run.save(lambda directory: (directory / "part").touch())
    before = run.saves.current()

    def write(directory: Path) -> None:
        (directory / "part").write_text("half")
        full = OSError(errno.ENOSPC, "No space left on device")
        if direct:
            raise full
        raise CheckpointError("cannot write the checkpoint") from full

    with pytest.raises(StorageError, match="disk is full.*untouched") as caught:
        run.save(write)
    assert "\n" not in str(caught.value)
    assert run.saves.current() == before
    assert before is not None and (before / "part").read_text() == ""
    assert list(run.saves.directory.glob("save-*")) == [before]


def test_only_refused_writes_become_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(CheckpointError), storage(tmp_path):
        raise CheckpointError("foreign")
    with pytest.raises(StorageError, match="Permission denied"), storage(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_unnamed_runs_are_called_by_time_and_preset() -> None:
    assert default_name("debug", datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02-030405-debug"


def test_a_run_from_before_lookahead_goes_on_whatever_its_settings_for_other_commands(run: RunDirectory) -> None:
    file = run.path / "config.toml"
    newer = ("lookahead", "siblings", "prelude_updates", "lesson_rounds")
    lines = [line for line in file.read_text().splitlines() if not line.startswith(newer)]
    file.write_text("\n".join([*lines, "[evaluation]", "rounds = 8", "rinks = 8"]))
    config = run.config(["training.minutes=3.0"])
    assert (config.behavior.lookahead, config.behavior.siblings, run.newer_settings()) == (0, 1, [])
    assert (config.training.prelude_updates, config.training.lesson_rounds) == (0, 0)  # it plays already
    assert run_facts(run.path).state == "stopped"


@pytest.mark.parametrize(("setting", "before"), [("observed", False), ("prediction_width", 1)])
def test_a_run_from_before_a_setting_of_the_model_goes_on_without_it(
    run: RunDirectory, setting: str, before: object
) -> None:
    file = run.path / "config.toml"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith(f"{setting} =")))
    assert getattr(run.config().model, setting) == before and f"model.{setting}" not in run.newer_settings()
    assert getattr(run.config(["training.minutes=3.0"]).model, setting) == before
