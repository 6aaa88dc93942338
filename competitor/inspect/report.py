"""An inspection as tables on the screen."""

from __future__ import annotations

import math

from rich.console import Console

from competitor.evaluate.report import print_line, table_of
from competitor.inspect.dream_check import BODIES, CONTEXT, HORIZONS
from competitor.inspect.heads_check import LATE, CriticReport, DriftReport
from competitor.inspect.held_out import BASIC, OWN, RECORDED
from competitor.inspect.inspection import Inspection

ROUNDS_OF = {BASIC: "of basic players", OWN: "of this agent", RECORDED: "views of recorded rounds"}


def print_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """Print the errors of the dreams, then goals and returns, then critic and drift in a sentence each."""
    console = console or Console()
    print_line(console, f"How well {inspection.checkpoint} dreams", style="bold")
    _print_errors(inspection, console)
    _print_goals(inspection, console)
    print_line(console, f"critic: {_critic(inspection.critic)}")
    print_line(console, f"late in a round: {_drift(inspection.drift)}")
    for note in inspection.notes:
        print_line(console, f"note: {note}")
    rounds = ", ".join(f"{count} {ROUNDS_OF[source]}" for source, count in inspection.rounds.items())
    print_line(console, f"{inspection.windows:,} windows from held-out rounds ({rounds}); seed {inspection.seed}")
    print_line(console, f"sha256 {inspection.sha256}")


def _print_errors(inspection: Inspection, console: Console) -> None:
    title = f"Median error in units, h steps after {CONTEXT} seen ones"
    table = table_of(title, ["rounds", "body", *[f"h{horizon}" for horizon in HORIZONS]])
    for source, report in inspection.dreams.items():
        for place, body in enumerate(BODIES):
            errors = [_number(report.errors[body][horizon], ".2f") for horizon in HORIZONS]
            table.add_row("" if place else source, body, *errors)
    console.print(table)


def _print_goals(inspection: Inspection, console: Console) -> None:
    columns = ["rounds", "windows", "goals foreseen", "false alarms", "dreamed", "real", "bias"]
    table = table_of("Goals, and the return of the next 15 steps", columns)
    for source, report in inspection.dreams.items():
        table.add_row(
            source,
            f"{report.windows:,}",
            f"{_number(report.goals_seen, '.0%')} of {report.goal_windows}",
            _number(report.false_alarms, ".1%"),
            *[_number(one, "+.2f") for one in (report.return_dreamed, report.return_real, report.return_bias)],
        )
    console.print(table)


def _critic(report: CriticReport | None) -> str:
    if report is None:
        return "not judged, because the recorded rounds need not be those of this agent's own policy"
    expected = f"expects {report.value:+.2f} to the end of the round, {report.real:+.2f} really comes"
    return f"{expected}; bias {report.bias:+.2f} ± {report.error95:.2f} (95 %, {report.states:,} states)"


def _drift(report: DriftReport) -> str:
    if not report.states:
        return f"not judged, because no round lasts longer than {LATE} steps"
    return (
        f"the round goes on with {report.goes_on_whole:.1%} by the whole round, {report.goes_on_fresh:.1%} by a fresh "
        f"context; mean difference {report.goes_on_difference:.4f}, of the reward {report.reward_difference:.3f} "
        f"({report.states:,} states from step {LATE} on)"
    )


def _number(value: float, form: str) -> str:
    """The number as text, a dash for what could not be measured."""
    return format(value, form) if math.isfinite(value) else "-"
