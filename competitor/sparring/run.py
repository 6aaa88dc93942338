"""The directory of one run of a recipe.

::

    runs/sparring/NAME/
      recipe.toml      the recipe, as it was begun with
      progress.jsonl   a line a minute; examinations.jsonl: a line per examination
      best, latest     the policy: .safetensors with its card .json
      pool/            past selves that passed an examination
      saves/           what going on needs; `current` names the last whole save
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from competitor.errors import ResumeError
from competitor.options import written
from competitor.sparring.recipes import Recipe, read_recipe
from dreamer.files import atomic_write_text, sync_directory

SAVE = re.compile(r"[1-9]\d{0,8}")
PROGRESS, EXAMINATIONS = "progress.jsonl", "examinations.jsonl"


class Run:
    """A run on the disk. Make it with `create` or `open`; one process at a time may train it."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> Run:
        """A new run directory. Raises ResumeError when there is a run in it already."""
        if (path / "recipe.toml").exists():
            raise ResumeError(f"{path} holds a run already: continue it with --resume {path}, or choose another --run")
        atomic_write_text(path / "recipe.toml", recipe.to_toml())
        return cls(path, recipe)

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run directory. Raises ResumeError when `path` is none, ConfigError for a damaged recipe."""
        if not (path / "recipe.toml").is_file():
            raise ResumeError(f"{path} is not a sparring partner's run: it has no recipe.toml")
        return cls(path, read_recipe(path / "recipe.toml"))

    @property
    def name(self) -> str:
        """The partner's name: that of the directory."""
        return self.path.name

    def source(self) -> Run | None:
        """The run whose weights this one begins with, or None.

        Raises ResumeError when it is not there, has no save yet, or is of another algorithm.
        """
        named = self.recipe.begins_from
        if not named:
            return None
        path = Path(named) if len(Path(named).parts) > 1 else self.path.with_name(named)
        way_out = "train that first, name another with --begin-from, or begin from nothing with --set begins_from=''"
        if not (path / "recipe.toml").is_file():
            raise ResumeError(f"{self.name} begins with the weights of {path}, which is no run: {way_out}")
        source = Run.open(path)
        if source.current_save() is None:
            raise ResumeError(f"{self.name} begins with the weights of {path}, which has no save: {way_out}")
        if source.recipe.algorithm != self.recipe.algorithm:
            kinds = f"{source.recipe.algorithm} and not {self.recipe.algorithm}"
            raise ResumeError(f"{self.name} cannot begin with the weights of {path}: it is of {kinds}")
        return source

    def log(self, file: str, line: dict[str, Any]) -> None:
        """Add a line of JSON to one of the run's logs."""
        with written(self.path / file), (self.path / file).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def current_save(self) -> Path | None:
        """The directory of the last whole save, or None. Raises ResumeError when it is gone, or unknown."""
        pointer = self.path / "saves" / "current"
        if not pointer.is_file():
            return None
        name = pointer.read_bytes().decode("ascii", "replace").strip()
        if not SAVE.fullmatch(name):
            raise ResumeError(f"{pointer} does not hold the number of a save: the run has been damaged")
        if not pointer.with_name(name).is_dir():
            raise ResumeError(f"{pointer} names the save {name}, which is not there: the run has been damaged")
        return pointer.with_name(name)

    @contextmanager
    def new_save(self) -> Iterator[Path]:
        """A directory to fill; at the end of the block it becomes the current save and the other saves go.

        Raises StorageError when it cannot be written, ResumeError like `current_save`.
        """
        before = self.current_save()
        save = self.path / "saves" / str(int(before.name) + 1 if before else 1)
        with written(save):
            shutil.rmtree(save, ignore_errors=True)
            save.mkdir(parents=True)
            yield save
            sync_directory(save)
            atomic_write_text(save.with_name("current"), save.name)
        for other in save.parent.iterdir():  # whatever has another name is not ours
            if SAVE.fullmatch(other.name) and other != save:
                shutil.rmtree(other, ignore_errors=True)
