"""How results look on a narrow screen."""

import io

from rich.console import Console

from competitor.evaluate.cross_table import CrossTable, Standing
from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.tables import print_cross_table, print_report, short_names
from competitor.players import BasicPlayer, RandomPlayer


def test_short_names_say_no_more_than_tells_them_apart() -> None:
    names = {
        "weak": "weak",
        "runs/first/checkpoints/latest.safetensors": "first/latest",
        "/some/where/runs/second/checkpoints/latest": "second/latest",
        "runs/second/checkpoints/best": "best",
        "my_module:Player": "my_module:Player",
    }
    assert short_names(names) == names
    assert short_names(["a/latest", "b/a/latest"]) == {"a/latest": "a/latest", "b/a/latest": "b/a/latest"}


def test_long_names_keep_every_number_whole() -> None:
    opponents = {f"/a/long/way/to/runs/{name}/checkpoints/latest": RandomPlayer(1) for name in ("one", "x" * 40)}
    report = evaluate(BasicPlayer(weak=False), opponents, rounds=4, rinks=4)
    console = Console(file=io.StringIO(), width=80)
    print_report(report, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "one/latest" in text and "…" not in text
    for result in report.results:
        low, high = result.ci95
        assert f"{100 * low:.1f}-{100 * high:.1f}" in text
        assert f"{result.elo:+.0f} ± {result.elo_error95:.0f}" in text


def test_the_names_of_many_players_stay_beside_their_points() -> None:
    names = [f"/a/long/way/to/runs/{number}/checkpoints/champion" for number in range(14)]
    standings = [Standing(name, rating=-301.0, error95=33.0, rounds=600, score=0.138) for name in names]
    console = Console(file=io.StringIO(), width=80)
    print_cross_table(CrossTable(1, "deterministic", False, standings, {}), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("-301 ± 33") == text.count("13.8") == 14
    assert all(f"{number + 1} {number}/champion" in text for number in range(14))
