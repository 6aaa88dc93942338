"""The record of a run: one JSON object per line in metrics.jsonl, and the same numbers for TensorBoard.

Every line has `kind` ("start", "prelude", "train" or "evaluation"), `environment_steps`, `updates` and `seconds`; the
other keys are numbers. Lines are only ever added, except when a run is resumed: what a killed run wrote after its last
save will be written again, so it is dropped first.
"""

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TextIO

from pydantic import ConfigDict, Field

from competitor.train.wandb_log import WandbLog
from dreamer.files import atomic_write_text

METRICS_NAME = "metrics.jsonl"


@dataclass
class Averages:
    """Running means of metrics between two lines of the record; part of a save, see facts."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)

    sums: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    counts: dict[str, Annotated[int, Field(ge=1, le=2**53)]]

    def __post_init__(self) -> None:
        if self.sums.keys() != self.counts.keys():
            raise ValueError("sums and counts are not of the same numbers")

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take in one update's metrics; numbers that are not finite are left out."""
        for key, value in metrics.items():
            if math.isfinite(value):
                self.sums[key] = self.sums.get(key, 0.0) + value
                self.counts[key] = self.counts.get(key, 0) + 1

    def take(self) -> dict[str, float]:
        """The means so far; starts anew."""
        means = {key: total / self.counts[key] for key, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


class MetricsWriter(AbstractContextManager["MetricsWriter"]):
    """Writes the record of one run; use it as a context manager.

    directory: the run directory. resumed_at: environment steps and updates of the save that training
    continues from; None for a new run. wandb: whether Weights & Biases gets the numbers too.

    Raises PackageError and ConfigError like `WandbLog`.
    """

    def __init__(self, directory: Path, *, resumed_at: tuple[int, int] | None = None, wandb: bool = False) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds, and who reads the record needs none

        self.path = directory / METRICS_NAME
        directory.mkdir(parents=True, exist_ok=True)
        self._wandb = WandbLog(directory) if wandb else None  # may refuse: before files are open
        if resumed_at is not None:
            drop_after(self.path, *resumed_at)
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        purge = None if resumed_at is None else resumed_at[0] + 1
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=purge)

    def write(self, kind: str, position: Mapping[str, float], values: Mapping[str, float]) -> None:
        """Add a line; `position` holds environment_steps, updates and seconds."""
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps({"kind": kind, **position, **finite}) + "\n")
        self._file.flush()
        for key, value in finite.items():
            self._board.add_scalar(f"{kind}/{key}", value, int(position["environment_steps"]))
        if self._wandb:
            self._wandb.write(kind, position, finite)

    def close(self) -> None:
        self._file.close()
        self._board.close()
        if self._wandb:
            self._wandb.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def drop_after(path: Path, environment_steps: int, updates: int) -> None:
    """Remove the lines of `path` after that point, and those that are not whole lines of this record."""
    if not path.exists():
        return
    lines = read_lines(path)
    kept = [line for line in lines if line["environment_steps"] <= environment_steps and line["updates"] <= updates]
    atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def count_damaged(directory: Path) -> int:
    """How many lines of the record are damaged or another program's; a last one that a kill cut short is neither."""
    path = directory / METRICS_NAME
    return _parse(path.read_bytes())[1] if path.is_file() else 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; damaged ones and those of another program are left out."""
    return _parse(path.read_bytes())[0]


def _parse(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """(the lines of the record, how many other lines end in a newline)."""
    *whole, last = [_parse_line(text) for text in data.split(b"\n")]
    return [line for line in (*whole, last) if line], whole.count(None)


def _parse_line(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    positions = [line.get(key) for key in ("environment_steps", "updates")] if isinstance(line, dict) else [None]
    return line if all(type(position) is int for position in positions) else None
