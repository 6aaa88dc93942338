"""An inspection as tables on the screen."""

import math
from collections.abc import Mapping

from rich.console import Console

from competitor.inspect.dream_check import BODIES, CONTEXT, HORIZONS, DreamReport
from competitor.inspect.heads_check import LATE, CriticReport, DriftReport
from competitor.inspect.held_out import BASIC, OWN, RECORDED
from competitor.inspect.inspection import Inspection
from competitor.screen import Table, print_line, print_table

ROUNDS_OF = {BASIC: "of basic players", OWN: "of this agent", RECORDED: "views of recorded rounds"}


def print_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """Print the errors of the dreams, goals and returns, the puck alone, then critic and drift in a sentence each."""
    print_line(f"How well {inspection.checkpoint} dreams", console, style="bold")
    print_line("", console)
    for table in dream_tables(inspection.dreams):
        print_table(table, console)
    print_line(f"critic: {_critic(inspection.critic)}", console)
    print_line(f"late in a round: {_drift(inspection.drift)}", console)
    for note in inspection.notes:
        print_line(f"note: {note}", console)
    rounds = ", ".join(f"{count} {ROUNDS_OF[source]}" for source, count in inspection.rounds.items())
    print_line(f"{inspection.windows:,} windows from held-out rounds ({rounds}); seed {inspection.seed}", console)
    print_line(f"sha256 {inspection.sha256}", console)


def dream_tables(dreams: Mapping[str, DreamReport]) -> tuple[Table, Table, Table]:
    """The reports by source: errors, goals and returns, and the puck alone."""
    return _errors(dreams), _goals(dreams), _physics(dreams)


def _errors(dreams: Mapping[str, DreamReport]) -> Table:
    rows = [
        [source, body, *[_number(report.errors[body][horizon], ".2f") for horizon in HORIZONS]]
        for source, report in dreams.items()
        for body in BODIES
    ]
    columns = ["rounds", "body", *[f"h{horizon}" for horizon in HORIZONS]]
    title = f"Median error in units, h steps after {CONTEXT} seen ones"
    return Table(columns, rows, title, texts=2)


def _goals(dreams: Mapping[str, DreamReport]) -> Table:
    rows = [
        [
            source,
            f"{report.windows:,}",
            f"{_number(report.goals_seen, '.0%')} of {report.goal_windows}",
            _number(report.false_alarms, ".1%"),
            *[_number(one, "+.2f") for one in (report.return_dreamed, report.return_real, report.return_bias)],
        ]
        for source, report in dreams.items()
    ]
    columns = ["rounds", "windows", "goals foreseen", "false alarms", "dreamed", "real", "bias"]
    return Table(columns, rows, "Goals, and the return of the next 15 steps")


def _physics(dreams: Mapping[str, DreamReport]) -> Table:
    rows = [
        [
            source,
            f"{report.untouched_windows:,}",
            *[_number(report.untouched[horizon], ".2f") for horizon in (1, 7, 15)],
            f"{report.shots.shots:,}",
            _number(report.shots.y_median, ".2f"),
            f"{_number(report.shots.goals_seen, '.0%')} of {report.shots.goals}",
            _number(report.shots.false_alarms, ".1%"),
        ]
        for source, report in dreams.items()
    ]
    columns = ["rounds", "untouched", "h1", "h7", "h15", "shots", "y error", "goals foreseen", "false alarms"]
    return Table(columns, rows, "The puck where no racket comes near, and shots in flight")


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
