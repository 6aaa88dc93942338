"""The run directory: everything one training produces, and nothing else.

::

    runs/NAME/
      config.toml         every setting of the run; `--config` accepts it
      version.json        which code, Python, torch and machine made it
      placement.json      device, precision and kernels, chosen at the start
      metrics.jsonl       one line per report; tensorboard/ holds the same numbers
      checkpoints/        latest and best, each .safetensors + .json
      league/             the snapshots in the pool
      state/              what --resume needs; `current` names the whole save among them
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tomllib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from competitor.config import Config, load_config
from competitor.errors import FULL_DISK, ConfigError, ResumeError, StorageError
from competitor.system import code_version
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write_text, sync_directory

SAVE_PREFIX = "save-"
# What the saved weights, rounds or replay depend on.
FIXED_SECTIONS = ("rink", "reward", "model")
FIXED_SETTINGS = (
    ("run", "seed"),
    ("training", "rinks"),
    ("replay", "batch_size"),
    ("replay", "sequence_length"),
    ("replay", "context"),
    ("optimizer", "kind"),
)


def default_name(preset: str, now: datetime | None = None) -> str:
    """Name of a run nobody has named: date, time (now, unless given) and preset."""
    return f"{now or datetime.now():%Y-%m-%d-%H%M%S}-{preset}"


class RunDirectory:
    """One run on the disk. Make it with `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, *, preset: str = "default") -> RunDirectory:
        """Make a new run directory and write config.toml and version.json.

        Raises ConfigError when the directory is there already, StorageError when it cannot be written.
        """
        if path.exists():
            raise ConfigError(f"{path} exists already: choose another --run NAME, or continue it with --resume {path}")
        run = cls(path)
        with storage(path):
            run.league.mkdir(parents=True)
            run.checkpoints.mkdir()
            atomic_write_text(path / "version.json", json.dumps(_version(preset), indent=2) + "\n")
            run.write_config(config)
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run directory. Raises ResumeError when `path` is none."""
        if not (path / "config.toml").is_file():
            raise ResumeError(f"{path} is not a run directory: it has no config.toml")
        return cls(path)

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """The settings the run was made with, changed by `overrides` (as for --set).

        Raises ConfigError for a wrong override, ResumeError for one that cannot change any more.
        """
        file = self.path / "config.toml"
        config = load_config(file, overrides=overrides)
        if overrides:
            _check_unchanged(load_config(file), config)
        return config

    def newer_settings(self) -> list[str]:
        """Settings, as `section.key`, that the run's config.toml does not know: it is older and takes their defaults.

        Raises ConfigError like `config`.
        """
        file = self.path / "config.toml"
        today = load_config(file).model_dump(by_alias=True)
        known = tomllib.loads(file.read_text(encoding="utf-8"))
        return [f"{section}.{key}" for section in today for key in today[section] if key not in known.get(section, {})]

    def write_config(self, config: Config) -> None:
        """Store the settings; the file is whole or untouched."""
        with storage(self.path):
            atomic_write_text(self.path / "config.toml", config.to_toml())

    @property
    def preset(self) -> str:
        """Name of the preset the run was made with."""
        try:
            return str(json.loads((self.path / "version.json").read_text(encoding="utf-8"))["preset"])
        except (OSError, ValueError, KeyError):
            return "default"

    @property
    def checkpoints(self) -> Path:
        """Where latest and best are kept."""
        return self.path / "checkpoints"

    @property
    def league(self) -> Path:
        """Where the snapshots of the pool are kept."""
        return self.path / "league"

    @property
    def state(self) -> Path:
        """Where the saves for --resume are kept."""
        return self.path / "state"

    def current_save(self) -> Path | None:
        """Directory of the last whole save, or None when there is none yet.

        Raises ResumeError when the save that `state/current` names is gone.
        """
        pointer = self.state / "current"
        if not pointer.is_file():
            return None
        directory = self.state / pointer.read_text(encoding="utf-8").strip()
        if not directory.is_dir():
            raise ResumeError(f"{pointer} names {directory.name}, which is not there: the save has been damaged")
        return directory

    def save(self, write: Callable[[Path], None]) -> Path:
        """Make a new save with `write(directory)`, let `state/current` name it, then remove the one before.

        At every moment, whatever kills the process, `current` names a whole save. Raises StorageError when
        the disk is full; then the save before is untouched and the unfinished one is gone.
        """
        before = self.current_save()
        number = 1 if before is None else int(before.name.removeprefix(SAVE_PREFIX)) + 1
        directory = self.state / f"{SAVE_PREFIX}{number:06d}"
        with storage(self.path):
            _clear(self.state, keep=before)
            try:
                directory.mkdir(parents=True)
                write(directory)
                sync_directory(directory)
                atomic_write_text(self.state / "current", directory.name + "\n")
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            sync_directory(self.state)
            _clear(self.state, keep=directory)
        return directory


class storage:  # noqa: N801 - used like a function
    """Context in which a refused write becomes one clear StorageError about the run at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.__cause__ if isinstance(error, CheckpointError) else error
        if not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError):
            return
        reason = "the disk is full" if cause.errno in FULL_DISK else (cause.strerror or str(cause))
        raise StorageError(f"cannot write to {self._path}: {reason}; what was saved before is untouched") from error


def _check_unchanged(before: Config, after: Config) -> None:
    changed = [f"[{name}]" for name in FIXED_SECTIONS if getattr(before, name) != getattr(after, name)]
    for section, key in FIXED_SETTINGS:
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key):
            changed.append(f"{section}.{key}")
    if changed:
        raise ResumeError(f"{', '.join(changed)} cannot change when a run is resumed: start a new run instead")


def _clear(state: Path, *, keep: Path | None) -> None:
    """Remove saves other than `keep`: older ones, and those a kill has left unfinished."""
    for directory in state.glob(f"{SAVE_PREFIX}*"):
        if directory != keep:
            shutil.rmtree(directory)


def _version(preset: str) -> dict[str, str]:
    return {
        "code": code_version(),
        "preset": preset,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }
