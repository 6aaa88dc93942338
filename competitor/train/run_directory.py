"""The run directory: everything one training produces, and nothing else.

::

    runs/NAME/
      config.toml         every setting of the run; `--config` accepts it
      version.json        which code, Python, torch and machine made it
      placement.json      device and kernels, chosen at the start
      metrics.jsonl       one line per report; tensorboard/ holds the same numbers
      checkpoints/        latest, best and, with --start-from, start, each .safetensors + .json
      league/             the snapshots in the pool
      state/              what --resume needs, see competitor/saves.py
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competitor.config import BEFORE, Config, known_settings, load_run_config
from competitor.errors import FULL_DISK, ConfigError, ResumeError, StorageError
from competitor.saves import Saves
from competitor.system import code_version, command_line, sole_writer
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write_text

START = "start"
# Exactly the names this program gives: whatever else lies there is somebody else's and stays.
SNAPSHOT_FILE = re.compile(r"(step-\d{9,18})\.(?:safetensors|json)")
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
        self.path, self.checkpoints, self.league = path, path / "checkpoints", path / "league"
        self.saves = Saves(path / "state")

    @classmethod
    def create(
        cls, path: Path, config: Config, *, preset: str = "default", start: tuple[Dreamer, dict[str, Any]] | None = None
    ) -> RunDirectory:
        """Make a new run directory and write config.toml and version.json.

        start: weights to begin with, and their card.

        Raises ConfigError when the directory is there already, StorageError when it cannot be written.
        """
        run = cls(path)
        with storage(path):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                check_is_new(path)
                raise
            try:
                run.league.mkdir()
                run.checkpoints.mkdir()
                atomic_write_text(path / "version.json", json.dumps(_version(preset), indent=2) + "\n")
                if start is not None:
                    save_checkpoint(run.checkpoints / START, *start)
                run.write_config(config)  # last: without it the directory is no run
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
        return run

    def discard(self) -> None:
        """Remove the directory of a run that has not begun."""
        shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run directory. Raises ResumeError when `path` is none."""
        if not os.path.isfile(path / "config.toml"):
            raise ResumeError(f"{path} is not a run directory: it has no config.toml")
        if re.search("[\ud800-\udfff]", str(path)):
            raise ResumeError(f"TensorBoard takes no path that is not UTF-8: call {path} otherwise")
        return cls(path)

    def sole_writer(self) -> AbstractContextManager[None]:
        """Hold the run for this process alone. Raises BusyError when another one holds it."""
        return sole_writer(self.path, f"the run {self.path}")

    def config(self, overrides: Sequence[str] = ()) -> Config:
        """The settings the run was made with, changed by `overrides` (as for --set).

        Raises ConfigError for a wrong override, ResumeError for one that cannot change any more.
        """
        file = self.path / "config.toml"
        config = load_run_config(file, overrides)
        if overrides:
            _check_unchanged(load_run_config(file), config)
        return config

    def newer_settings(self) -> list[str]:
        """Settings, as `section.key`, that the run's config.toml does not know: it is older and takes their defaults.

        Raises ConfigError like `config`.
        """
        file = self.path / "config.toml"
        known, today = known_settings(file), self.config().model_dump(by_alias=True)
        return [
            name
            for section in today
            for key in today[section]
            if (name := f"{section}.{key}") not in known | BEFORE.keys()
        ]

    def write_config(self, config: Config) -> None:
        """Store the settings; the file is whole or untouched."""
        with storage(self.path):
            atomic_write_text(self.path / "config.toml", config.to_toml())

    @property
    def preset(self) -> str:
        """Name of the preset the run was made with; `default` where version.json is damaged: nothing hangs on it."""
        try:
            preset = json.loads((self.path / "version.json").read_bytes())["preset"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return "default"
        return preset if isinstance(preset, str) else "default"

    @property
    def start(self) -> Path | None:
        """The checkpoint that the run has begun with, or None: it began with nothing."""
        path = self.checkpoints / f"{START}.safetensors"
        return path if path.exists() else None

    def save(self, write: Callable[[Path], None]) -> None:
        """Make a new save with `write(directory)`. Raises StorageError when the disk refuses, see `Saves.new`."""
        with storage(self.path), self.saves.new() as directory:
            write(directory)

    def remove_snapshots(self, *, keep: Collection[str]) -> None:
        """Remove the files of snapshots that are not named in `keep`; what is not this program's stays."""
        for file in self.league.glob("step-*"):
            match = SNAPSHOT_FILE.fullmatch(file.name)
            if match and match[1] not in keep:
                with suppress(OSError):
                    file.unlink()


def check_is_new(path: Path) -> None:
    """Raise ConfigError where a new run at `path` would find something there."""
    if os.path.lexists(path):
        resume = command_line("train", "--resume", path)
        raise ConfigError(f"{path} exists already: choose another --run NAME, or continue it: {resume}")


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Within it a refused write becomes one clear StorageError about the run at `path`."""
    try:
        yield
    except (OSError, CheckpointError) as error:
        cause = error.__cause__ if isinstance(error, CheckpointError) else error
        if not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError):
            raise
        reason = "the disk is full" if cause.errno in FULL_DISK else (cause.strerror or str(cause))
        raise StorageError(f"cannot write to {path}: {reason}; what was saved before is untouched") from error


def _check_unchanged(before: Config, after: Config) -> None:
    changed = [f"[{name}]" for name in FIXED_SECTIONS if getattr(before, name) != getattr(after, name)]
    for section, key in FIXED_SETTINGS:
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key):
            changed.append(f"{section}.{key}")
    if changed:
        raise ResumeError(f"{', '.join(changed)} cannot change when a run is resumed: start a new run instead")


def _version(preset: str) -> dict[str, str]:
    return {
        "code": code_version(),
        "preset": preset,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }
