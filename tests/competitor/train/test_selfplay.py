"""Self-play training on the real rink with a tiny agent."""

import errno
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from competitor.config import Config, load_config
from competitor.errors import PlayerError, ResumeError, StorageError
from competitor.evaluate.evaluation import Scheduled, paired_schedule
from competitor.inspect.dream_check import REPORTED, check_dream
from competitor.inspect.held_out import training_windows
from competitor.players.sparring import load_partner
from competitor.train import judge, selfplay
from competitor.train.judge import Judge
from competitor.train.metrics import read_lines
from competitor.train.report import Outcome, Status
from competitor.train.selfplay import Trainer
from competitor.train.update_log import MOST_SKIPPED_IN_A_ROW
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.errors import DivergenceError

TINY = (
    "run.seed=1",
    "run.device=cpu",
    "training.rinks=6",
    "training.environment_steps=2000",
    "training.warmup_rounds=4",
    "training.lesson_rounds=0",
    "training.prelude_updates=0",
    "training.train_ratio=0.8",
    "training.evaluate_every_steps=900",
    "training.evaluate_rounds=2",
    "league.snapshot_every_steps=300",
    "league.pool_size=2",
    "league.opponents.past=9.0",
    "replay.batch_size=4",
)


def tiny(*overrides: str) -> Config:
    """Settings of a training of a few seconds."""
    return load_config(preset="debug", overrides=(*TINY, *overrides))


class Recorder:
    """Keeps the metrics of every update of a trainer, and stops it after a number of them."""

    def __init__(self, trainer: Trainer, stop_after: int | None = None) -> None:
        self.updates: list[dict[str, float]] = []
        learn = trainer.state.pipeline.train_step

        def train_step(batch: Any) -> dict[str, float]:
            metrics = learn(batch)
            self.updates.append(metrics)
            if len(self.updates) == stop_after:
                trainer.stop()
            return metrics

        trainer.state.pipeline.train_step = train_step  # type: ignore[method-assign]


def warm_up_only(trainer: Trainer) -> Outcome:
    """Stop a new training when its warm-up is over, before the first update."""
    return trainer.train(
        lambda status: trainer.stop() if status.phase == "warm-up" and status.done == status.total else None
    )


