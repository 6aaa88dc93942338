"""Evaluation of real players on the real rink: pairs, counting, early ends, reports, cross tables."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from competitor.config import Config
from competitor.evaluate.cross_table import cross_table
from competitor.evaluate.evaluation import EvaluationReport, evaluate, paired_schedule
from competitor.evaluate.results import Meeting, Outcome
from competitor.evaluate.statistics import Sprt
from competitor.evaluate.tables import print_cross_table, print_report
from competitor.options import json_text
from competitor.play.recording import recordings_in
from competitor.players import BasicPlayer, DreamerPlayer, Player, RandomPlayer, SampledDreamer
from dreamer.agent import Dreamer


def bots() -> dict[str, Player]:
    return {"weak": BasicPlayer(weak=True), "random": RandomPlayer(0)}


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return evaluate(BasicPlayer(weak=False), bots(), rounds=16, seed=4, rinks=10)


def shown(report: EvaluationReport) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_report(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def without_time(report: EvaluationReport) -> EvaluationReport:
    return replace(report, seconds=0.0, rinks=0)


def test_pairs_share_the_start_and_exchange_the_seats() -> None:
    schedule = list(paired_schedule("weak", 8, seed=3))
    for first, second in zip(schedule[::2], schedule[1::2], strict=True):
        assert (first.seed, first.one_starting) == (second.seed, second.one_starting)
        assert (first.side, second.side) == (0, 1)
    assert [setup.number for setup in schedule] == list(range(8))
    assert [setup.one_starting for setup in schedule[::2]] == [True, False, True, False]
    assert len({setup.seed for setup in schedule}) == 4


def test_schedule_is_the_same_for_everyone_and_only_grows() -> None:
    one = [(p.seed, p.side, p.one_starting) for p in paired_schedule("weak", 6, seed=3)]
    other = [(p.seed, p.side, p.one_starting) for p in paired_schedule("strong", 60, seed=3)]
    assert other[:6] == one
    assert [p.seed for p in paired_schedule("weak", 6, seed=4)] != [seed for seed, _, _ in one]


def test_counts_agree_with_each_other(report: EvaluationReport) -> None:
    for result in report.results:
        assert result.rounds == result.wins + result.draws + result.losses == 16
        assert (result.goals_for, result.goals_against) == (result.wins, result.losses)
        assert result.win_rate == result.wins / 16 and result.ci95[0] <= result.win_rate <= result.ci95[1]
        assert sum(result.pairs) == 8
        points = sum(count * place / 2 for place, count in enumerate(result.pairs))
        assert points == result.wins + result.draws / 2 == result.score * 16
        assert result.terminations == {"goal": result.wins + result.losses, "time": result.draws}
        for split in (result.by_side, result.by_starter):
            assert [tally.rounds for tally in split.values()] == [8, 8]
            assert sum(tally.wins for tally in split.values()) == result.wins
        assert 1 <= result.mean_steps <= 251


def test_number_of_rinks_does_not_change_the_result(report: EvaluationReport) -> None:
    for rinks in (1, 64):
        again = evaluate(BasicPlayer(weak=False, seed=rinks), bots(), rounds=16, seed=4, rinks=rinks)
        assert without_time(again) == without_time(report)


def test_what_is_sampled_belongs_to_the_round_and_not_to_its_rink(debug_config: Config) -> None:
    def played(rinks: int) -> EvaluationReport:
        player = SampledDreamer(Dreamer(debug_config.dreamer, seed=3), "sampled")
        return without_time(evaluate(player, bots(), rounds=8, seed=4, rinks=rinks))

    assert played(1) == played(5) == played(16)


def test_opponents_do_not_change_each_others_results(report: EvaluationReport) -> None:
    alone = evaluate(BasicPlayer(weak=False), {"random": RandomPlayer(5)}, rounds=16, seed=4)
    assert alone.results == report.results[1:]


def test_odd_number_of_rounds_is_rounded_up_and_said() -> None:
    report = evaluate(RandomPlayer(0), {"weak": BasicPlayer(weak=True)}, rounds=3, rinks=4)
    assert report.results[0].rounds == 4
    assert report.notes == ["3 rounds were rounded up to 4: rounds are played in pairs"]
    assert report.notes[0] in shown(report)


def test_json_holds_what_the_readme_promises(report: EvaluationReport) -> None:
    values = json.loads(json_text(report))
    assert (values["checkpoint"], values["policy"], values["seed"]) == ("strong", "deterministic", 4)
    assert values["partial"] is False
    first = values["results"][0]
    promised = "opponent rounds wins draws losses win_rate ci95 goals_for goals_against mean_steps"
    assert {*promised.split(), "elo", "elo_error95", "los", "pairs"} <= first.keys()
    assert first["opponent"] == "weak" and len(first["ci95"]) == 2 and len(first["pairs"]) == 5
    assert first["by_side"]["left"].keys() == {"wins", "draws", "losses"}


def test_report_on_screen_fits_80_columns(report: EvaluationReport) -> None:
    text = shown(report)
    assert "…" not in text and "strong (deterministic policy)" in text
    result = report.results[0]
    assert f"{result.wins}/{result.draws}/{result.losses}" in text
    assert "seed 4" in text


def test_tiny_dreamer_both_ways(debug_config: Config) -> None:
    agent = Dreamer(debug_config.dreamer)
    for deterministic, label in ((True, "deterministic"), (False, "sampled")):
        player = DreamerPlayer(agent, "tiny", deterministic=deterministic)
        report = evaluate(player, {"weak": BasicPlayer(weak=True)}, rounds=4)
        assert report.policy == label and report.results[0].rounds == 4
        assert f"tiny ({label} policy)" in shown(report)


def test_progress_counts_every_round() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(RandomPlayer(0), bots(), rounds=4, rinks=3, on_progress=lambda *done: seen.append(done))
    assert seen == [(done, 8) for done in range(1, 9)]


def test_interrupted_evaluation_reports_the_pairs_so_far(report: EvaluationReport, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    settings = {"rounds": 16, "seed": 4, "rinks": 4}
    player = BasicPlayer(weak=False)
    stopped = evaluate(player, bots(), on_progress=interrupt, record_dir=tmp_path, **settings)
    assert stopped.partial and "interrupted" in stopped.notes[0] and "partial" in shown(stopped)
    assert stopped.results[0] == report.results[0]
    assert 0 <= stopped.results[1].rounds <= 4
    assert len(recordings_in(tmp_path)) == 20


def test_interrupted_at_once_has_finite_numbers() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    stopped = evaluate(RandomPlayer(0), bots(), rounds=4, rinks=2, on_progress=interrupt)
    assert [result.rounds for result in stopped.results] == [0, 0]
    assert "NaN" not in json_text(stopped) and shown(stopped)


def outcome(result: int) -> Outcome:
    return Outcome(result=result, steps=10, side=0, starting=True)


def test_meeting_counts_only_the_unbroken_row_of_pairs() -> None:
    meeting = Meeting("x", 6)
    for number in (5, 0, 4, 1, 3):
        meeting.enter(number, outcome(1))
    assert meeting.whole_pairs == 1 and meeting.result().rounds == 2 and not meeting.complete
    meeting.enter(2, outcome(-1))
    assert meeting.complete and meeting.result().pairs == [0, 0, 1, 0, 2]


def test_sprt_ends_an_evaluation_early_on_any_number_of_rinks() -> None:
    player, test = BasicPlayer(weak=False), Sprt(0, 200, alpha=0.1, beta=0.1)
    reports = [
        evaluate(player, {"random": RandomPlayer(0)}, rounds=400, seed=1, rinks=rinks, sprt=test) for rinks in (4, 24)
    ]
    for report in reports:
        result = report.results[0]
        assert result.rounds < 400 and not report.partial and result.sprt is not None
        assert result.sprt.decision in ("H0", "H1")
        assert not test.bounds[0] < result.sprt.llr < test.bounds[1]
        assert "decided after" in report.notes[0] and "SPRT against random: LLR" in shown(report)
    assert reports[0].results == reports[1].results


def test_undecided_sprt_is_reported_as_open() -> None:
    report = evaluate(BasicPlayer(weak=True), {"weak": BasicPlayer(weak=True)}, rounds=4, sprt=Sprt(0, 5))
    assert report.results[0].rounds == 4 and report.results[0].sprt is not None
    assert report.results[0].sprt.decision == "open" and "not decided" in shown(report)


def test_recording_writes_one_file_a_round(tmp_path: Path) -> None:
    evaluate(RandomPlayer(0), bots(), rounds=4, rinks=4, record_dir=tmp_path / "games")
    names = [path.name for path in recordings_in(tmp_path / "games")]
    assert len(names) == 8 and names[0].startswith("random-random-00000-")


def test_cross_table_rates_everybody(tmp_path: Path) -> None:
    players: dict[str, Player] = {"strong": BasicPlayer(weak=False), **bots()}
    seen: list[tuple[int, int]] = []
    table = cross_table(players, rounds=20, seed=2, on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (60, 60)
    ratings = {standing.name: standing.rating for standing in table.standings}
    assert ratings["strong"] > ratings["weak"] and ratings["strong"] > ratings["random"]
    assert abs(sum(ratings.values())) < 1e-6
    assert all(standing.rounds == 40 and standing.error95 > 0 for standing in table.standings)
    assert sum(standing.score for standing in table.standings) == pytest.approx(1.5)
    meeting = evaluate(players["strong"], {"weak": players["weak"]}, rounds=20, seed=2)
    assert table.meetings["strong"]["weak"] == meeting.results[0]
    assert json.loads(json_text(table))["standings"][0]["name"] == table.standings[0].name


def test_interrupted_cross_table_is_partial() -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    players: dict[str, Player] = {"strong": BasicPlayer(weak=False), **bots()}
    table = cross_table(players, rounds=4, rinks=2, on_progress=interrupt)
    console = Console(file=io.StringIO(), width=80)
    print_cross_table(table, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert table.partial and "partial" in text and "strong" in text
    assert np.isfinite([standing.rating for standing in table.standings]).all()
