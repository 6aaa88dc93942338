"""Evaluation results as tables on the screen."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from competitor.evaluate.cross_table import CrossTable
from competitor.evaluate.evaluation import EvaluationReport
from competitor.evaluate.results import SprtReport, Tally
from competitor.screen import Table, fits, make_console, print_line, print_table

STANDING = ("player", "rating", "rounds", "points")


def print_report(report: EvaluationReport, console: Console | None = None) -> None:
    """Print the report, one line per opponent: the score, the difference, how the rounds divide up."""
    partial = ", partial" if report.partial else ""
    print_line(f"{report.checkpoint} ({report.policy} policy{partial})", console, style="bold")
    print_line("", console)
    short = short_names([report.checkpoint, *(result.opponent for result in report.results)])
    for table in (_score_table(report, short), _elo_table(report, short), _split_table(report, short)):
        print_table(table, console)
    if report.gauntlet is not None:
        print_line(report.gauntlet.line, console)
    for result in report.results:
        if result.sprt is not None:
            print_line(f"SPRT against {result.opponent}: {_sprt(result.sprt)}", console)
    for note in report.notes:
        print_line(f"note: {note}", console)
    rounds = sum(result.rounds for result in report.results)
    print_line(
        f"{rounds} rounds in {report.seconds:.1f} s on {report.rinks} rinks; seed {report.seed}, "
        f"engine {report.engine}. Errors are 95 %, from pairs of rounds.",
        console,
    )


def print_cross_table(table: CrossTable, console: Console | None = None) -> None:
    """Print the standings from best to worst, and everybody's points against everybody."""
    console = console or make_console()
    partial = ", partial" if table.partial else ""
    print_line(f"Cross table: points in % ({table.policy} policy{partial})", console, style="bold")
    print_line("", console)
    whole = _grid(table)
    print_table(whole if fits(whole, console.width) else _list(table), console)
    print_line("Ratings: Bradley-Terry in Elo, their mean is 0; errors are 95 %.", console)


def _grid(table: CrossTable) -> Table:
    """A column for each player's points against each."""
    numbers = [str(place) for place in range(1, len(table.standings) + 1)]
    names = [standing.name for standing in table.standings]
    points = ([_score(table, name, other) for other in names] for name in names)
    rows = [[*start, *row] for start, row in zip(_standing_cells(table), points, strict=True)]
    return Table([*STANDING, *numbers], rows)


def _list(table: CrossTable) -> Table:
    """All points of a player in one cell that can be wrapped: for more players than the screen has room for."""
    names = [standing.name for standing in table.standings]
    rows = []
    for start, name in zip(_standing_cells(table), names, strict=True):
        points = [f"{place}: {_score(table, name, other)}" for place, other in enumerate(names, 1) if other != name]
        rows.append([*start, ", ".join(points)])
    return Table([*STANDING, "against"], rows)


def _standing_cells(table: CrossTable) -> list[list[str]]:
    short = short_names(standing.name for standing in table.standings)
    return [
        [
            f"{place} {short[standing.name]}",
            f"{standing.rating:+.0f} ± {standing.error95:.0f}",
            str(standing.rounds),
            f"{100 * standing.score:.1f}",
        ]
        for place, standing in enumerate(table.standings, start=1)
    ]


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


def _score_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    rows = [
        (
            short[result.opponent],
            str(result.rounds),
            _tally(Tally(result.wins, result.draws, result.losses)),
            f"{100 * result.win_rate:.1f} %",
            f"{100 * result.ci95[0]:.1f}-{100 * result.ci95[1]:.1f}",
            f"{result.goals_for}:{result.goals_against}",
            f"{result.mean_steps:.0f}",
        )
        for result in report.results
    ]
    return Table(["opponent", "rounds", "W/D/L", "win rate", "95 %", "goals", "steps"], rows, "The score")


def _elo_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    rows = [
        (
            short[result.opponent],
            f"{result.elo:+.0f} ± {result.elo_error95:.0f}",
            f"{result.normalised_elo:+.0f} ± {result.normalised_elo_error95:.0f}",
            f"{100 * result.los:.1f} %",
            ", ".join(str(count) for count in result.pairs),
        )
        for result in report.results
    ]
    return Table(["opponent", "Elo", "normalised Elo", "LOS", "pairs 0 to 1"], rows, "The difference")


def _split_table(report: EvaluationReport, short: dict[str, str]) -> Table:
    rows = [
        (
            short[result.opponent],
            _tally(result.by_side["left"]),
            _tally(result.by_side["right"]),
            _tally(result.by_starter["own"]),
            _tally(result.by_starter["other"]),
        )
        for result in report.results
    ]
    columns = ["opponent", "left side", "right side", "own start", "other's start"]
    return Table(columns, rows, "The same rounds, divided (W/D/L)")


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