def steady(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the record without what the clock says."""
    return {key: value for key, value in line.items() if key not in ("seconds", "steps_per_s", "updates_per_s")}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Recorder, Outcome]:
    """A run from start to end, with the metrics of all its updates."""
    trainer = Trainer.start(tiny(), tmp_path_factory.mktemp("runs") / "unbroken", preset="debug")
    recorder = Recorder(trainer)
    return trainer, recorder, trainer.train()


def same_weights(one: Dreamer, two: Dreamer) -> bool:
    ours, theirs = one.state_dict(), two.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in theirs)


def assert_same_end(trainer: Trainer, outcome: Outcome, whole: tuple[Trainer, Recorder, Outcome]) -> None:
    """Counters, weights, league and record of `trainer` are those of the unbroken run."""
    other, _, end = whole
    counts = (outcome.environment_steps, outcome.updates, outcome.rounds)
    assert counts == (end.environment_steps, end.updates, end.rounds)
    assert same_weights(trainer.state.agent, other.state.agent)
    assert trainer.state.league.to_json() == other.state.league.to_json()
    assert record(trainer.run.path) == record(other.run.path)


def record(path: Path) -> list[dict[str, Any]]:
    return [steady(line) for line in read_lines(path / "metrics.jsonl")]


def test_stopped_and_resumed_run_equals_the_unbroken_one(
    tmp_path: Path, unbroken: tuple[Trainer, Recorder, Outcome]
) -> None:
    path = tmp_path / "broken"
    first = Trainer.start(tiny(), path)
    parts = [Recorder(first, stop_after=7)]
    assert first.train().reason == "stopped"
    for stop_after in (25, None):
        trainer = Trainer.resume(path)
        parts.append(Recorder(trainer, stop_after))
        outcome = trainer.train()
    assert [len(part.updates) for part in parts][:2] == [7, 25]
    assert [metrics for part in parts for metrics in part.updates] == unbroken[1].updates
    assert_same_end(trainer, outcome, unbroken)


def test_a_prelude_stopped_and_resumed_equals_the_unbroken_one(tmp_path: Path) -> None:
    settings = ("training.lesson_rounds=3", "training.prelude_updates=6", "training.environment_steps=1800")
    whole = Trainer.start(tiny(*settings), tmp_path / "whole")
    phases = list[str]()
    end = whole.train(lambda status: phases.append(status.phase))
    assert list(dict.fromkeys(phases))[:3] == ["warm-up", "prelude", "training"]
    first = Trainer.start(tiny(*settings), tmp_path / "broken")
    first.train(lambda status: first.stop() if status.updates == 4 else None)
    assert first.state.agent.updates == 4
    trainer = Trainer.resume(tmp_path / "broken")
    assert_same_end(trainer, trainer.train(), (whole, Recorder(whole), end))


def test_the_teacher_is_any_player_and_meets_its_like_and_every_opponent(tmp_path: Path) -> None:
    settings = ("training.lesson_rounds=8", "training.teacher=sparring:keeper", "league.opponents.sparring:slow=0.1")
    trainer = Trainer.start(tiny(*settings), tmp_path / "run")
    warm_up_only(trainer)
    warm_up, episodes = (list(trainer.state.replay.episodes)[part] for part in (slice(8), slice(8, None)))
    assert not any(episode.lesson for episode in warm_up) and not any(episode.own for episode in warm_up + episodes)
    taught = [one.lesson + two.lesson for one, two in zip(episodes[::2], episodes[1::2], strict=True)]
    assert taught == [2, 2, 1, 1, 1, 1, 1, 1]
    keeper = load_partner("keeper")
    keeper.reset(1)
    for lesson in (episode for episode in episodes if episode.lesson):
        acted = [keeper.act(obs[None], np.array([False]))[0] for obs in lesson.obs[:-1]]
        assert np.array_equal(lesson.action, acted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.lesson_rounds=1", "training.teacher=sparring:nobody"], "no sparring partner nobody"),
        (["training.lesson_rounds=1", "training.teacher=self"], "unknown player 'self'"),
        (["training.lesson_rounds=1", "training.teacher=champion", "rink.keep_mode=false"], "18 observations"),
        (["league.opponents.sparring:slow=0.1", "rink.keep_mode=false"], "18 observations"),
    ],
)
def test_who_cannot_teach_or_play_is_told_before_there_is_a_run(
    settings: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PlayerError, match=message):
        Trainer.start(tiny(*settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_who_gives_no_lessons_need_not_exist(tmp_path: Path) -> None:
    trainer = Trainer.start(tiny("training.lesson_rounds=0", "training.teacher=nobody"), tmp_path / "run")
    warm_up_only(trainer)
    assert not any(episode.lesson for episode in trainer.state.replay.episodes)


def test_both_views_are_kept_and_updates_follow_the_train_ratio(unbroken: tuple[Trainer, Recorder, Outcome]) -> None:
    trainer, recorder, outcome = unbroken
    state, config = trainer.state, trainer.config
    learned_from = outcome.environment_steps - state.counters.warmup_steps
    earned = learned_from * config.training.train_ratio / (4 * config.replay.sequence_length)
    assert len(recorder.updates) == outcome.updates == int(earned)
    assert len(state.replay.episodes) == 2 * (outcome.rounds + config.training.warmup_rounds)
    assert outcome.reason == "steps" and outcome.environment_steps >= config.training.environment_steps
    assert sum(record.games for record in state.league.opponents.values()) > 0
    assert state.matchmaker.to_json()["turns"]["past"] > 0


@pytest.mark.parametrize(("opponent", "own_views"), [("weak", 1), ("self", 2)])
def test_the_replay_knows_whose_each_view_is(opponent: str, own_views: int, tmp_path: Path) -> None:
    others = dict.fromkeys(("weak", "strong", "self", "past"), 0.0) | {opponent: 1.0}
    shares = [f"league.opponents.{name}={share}" for name, share in others.items()]
    trainer = Trainer.start(tiny(*shares, "training.train_ratio=0.001"), tmp_path / "run")
    trainer.train()
    own = [episode.own for episode in trainer.state.replay.episodes][8:]  # after four rounds of warm-up
    assert own and {sum(views) for views in zip(own[::2], own[1::2], strict=True)} == {own_views}


def test_the_run_directory_holds_what_it_promises(unbroken: tuple[Trainer, Recorder, Outcome]) -> None:
    trainer, _, outcome = unbroken
    path = trainer.run.path
    for name in ("latest", "best"):
        agent, card = load_checkpoint(path / "checkpoints" / name)
        assert card["preset"] == "debug" and card["code_version"] and card["environment_steps"] > 0
    assert agent.config == trainer.config.dreamer
    assert card["results"][0]["opponent"] == "weak"
    members = {member.name for member in trainer.state.league.members}
    assert len(members) == trainer.config.league.pool_size
    assert {file.stem for file in (path / "league").glob("*.json")} == members | set(trainer.state.roster.past)
    kinds = [line["kind"] for line in read_lines(path / "metrics.jsonl")]
    assert kinds.count("evaluation") >= 1 and kinds.count("train") == outcome.updates // 25
    assert list((path / "tensorboard").iterdir())


def test_each_evaluation_tells_how_well_the_model_dreams(unbroken: tuple[Trainer, Recorder, Outcome]) -> None:
    for line in read_lines(unbroken[0].run.path / "metrics.jsonl"):
        told = {key for key in line if key.startswith("dream/")}
        errors = {"dream/own_h15", "dream/puck_h7", "dream/puck_h15"}
        rates = {"dream/goals_seen", "dream/false_alarms", "dream/return_bias"}
        assert told == (errors | rates if line["kind"] == "evaluation" else set())
        assert all(line[key] > 0.0 for key in told & errors)


def test_the_best_is_not_chosen_on_the_rounds_that_judge_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selected: list[Scheduled] = []

    def schedule(opponent: str, rounds: int, seed: int) -> Iterator[Scheduled]:
        for setup in paired_schedule(opponent, rounds, seed):
            selected.append(setup)
            yield setup
        trainer.stop()

    monkeypatch.setattr("competitor.evaluate.evaluation.paired_schedule", schedule)
    config = tiny("training.evaluate_every_steps=1")
    trainer = Trainer.start(config, tmp_path / "run")
    trainer.train()
    assert selected and (tmp_path / "run/checkpoints/best.safetensors").exists()
    for seed in (1, config.run.seed):  # that of `evaluate`, and of the run
        judged = paired_schedule("weak", 200, seed)
        assert not {setup.seed for setup in judged} & {setup.seed for setup in selected}


def test_looking_at_the_dream_changes_nothing_that_is_learned(
    tmp_path: Path, unbroken: tuple[Trainer, Recorder, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, windows = unbroken[0].state.agent.world_model, training_windows(tiny())
    nothing = check_dream(world, windows, discount=0.9, horizons=REPORTED)
    monkeypatch.setattr(Judge, "check_dream", lambda judge: nothing)
    trainer = Trainer.start(tiny(), tmp_path / "blind")
    recorder = Recorder(trainer)
    trainer.train()
    assert recorder.updates == unbroken[1].updates
    assert same_weights(trainer.state.agent, unbroken[0].state.agent)


def test_nobody_enters_the_league_unexamined_nor_while_the_end_is_near(
    tmp_path: Path, unbroken: tuple[Trainer, Recorder, Outcome]
) -> None:
    trainer = Trainer.start(tiny("league.entry_basic=1.0"), tmp_path / "run")
    trainer.train()
    assert trainer.state.league.members == [] and list(trainer.run.league.iterdir()) == []
    state = unbroken[0].state
    assert state.matchmaker.consolidates
    assert 0 < state.league.members[-1].environment_steps <= 0.95 * 2000
    assert state.counters.next_snapshot > 2000  # the last examination was taken, and given to nobody


def test_every_few_evaluations_the_sparring_partners_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "GAUNTLET_EVERY", 2)
    monkeypatch.setattr(judge, "GAUNTLET_ROUNDS", 2)
    trainer = Trainer.start(tiny("training.evaluate_every_steps=300"), tmp_path / "run")
    trainer.train(lambda status: trainer.stop() if "gauntlet/points" in status.evaluation else None)
    first, second = (line for line in read_lines(tmp_path / "run/metrics.jsonl") if line["kind"] == "evaluation")
    assert "gauntlet/points" not in first
    assert 0.0 <= second["gauntlet/worst_points"] <= second["gauntlet/points"] <= 1.0
    assert trainer.state.counters.evaluations == 2


def test_the_prelude_tells_how_sharp_the_dream_has_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfplay, "DREAM_EVERY_UPDATES", 4)
    trainer = Trainer.start(tiny("training.prelude_updates=9"), tmp_path / "run")
    trainer.train(lambda status: trainer.stop() if status.phase == "training" else None)
    lines = [line for line in record(tmp_path / "run") if line["kind"] == "prelude"]
    assert [line["updates"] for line in lines] == [4, 8]
    assert all(line["dream/puck_h15"] > 0.0 for line in lines)


def test_minutes_limit_this_start_only(tmp_path: Path) -> None:
    seconds = itertools.count(step=1)
    trainer = Trainer.start(tiny("training.minutes=1.0"), tmp_path / "run", clock=lambda: float(next(seconds)))
    outcome = trainer.train()
    assert outcome.reason == "minutes" and 60 <= outcome.seconds < 80
    again = Trainer.resume(tmp_path / "run", clock=lambda: float(next(seconds)))
    more = again.train()
    assert more.reason == "minutes" and more.environment_steps > outcome.environment_steps
    assert 120 <= more.seconds < 160


@pytest.mark.parametrize("lessons", [0, 4])
def test_a_stop_during_the_warm_up_ends_at_once_and_is_no_harm(tmp_path: Path, lessons: int) -> None:
    config = tiny(f"training.lesson_rounds={lessons}")
    trainer = Trainer.start(config, tmp_path / "run")
    seen: list[Status] = []

    def stop_in_the_last_but_one(status: Status) -> None:
        seen.append(status)
        if status.done == status.total - 1:
            trainer.stop()

    outcome = trainer.train(stop_in_the_last_but_one)
    assert [status.done for status in seen] == list(range(3 + lessons + 1))
    assert (outcome.reason, outcome.is_saved, outcome.environment_steps) == ("stopped", False, 0)
    ended, again = outcome.lines(interrupted=True)
    assert ended == "interrupted during the warm-up" and "nothing is saved yet" in again and "--resume" in again
    assert trainer.run.saves.current() is None and list(trainer.run.checkpoints.iterdir()) == []
    whole = Trainer.start(config, tmp_path / "whole")
    warm_up_only(whole)
    resumed = Trainer.resume(tmp_path / "run")
    assert warm_up_only(resumed).is_saved
    assert [line["kind"] for line in record(tmp_path / "run")] == ["start"]
    assert same_weights(resumed.state.agent, whole.state.agent)


def test_limits_and_league_may_change_on_resume(tmp_path: Path, unbroken: tuple[Trainer, Recorder, Outcome]) -> None:
    path = tmp_path / "run"
    first = Trainer.start(tiny(), path)
    Recorder(first, stop_after=20)
    first.train()
    again = Trainer.resume(
        path, ["league.pool_size=1", "league.opponents={strong=0.9, random=0.1}", "training.environment_steps=3000"]
    )
    assert len(again.state.league.members) == 1
    assert again.run.config().training.environment_steps == 3000
    Recorder(again, stop_after=2)
    again.train()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden=64", r"\[model\]"),
        ("training.rinks=3", "training.rinks"),
        ("reward.touch=0.5", r"\[reward\]"),
        ("run.seed=5", "run.seed"),
        ("optimizer.kind='adam'", "optimizer.kind"),
    ],
)
def test_what_cannot_change_on_resume_is_named(tmp_path: Path, override: str, named: str) -> None:
    Trainer.start(tiny(), tmp_path / "run").close()
    with pytest.raises(ResumeError, match=f"{named} cannot change"):
        Trainer.resume(tmp_path / "run", [override])


def test_a_run_of_another_model_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    trainer = Trainer.start(tiny(), path)
    warm_up_only(trainer)
    other = tiny("model.hidden=48")
    trainer.run.write_config(other)
    with pytest.raises(ResumeError, match="other sizes"):
        Trainer.resume(path)


@pytest.mark.parametrize("part", ["trainer.json", "players.safetensors", "replay.safetensors", "agent.safetensors"])
def test_a_damaged_save_is_one_clear_error(tmp_path: Path, part: str) -> None:
    path = tmp_path / "run"
    trainer = Trainer.start(tiny(), path)
    warm_up_only(trainer)
    save = trainer.run.saves.current()
    assert save is not None
    (save / part).write_bytes((save / part).read_bytes()[:20])
    with pytest.raises(ResumeError, match="cannot be continued") as caught:
        Trainer.resume(path)
    assert "\n" not in str(caught.value)


def test_non_finite_updates_are_counted_and_stop_training_when_they_persist(tmp_path: Path) -> None:
    path = tmp_path / "run"
    trainer = Trainer.start(tiny(), path)
    calls = itertools.count(1)
    learn = trainer.state.pipeline.train_step

    def sometimes_broken(batch: Any) -> dict[str, float]:
        number = next(calls)
        if number in (2, 3) or number > 10:
            batch = {**batch, "obs": batch["obs"] * float("nan")}
        return learn(batch)

    trainer.state.pipeline.train_step = sometimes_broken  # type: ignore[method-assign]
    with pytest.raises(DivergenceError, match="not finite.*last save is kept"):
        trainer.train()
    assert next(calls) == 10 + MOST_SKIPPED_IN_A_ROW + 1
    assert trainer.state.counters.skipped == 2 + MOST_SKIPPED_IN_A_ROW
    assert all(value.isfinite().all() for value in trainer.state.agent.state_dict().values())
    assert Trainer.resume(path).state.agent.updates == 0


def test_a_full_disk_while_saving_keeps_the_save_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    trainer = Trainer.start(tiny(), path)
    Recorder(trainer, stop_after=3)
    save, saves = trainer.state.replay.save, itertools.count()

    def full_at_the_second(directory: Path) -> None:
        if next(saves) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(directory)

    monkeypatch.setattr(trainer.state.replay, "save", full_at_the_second)
    with pytest.raises(StorageError, match="disk is full"):
        trainer.train()
    assert [part.name for part in (path / "state").glob("save-*")] == ["save-000001"]
    assert Trainer.resume(path).state.agent.updates == 0


def test_without_keep_mode_everything_is_smaller(tmp_path: Path) -> None:
    trainer = Trainer.start(tiny("rink.keep_mode=false"), tmp_path / "run")
    recorder = Recorder(trainer, stop_after=3)
    trainer.train()
    assert (trainer.state.agent.obs_size, trainer.state.agent.action_size) == (16, 3)
    again = Trainer.resume(tmp_path / "run")
    more = Recorder(again, stop_after=1)
    again.train()
    assert len(recorder.updates) == 3 and len(more.updates) == 1
