"""What the runs in a folder have come to, from their settings, their record and their lock."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from competitor.config import load_run_config
from competitor.errors import ConfigError
from competitor.screen import Table, print_line, print_table
from competitor.system import is_held
from competitor.train.metrics import METRICS_NAME, read_lines

LEGEND = (
    "weak, strong: rounds won in the last evaluation; score: the best so far, a draw is half a point, which "
    "checkpoints/best holds. finished: it has trained for as many steps or minutes as its settings say."
)


@dataclass(frozen=True)
class RunFacts:
    """One run. state: "running" (another process trains it), "finished" or "stopped"; shares lie in [0, 1].

    weak, strong, gauntlet: of the last evaluation that has them; score: the best of all evaluations.
    """

    run: str
    state: str
    environment_steps: int
    updates: int
    minutes: float
    weak: float | None
    strong: float | None
    score: float | None
    gauntlet: float | None
    last_line_at: str | None


def is_run(path: Path) -> bool:
    """Whether `path` is the directory of a training."""
    return os.path.isfile(path / "config.toml")


def list_runs(folder: Path) -> list[RunFacts]:
    """The runs in `folder`, who wrote last comes last. Raises OSError when the folder cannot be read."""
    found = [run_facts(path) for path in sorted(folder.iterdir()) if is_run(path)] if os.path.isdir(folder) else []
    return sorted(found, key=lambda facts: facts.last_line_at or "")


def run_facts(path: Path) -> RunFacts:
    """What is known of the run at `path`; damaged lines of its record are left out."""
    lines = record(path)
    last = lines[-1] if lines else {}
    saved = _saved_counters(path)
    steps, seconds, updates = (
        max(number(one.get(key)) or 0.0 for one in (last, saved)) for key in ("environment_steps", "seconds", "updates")
    )
    minutes = seconds / 60
    file = path / METRICS_NAME
    written_at = datetime.fromtimestamp(file.stat().st_mtime, UTC) if lines else None
    return RunFacts(
        run=str(path),
        state=_state(path, steps, minutes),
        environment_steps=int(steps),
        updates=int(updates),
        minutes=round(minutes, 1),
        weak=_last(lines, "weak/win_rate"),
        strong=_last(lines, "strong/win_rate"),
        score=max(values(lines, "score"), default=None),
        gauntlet=_last(lines, "gauntlet/points"),
        last_line_at=written_at.isoformat(timespec="seconds") if written_at else None,
    )


def record(path: Path) -> list[dict[str, Any]]:
    """The lines of the run's record; none before it has begun."""
    file = path / METRICS_NAME
    return read_lines(file) if file.is_file() else []


def _saved_counters(path: Path) -> dict[str, Any]:
    """What the run's last save has counted, which may be more than its record says; nothing where it is damaged."""
    try:
        name = (path / "state" / "current").read_text(encoding="ascii").strip()
        counters = json.loads((path / "state" / name / "trainer.json").read_bytes())["counters"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return counters if isinstance(counters, dict) else {}


def number(value: object) -> float | None:
    """`value` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def values(lines: Iterable[dict[str, Any]], metric: str) -> list[float]:
    return [value for line in lines if (value := number(line.get(metric))) is not None]


def _last(lines: Sequence[dict[str, Any]], metric: str) -> float | None:
    return next(iter(values(reversed(lines), metric)), None)


def _state(path: Path, steps: float, minutes: float) -> str:
    if is_held(path):
        return "running"
    try:
        limits = load_run_config(path / "config.toml").training
    except ConfigError:  # settings of another version, or damaged: `train --resume` says which
        return "stopped"
    is_finished = steps >= limits.environment_steps or 0.0 < limits.minutes <= minutes
    return "finished" if is_finished else "stopped"


def print_runs(runs: Sequence[RunFacts], folder: Path) -> None:
    if not runs:
        print_line(f"no runs are in {folder}")
        return
    columns = ("run", "state", "steps", "minutes", "weak", "strong", "score", "gauntlet")
    print_table(Table(columns, [_cells(facts) for facts in runs], texts=2))
    print_line(LEGEND, style="dim")


def _cells(facts: RunFacts) -> list[str]:
    shares = (facts.weak, facts.strong, facts.score, facts.gauntlet)
    return [
        Path(facts.run).name,
        facts.state,
        f"{facts.environment_steps:,}",
        f"{facts.minutes:,.1f}",
        *("-" if share is None else f"{100 * share:.1f} %" for share in shares),
    ]
