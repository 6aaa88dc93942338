"""The directory of one run of a recipe.

::

    runs/sparring/NAME/
      recipe.toml      the recipe, as it was begun with
      progress.jsonl   a line a minute; examinations.jsonl: a line per examination
      best, latest     the policy: .safetensors with its card .json
      pool/            past selves that passed an examination
      saves/           what going on needs, see competitor/saves.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from competitor.errors import ResumeError
from competitor.options import written
from competitor.saves import Saves
from competitor.sparring.recipes import Recipe, read_recipe
from competitor.system import command_line, sole_writer
from dreamer.files import atomic_write_text

PROGRESS, EXAMINATIONS = "progress.jsonl", "examinations.jsonl"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the directory of a run for this process alone; it is made if it is not there.

    Raises BusyError when another process holds it, StorageError when it cannot be made.
    """
    with ExitStack() as lock:
        with written(path):
            path.mkdir(parents=True, exist_ok=True)
            lock.enter_context(sole_writer(path, f"the run {path}"))
        yield


class Run:
    """A run on the disk. Make it with `create` or `open`; one process at a time may train it."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.name, self.recipe = path, path.name, recipe
        self.saves = Saves(path / "saves")

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> Run:
        """A new run in `path`, see `held`. Raises ResumeError when there is a run in it already, StorageError."""
        if (path / "recipe.toml").exists():
            way = command_line("sparring", "train", "--resume", path)
            raise ResumeError(f"{path} holds a run already: choose another --run, or continue it: {way}")
        with written(path / "recipe.toml"):
            atomic_write_text(path / "recipe.toml", recipe.to_toml())
        return cls(path, recipe)

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run directory. Raises ResumeError when `path` is none, ConfigError for a damaged recipe."""
        if not os.path.isfile(path / "recipe.toml"):
            raise ResumeError(f"{path} is not a sparring partner's run: it has no recipe.toml")
        return cls(path, read_recipe(path / "recipe.toml"))

    def source(self) -> Run | None:
        """The run whose weights this one begins with, or None.

        Raises ResumeError when it is not there, has no save yet, or is of another algorithm.
        """
        named = self.recipe.begins_from
        if not named:
            return None
        path = Path(named) if len(Path(named).parts) > 1 else self.path.with_name(named)
        way_out = "train that first, name another with --begin-from, or begin from nothing with --set begins_from=''"
        if not os.path.isfile(path / "recipe.toml"):
            raise ResumeError(f"{self.name} begins with the weights of {path}, which is no run: {way_out}")
        source = Run.open(path)
        if source.saves.current() is None:
            raise ResumeError(f"{self.name} begins with the weights of {path}, which has no save: {way_out}")
        if source.recipe.algorithm != self.recipe.algorithm:
            kinds = f"{source.recipe.algorithm} and not {self.recipe.algorithm}"
            raise ResumeError(f"{self.name} cannot begin with the weights of {path}: it is of {kinds}")
        return source

    def log(self, file: str, line: dict[str, Any]) -> None:
        with written(self.path / file), (self.path / file).open("a", encoding="utf-8") as log:
            log.write(json.dumps(to_jsonable_python(line, inf_nan_mode="null"), allow_nan=False) + "\n")
