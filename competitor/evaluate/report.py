"""Evaluation results as tables on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from competitor.evaluate.cross_table import CrossTable
from competitor.evaluate.evaluation import EvaluationReport
from competitor.evaluate.gauntlet import Gauntlet
from competitor.evaluate.results import SprtReport, Tally
from competitor.players.sparring import PREFIX

LEAST_NAME = 14  # characters that a name gets in a cross table, however many numbers follow it
WIDEST = 1000  # characters of a line of a cross table: rather too wide for the screen than without names


def print_report(report: EvaluationReport, console: Console | None = None) -> None:
    """Print the report, one line per opponent: the score, the difference, how the rounds divide up."""
    console = console or Console()
    partial = ", partial" if report.partial else ""
    print_line(console, f"{report.checkpoint} ({report.policy} policy{partial})", style="bold")
    short = short_names([report.checkpoint, *(result.opponent for result in report.results)])
    for table in (_score_table(report, short), _elo_table(report, short), _split_table(report, short)):
        console.print(table)
    if report.gauntlet is not None:
        print_line(console, _gauntlet(report.gauntlet))
    for result in report.results:
        if result.sprt is not None:
            print_line(console, f"SPRT against {result.opponent}: {_sprt(result.sprt)}")
    for note in report.notes:
        print_line(console, f"note: {note}")
    rounds = sum(result.rounds for result in report.results)
    print_line(
        console,
        f"{rounds} rounds in {report.seconds:.1f} s on {report.rinks} rinks; seed {report.seed}, "
        f"engine {report.engine}. Errors are 95 %, from pairs of rounds.",
    )


def print_cross_table(table: CrossTable, console: Console | None = None) -> None:
    """Print the standings from best to worst, and everybody's points against everybody."""
    console = console or Console()
    names = [standing.name for standing in table.standings]
    partial = ", partial" if table.partial else ""
    print_line(console, f"Cross table: points in % ({table.policy} policy{partial})", style="bold")
    short = short_names(names)
    numbers = [str(place) for place in range(1, len(names) + 1)]
    grid = table_of("", ["player", "rating", "rounds", "points", *numbers])
    for number, standing in zip(numbers, table.standings, strict=True):
        grid.add_row(
            f"{number} {short[standing.name]}",
            f"{standing.rating:+.0f} ± {standing.error95:.0f}",
            str(standing.rounds),
            f"{100 * standing.score:.1f}",
            *(_score(table, standing.name, other) for other in names),
        )
    whole = console.measure(grid, options=console.options.update(width=WIDEST)).maximum
    spare = max(len(f"{number} {short[name]}") for number, name in zip(numbers, names, strict=True)) - LEAST_NAME
    grid.width = min(whole, max(console.width, whole - max(0, spare)))
    console.print(grid, crop=False)
    print_line(console, "Ratings: Bradley-Terry in Elo, their mean is 0; errors are 95 %.")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return how each name is shown: of a path the last part, with as much before it as tells it from the others.

    The folder `checkpoints` of a run says nothing and is left out: `first/latest`.
    """
    parts = {name: _parts(name) for name in names}
    most = max((len(own) for own in parts.values()), default=0)
    short = {}
    for name, own in parts.items():
        others = [other for other in parts.values() if other != own]
        depths = (depth for depth in range(1, most + 1) if all(own[-depth:] != other[-depth:] for other in others))
        short[name] = "/".join(own[-next(depths, most) :])
    return short


def _parts(name: str) -> list[str]:
    return [part for part in Path(name.removesuffix(".safetensors")).parts if part != "checkpoints"]


def print_line(console: Console, text: str, *, style: str = "") -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def table_of(title: str, columns: list[str]) -> Table:
    """Return an empty table: names to the left and folded where space is short, numbers to the right."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
    return table


def _score_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    table = table_of("The score", ["opponent", "rounds", "W/D/L", "win rate", "95 %", "goals", "steps"])
    for result in report.results:
        low, high = result.ci95
        table.add_row(
            short[result.opponent],
            str(result.rounds),
            _tally(Tally(result.wins, result.draws, result.losses)),
            f"{100 * result.win_rate:.1f} %",
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"{result.goals_for}:{result.goals_against}",
            f"{result.mean_steps:.0f}",
        )
    return table


def _elo_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    columns = ["opponent", "Elo", "normalised Elo", "LOS", "pairs 0 to 1"]
    table = table_of("The difference", columns)
    for result in report.results:
        table.add_row(
            short[result.opponent],
            f"{result.elo:+.0f} ± {result.elo_error95:.0f}",
            f"{result.normalised_elo:+.0f} ± {result.normalised_elo_error95:.0f}",
            f"{100 * result.los:.1f} %",
            ", ".join(str(count) for count in result.pairs),
        )
    return table


def _split_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    columns = ["opponent", "left seat", "right seat", "own start", "other's start"]
    table = table_of("The same rounds, divided (W/D/L)", columns)
    for result in report.results:
        table.add_row(
            short[result.opponent],
            _tally(result.by_seat["left"]),
            _tally(result.by_seat["right"]),
            _tally(result.by_starter["own"]),
            _tally(result.by_starter["other"]),
        )
    return table


def _gauntlet(gauntlet: Gauntlet) -> str:
    held_out = gauntlet.held_out_points
    return (
        f"gauntlet of {gauntlet.partners}: {100 * gauntlet.points:.1f} % of the points"
        f"{'' if held_out is None else f', {100 * held_out:.1f} % from those held out'}; "
        f"worst {100 * gauntlet.worst_points:.1f} % against {gauntlet.worst.removeprefix(PREFIX)}; "
        f"own start {100 * gauntlet.own_start:.1f} %, the other's {100 * gauntlet.other_start:.1f} %"
    )


def _tally(tally: Tally) -> str:
    return f"{tally.wins}/{tally.draws}/{tally.losses}"


def _sprt(sprt: SprtReport) -> str:
    low, high = sprt.bounds
    meaning = {"H0": f"H0 accepted (Elo {sprt.elo0:g})", "H1": f"H1 accepted (Elo {sprt.elo1:g})"}
    decision = meaning.get(sprt.decision, "not decided")
    return (
        f"LLR {sprt.llr:+.2f} in ({low:.2f}, {high:.2f}), H0 Elo {sprt.elo0:g}, H1 Elo {sprt.elo1:g}, "
        f"alpha {sprt.alpha:g}, beta {sprt.beta:g}: {decision}"
    )


def _score(table: CrossTable, name: str, other: str) -> str:
    """Return the points of `name` against `other` in percent; a meeting stands under one of the two only."""
    forward = table.meetings.get(name, {}).get(other)
    backward = table.meetings.get(other, {}).get(name)
    if forward is not None:
        return f"{100 * forward.score:.0f}"
    return f"{100 * (1 - backward.score):.0f}" if backward is not None else "-"
