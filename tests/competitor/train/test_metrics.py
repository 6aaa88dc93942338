"""The record of a run and what the console shows of it."""

import errno
import io
import itertools
import json
import math
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from competitor.train.display import Display, panel, status_line
from competitor.train.facts import Counters
from competitor.train.league import League
from competitor.train.metrics import Averages, MetricsWriter, read_lines
from competitor.train.report import Outcome, Status
from competitor.train.timing import Speed


def at(steps: int, updates: int) -> dict[str, float]:
    return {"environment_steps": steps, "updates": updates, "seconds": 1.0}


def write_some(directory: Path) -> None:
    with MetricsWriter(directory) as writer:
        for steps, updates in ((10, 1), (20, 2), (20, 3), (30, 4)):
            writer.write("train", at(steps, updates), {"loss/world": float(updates)})


def test_lines_are_json_objects_with_their_position(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write("evaluation", at(10, 1), {"score": 0.5, "broken": math.nan})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "kind": "evaluation",
        "environment_steps": 10,
        "updates": 1,
        "seconds": 1.0,
        "score": 0.5,
    }


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    write_some(tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/loss/world")][:2] == [(10, 1.0), (20, 2.0)]


def test_resuming_drops_what_came_after_the_save(tmp_path: Path) -> None:
    write_some(tmp_path)
    with MetricsWriter(tmp_path, resumed_at=(20, 2)) as writer:
        writer.write("train", at(20, 3), {"loss/world": 7.0})
    assert [(line["updates"], line["loss/world"]) for line in read_lines(tmp_path / "metrics.jsonl")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 7.0),
    ]


def test_averages_leave_out_what_is_not_finite_and_start_anew() -> None:
    averages = Averages({}, {})
    averages.add({"a": 1.0, "b": math.nan})
    averages.add({"a": 3.0, "b": 5.0})
    copy = Averages(**json.loads(json.dumps(asdict(averages))))
    assert copy.take() == {"a": 2.0, "b": 5.0} == averages.take()
    assert averages.take() == {}


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def status(phase: str = "training", steps: int = 1234, rate: float = 2.5, skipped: int = 0, **about: int) -> Status:
    league = League(("weak", "strong", "self", "past"), 3)
    league.record("weak", 1)
    values: dict[str, object] = {
        "phase": phase,
        "done": 0,
        "total": 0,
        "counters": Counters(environment_steps=steps, rounds=7, skipped=skipped),
        "environment_steps_limit": 10_000,
        "updates": 56,
        "replay_steps": 2468,
        "seconds": 3723.0,
        "seconds_left": 61.0,
        "speed": Speed(Hands(), None, 100.0, rate),
        "league": league,
        "metrics": {"loss/world": 1.5, "policy/entropy": 4.2, "return/scale": 1.0},
        "evaluation": {"weak/win_rate": 0.8},
    }
    return Status(**{**values, **about})  # type: ignore[arg-type]


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, force_interactive=terminal, width=120), text


def test_plain_lines_come_every_ten_seconds_at_new_phases_and_at_the_end() -> None:
    screen, text = console(terminal=False)
    clock = Hands()
    with Display(screen, clock) as display:
        for second in range(25):
            clock.now = float(second)
            display(status("training" if second else "warm-up", steps=second))
    lines = text.getvalue().splitlines()
    assert [line.split(" | ")[1].split()[1] for line in lines] == ["0", "1", "11", "21", "24"]


def test_a_line_tells_what_matters() -> None:
    rows = status_line(status(skipped=3)).split(" | ")
    assert rows == [
        "training; 1:02:03 so far, 0:01:01 left",
        "steps: 1,234 of 10,000, 100/s; 7 rounds",
        "updates: 56, 2.50/s; 3 skipped",
        "win rate: weak 75% of 1",
        "learning: world 1.5, entropy 4.2, return scale 1",
    ]


@pytest.mark.parametrize(
    ("about", "wanted"),
    [
        (("prelude", 222, 24_000, 20.0), "prelude 222 of 24,000, play begins in about 20 minutes; "),
        (("prelude", 23_999, 24_000, 2.5), "prelude 23,999 of 24,000, play begins in about 1 minute; "),
        (("prelude", 1, 9, 0.0), "prelude 1 of 9; "),
        (("warm-up", 3, 2300, 2.5), "warm-up 3 of 2,300 rounds; "),
    ],
)
def test_a_phase_tells_how_far_it_is_and_when_play_begins(about: tuple[str, int, int, float], wanted: str) -> None:
    phase, done, total, rate = about
    assert status_line(status(phase, done=done, total=total, rate=rate)).startswith(wanted)


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_the_panel_is_whole_at_any_width_and_in_ascii(width: int) -> None:
    buffer = io.BytesIO()
    text = io.TextIOWrapper(buffer, encoding="ascii")
    screen = Console(file=text, force_terminal=True, width=width, legacy_windows=False, no_color=True)
    shown = status("prelude", done=222, total=24_000, rate=20.0)
    screen.print(panel(shown, width))
    text.flush()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", buffer.getvalue().decode("ascii")).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    for part in (
        "prelude 222 of 24,000",
        "about 20 minutes",
        "weak 75% of 1",
        "weak 80% won",
        "return scale 1",
        "1:02:03 so far",
    ):
        assert part in words


def test_a_terminal_shows_the_panel() -> None:
    screen, text = console(terminal=True)
    with Display(screen) as display:
        display(status())
    assert "return scale 1" in text.getvalue()


def test_a_display_that_nobody_reads_any_more_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    sent_nowhere, tried = [], itertools.count()
    monkeypatch.setattr("competitor.train.display.write_to_nowhere", lambda: sent_nowhere.append(True))

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            next(tried)
            raise OSError(errno.EIO, "Input/output error")

    for terminal in (False, True):
        screen = Console(file=Closed(), force_terminal=terminal, force_interactive=terminal, width=120)
        with Display(screen) as display:
            display(status())
            display(status("another phase"))
    assert next(tried) == 2 and sent_nowhere == [True, True]


def test_speed_is_measured_over_windows() -> None:
    clock = Hands()
    speed = Speed(clock)
    speed.update(100, 10)
    clock.now = 4.0
    speed.update(500, 20)
    assert speed.steps_per_s == 0.0
    clock.now = 10.0
    speed.update(1100, 30)
    assert (speed.steps_per_s, speed.updates_per_s) == (100.0, 2.0)


def test_the_outcome_names_the_command_that_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cli.py"])
    monkeypatch.setattr(sys, "orig_argv", [".venv/bin/python", "cli.py"])
    outcome = Outcome("stopped", Path("runs/first"), 1, 1, 1, 1.0)
    assert outcome.resume_command == ".venv/bin/python cli.py train --resume runs/first"
    full = Outcome("steps", Path("runs/my first"), 500, 1, 1, 1.0)
    assert full.resume_command.endswith("--resume 'runs/my first' --set training.environment_steps=1000")
