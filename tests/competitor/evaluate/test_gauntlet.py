"""All sparring partners as one opponent: who they are, what is made of the results, what the command says."""

import json
from pathlib import Path

import pytest

import cli
from competitor.errors import PlayerError
from competitor.evaluate import gauntlet
from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.gauntlet import gauntlet_of, with_gauntlet
from competitor.evaluate.results import Meeting, OpponentResult, Outcome
from competitor.players import BasicPlayer
from competitor.players.sparring import PREFIX, partner_names


def result_of(opponent: str, results: list[int]) -> OpponentResult:
    """The result of rounds in order; of each four the first and the last are started by the player itself."""
    meeting = Meeting(opponent, len(results))
    for number, result in enumerate(results):
        meeting.enter(number, Outcome(result, steps=100, side=number % 2, starting=number % 4 in (0, 3)))
    return meeting.result()


def test_the_word_stands_for_all_partners_and_nobody_plays_twice() -> None:
    partners = [PREFIX + name for name in partner_names()]
    assert partners
    assert with_gauntlet(["weak", "gauntlet", partners[0], "weak"]) == ["weak", *partners]
    assert with_gauntlet(["weak", "strong"]) == ["weak", "strong"]


def test_without_partners_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("competitor.players.sparring.shipped", lambda name: tmp_path / name)
    with pytest.raises(PlayerError, match="there is no gauntlet"):
        with_gauntlet(["gauntlet"])


def test_the_summary_is_the_mean_of_the_partners_that_ship_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauntlet, "partner_names", lambda: ["a", "b", "c"])
    monkeypatch.setattr(gauntlet, "_is_held_out", lambda opponent: opponent == "sparring:b")
    results = [
        result_of("weak", [-1, -1, -1, -1]),
        result_of("sparring:a", [1, 1, 1, 0]),
        result_of("sparring:b", [1, -1, -1, 1]),
        result_of("sparring:c", [1, 1, 1, 1]),
        result_of("sparring:runs/sparring/mine/best", [-1, -1, -1, -1]),
    ]
    summary = gauntlet_of(results)
    assert summary.partners == 3
    assert summary.points == pytest.approx((0.875 + 0.5 + 1.0) / 3)
    assert summary.held_out_points == 0.5
    assert (summary.worst, summary.worst_points) == ("sparring:b", 0.5)
    assert summary.own_start == pytest.approx((0.75 + 1.0 + 1.0) / 3)
    assert summary.other_start == pytest.approx((1.0 + 0.0 + 1.0) / 3)


def test_without_one_held_out_there_is_no_such_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauntlet, "partner_names", lambda: ["a"])
    monkeypatch.setattr(gauntlet, "_is_held_out", lambda opponent: False)
    assert gauntlet_of([result_of("sparring:a", [1, 1])]).held_out_points is None


def test_a_report_that_was_stopped_early_has_no_summary() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    report = evaluate(BasicPlayer(weak=True), {"strong": BasicPlayer(weak=False)}, rounds=4, on_progress=stop)
    assert report.partial and report.with_gauntlet().gauntlet is None


def test_the_command_plays_all_partners_and_writes_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "result.json"
    assert cli.run(["evaluate", "strong", "--against", "gauntlet,weak", "--rounds", "2", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    names = [f"sparring:{name}" for name in partner_names()]
    assert [result["opponent"] for result in report["results"]] == [*names, "weak"]
    scores = [result["score"] for result in report["results"][:-1]]
    assert report["gauntlet"]["points"] == pytest.approx(sum(scores) / len(scores))
    assert f"gauntlet of {len(names)}: " in capsys.readouterr().out
