"""Kinds of values and options that several commands share, and the places where commands write their results.

A place is tried when the command line is read, before the work: a folder that is not there or may not be written, or
a full disk, costs nobody an hour.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from pydantic_core import to_jsonable_python

from competitor.errors import StorageError, plain
from dreamer.files import atomic_write_text

KEPT = (".safetensors", ".npz", ".toml", ".jsonl", ".zip")
"""Weights, recordings, settings and records, which no result is written over."""
PROBE_BYTES = 4096
"""A block of the disk: what a full one refuses."""
MOST_ROUNDS = 10_000_000
MOST_MINUTES = 1e7  # as in the settings: nineteen years
MOST_SEED = 2**31 - 1
"""As in the settings: the random numbers of NumPy and torch take it, with room for seeds derived from it."""


def check_place(path: Path, shown: Path | None = None) -> None:
    """Raise StorageError unless a file can be written at `path`; tries it in the nearest folder that exists.

    shown: what the user gave, if it is not the file itself.
    """
    if _is_device(path):
        return
    with written(shown or path):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path.parent)  # refuses a name that is too long, which lexists only calls absent
        folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        probe = folder / f".{path.name}.{os.getpid()}.tmp"
        try:
            with probe.open("xb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            if folder.is_dir():
                probe.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes the file at `path`, into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def json_text(facts: object) -> str:
    """Dataclasses and plain values as JSON; what could not be measured (NaN) is null.

    In ASCII, as json writes it: a path need not be valid UTF-8.
    """
    return json.dumps(to_jsonable_python(facts, inf_nan_mode="null"), indent=2, allow_nan=False) + "\n"


@contextmanager
def also_written(path: Path | None, text: str) -> Iterator[None]:
    """Write a result's JSON before the block shows the result, since a reader like `head` may end the program there.

    Raises StorageError after the block: what cannot be written is shown nevertheless.
    """
    failed = None
    if path:
        try:
            with written(path):
                path.write_text(text) if _is_device(path) else atomic_write_text(path, text)
        except StorageError as error:
            failed = error
        else:
            click.echo(f"results written to {plain(str(path))}")
    yield
    if failed:
        raise failed


def _is_device(path: Path) -> bool:
    """Whether `path` is written to as it is: a device such as /dev/stdout, or a pipe."""
    return os.path.exists(path) and not path.is_file() and not path.is_dir()


class Command(click.Command):
    """A command that writes results: none into the file of another one, or over what it reads."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; raises UsageError for two options, or an input and an option, with the same file."""
        rest = super().parse_args(ctx, args)
        read = {os.path.realpath(file) for param in self.params for file in _files_read(param, ctx.params)}
        taken: dict[str, str] = {}
        for param in self.params:
            path = ctx.params.get(str(param.name)) if isinstance(param.type, ResultFile) else None
            if path is None or _is_device(path):
                continue
            option, place = param.opts[0], os.path.realpath(path)
            if place in read:
                raise click.UsageError(f"{option} {path} would be written over what the command reads")
            if taken.setdefault(place, option) != option:
                raise click.UsageError(f"{taken[place]} and {option} would both be written to {path}")
        return rest


def _files_read(param: click.Parameter, values: dict[str, Any]) -> Iterator[str]:
    """The files that an argument or option may name: itself, a player's weights and card, a population's book."""
    value = None if isinstance(param.type, (ResultFile, ResultFolder)) else values.get(str(param.name))
    for one in value if isinstance(value, tuple) else (value,):
        words = one.split(",") if isinstance(one, str) else [str(one)] if isinstance(one, Path) else []
        for name in (word.rpartition(":")[2] for word in words if word):
            yield from filter(os.path.isfile, (name, f"{name}/book.json"))
            stem = name.removesuffix(".safetensors").removesuffix(".json")
            if os.path.isfile(f"{stem}.safetensors"):
                yield from (f"{stem}.safetensors", f"{stem}.json")


class ResultFile(click.Path):
    """A file that a command will write. suffixes: how its name may end, because that decides what the file is."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; fails when its name has another suffix. Raises StorageError like `check_place`."""
        path = Path(str(super().convert(value, param, ctx)))  # type: ignore[arg-type]
        if not path.name:
            self.fail("the name of the file is missing", param, ctx)
        if self.suffixes and not path.name.lower().endswith(self.suffixes):
            self.fail(f"{path}: the name of this file has to end with {' or '.join(self.suffixes)}", param, ctx)
        if path.suffix.lower() in KEPT and os.path.isfile(path):
            self.fail(f"{path} is no file of results, and would be lost: choose another name", param, ctx)
        check_place(path)
        return path


class ResultFolder(click.Path):
    """A folder that a command will write files into."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path. Raises StorageError like `check_place`."""
        path = Path(str(super().convert(value, param, ctx)))  # type: ignore[arg-type]
        check_place(path / "round", shown=path)
        return path


class Minutes(click.FloatRange):
    """Minutes from 0 (or, if is_open, above 0) to ten million; NaN, which no comparison refuses, is none."""

    def __init__(self, *, is_open: bool = False) -> None:
        super().__init__(min=0, max=MOST_MINUTES, min_open=is_open)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fails outside of the range."""
        minutes = float(super().convert(value, param, ctx))  # type: ignore[arg-type]
        if math.isnan(minutes):
            self.fail(f"{value!r} is not a number of minutes", param, ctx)
        return minutes


def plain_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """For an option that names a run: fails for what is no name of a folder below `runs`."""
    if name is not None and (name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", name)):
        raise click.BadParameter(f"{name!r} is not a plain name: the run becomes the folder NAME in runs/")
    return name


FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PORT = click.IntRange(0, 65_535)
ROUNDS = click.IntRange(1, MOST_ROUNDS)
CONFIG = click.option("--config", "config_path", type=FILE, help="A file laid over the shipped config.toml.")
SET = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting.")
SEED = click.option("--seed", type=click.IntRange(0, MOST_SEED), help="Seed of all random choices.")
ENGINE = click.option("--engine", type=click.Choice(["builtin", "hockey"]), help="Which rink to play on.")
JSON = click.option("--json", "json_path", type=ResultFile(), help="Write the results here too.")
