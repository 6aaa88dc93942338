"""Recorded rounds as experience: what is loaded, what is refused, and that a training has it in its replay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from competitor.config import Config, load_config
from competitor.errors import RecordingError
from competitor.play.match_file import file_name, match_bytes
from competitor.play.outcomes import rounds_of
from competitor.play.recording import load_episodes, record_round
from competitor.play.rounds import RewardWeights, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.train.run_directory import RunDirectory
from competitor.train.savepoint import read_state
from competitor.train.selfplay import Trainer
from competitor.train.starting import load_experience
from dreamer.replay import Episode
from tests.competitor.play.made_matches import finished, recorded_match
from tests.competitor.train.test_selfplay import same_weights, warm_up_only

SMALL = ("training.environment_steps=700", "training.evaluate_every_steps=100000", "league.snapshot_every_steps=100000")


def small(*overrides: str) -> Config:
    return load_config(preset="debug", overrides=(*SMALL, *overrides))


@pytest.fixture
def matches(tmp_path: Path) -> Path:
    """Two matches, of four rounds each."""
    directory = tmp_path / "records"
    directory.mkdir()
    for player in ("p1", "p2"):
        match = recorded_match("m007", player)
        (directory / file_name(match)).write_bytes(match_bytes(match, rounds_of(match), "1.0"))
    return directory


@pytest.fixture
def rounds(tmp_path: Path) -> Path:
    """A round of `evaluate --record`."""
    record(tmp_path / "rounds", keep_mode=True)
    return tmp_path / "rounds"


def record(directory: Path, *, keep_mode: bool) -> None:
    weak, strong = (BasicPlayer(weak=weak, keep_mode=keep_mode) for weak in (True, False))
    (played,) = play_rounds(weak, strong, [RoundSetup(True, 1)], rinks=1, keep_mode=keep_mode)
    record_round(directory, played, number=0, player="weak", engine="builtin", keep_mode=keep_mode)


def same(one: Episode, two: Episode) -> bool:
    arrays = (one.obs, two.obs), (one.action, two.action), (one.reward, two.reward)
    return one.terminal == two.terminal and all(np.array_equal(mine, yours) for mine, yours in arrays)


def in_replay(trainer: Trainer) -> list[Episode]:
    return list(trainer.state.replay.episodes)


def test_directories_come_one_after_the_other(matches: Path, rounds: Path) -> None:
    config = small()
    weights = RewardWeights(**config.reward.model_dump())
    found = load_experience([matches, rounds], config)
    expected = [*load_episodes(matches, weights), *load_episodes(rounds, weights)]
    assert len(found) == len(expected) == 10
    assert all(same(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


def test_rewards_are_those_of_the_run(matches: Path) -> None:
    without, with_closeness = (
        load_experience([matches], small(f"reward.closeness={weight}", "reward.direction=0.0"))
        for weight in ("0.0", "1.0")
    )
    assert {float(value) for episode in without for value in episode.reward} == {-10.0, 0.0, 10.0}
    assert sum(float(episode.reward.sum()) for episode in with_closeness) < -1.0


def test_the_newest_stay_where_there_is_no_room(matches: Path) -> None:
    everything = load_experience([matches], small())
    newest = load_experience([matches], small("replay.capacity=150"))
    assert [len(episode.action) for episode in newest] == [39, 35, 67]
    assert all(same(mine, theirs) for mine, theirs in zip(newest, everything[-3:], strict=True))


def test_matches_without_a_whole_step(tmp_path: Path) -> None:
    match = finished(np.zeros((1, 18)), np.zeros((1, 4)), [0], ending="abandoned")
    (tmp_path / file_name(match)).write_bytes(match_bytes(match, rounds_of(match), "1.0"))
    with pytest.raises(RecordingError, match="no match in .* has a round to learn from"):
        load_experience([tmp_path], small())


def test_another_keep_mode(matches: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="another rink.keep_mode"):
        load_experience([matches], small("rink.keep_mode=false"))
    record(tmp_path / "plain", keep_mode=False)
    with pytest.raises(RecordingError, match="another rink.keep_mode"):
        load_experience([tmp_path / "plain"], small())
    assert len(load_experience([tmp_path / "plain"], small("rink.keep_mode=false"))) == 2


def test_a_new_run_has_the_rounds_after_its_warm_up(matches: Path, rounds: Path, tmp_path: Path) -> None:
    config = small()
    plain = Trainer.start(config, tmp_path / "plain")
    warm_up_only(plain)
    trainer = Trainer.start(config, tmp_path / "run", records=[matches, rounds])
    recorded = list(trainer.recorded)
    assert in_replay(trainer) == []
    warm_up_only(trainer)
    episodes = in_replay(trainer)
    assert len(episodes) == len(in_replay(plain)) + 10
    assert all(same(mine, theirs) for mine, theirs in zip(episodes[-10:], recorded, strict=True))
    assert all(same(mine, theirs) for mine, theirs in zip(episodes, in_replay(plain), strict=False))
    # The scale of the inputs is that of the warm-up, whatever was recorded.
    assert same_weights(trainer.state.agent, plain.state.agent)
    # They are in the save: a run killed from now on has them.
    run = RunDirectory.open(tmp_path / "run")
    save = run.saves.current()
    assert save is not None and len(read_state(save, config, run).replay.episodes) == len(episodes)


def test_a_resumed_run_takes_them_once_per_command(matches: Path, tmp_path: Path) -> None:
    first = Trainer.start(small(), tmp_path / "run", records=[matches])
    warm_up_only(first)
    count = len(in_replay(first))
    for records, more in (([], 0), ([matches], 8), ([], 0)):
        trainer = Trainer.resume(tmp_path / "run", records=records)
        trainer.stop()
        trainer.train()
        count += more
        assert len(in_replay(trainer)) == count


def test_bad_records_leave_no_run_behind(matches: Path, tmp_path: Path) -> None:
    damaged = sorted(matches.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:5_000])
    with pytest.raises(RecordingError, match=damaged.name):
        Trainer.start(small(), tmp_path / "run", records=[matches])
    assert not (tmp_path / "run").exists()


def test_a_match_of_broken_observations_trains_too(tmp_path: Path) -> None:
    match = recorded_match("m007")
    match.obs[::9, 4] = np.nan
    broken = replace(match, match_id="broken")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / file_name(broken)).write_bytes(match_bytes(broken, rounds_of(broken), "1.0"))
    episodes = load_experience([tmp_path / "records"], small())
    assert episodes and not any(episode.terminal for episode in episodes)
    trainer = Trainer.start(small(), tmp_path / "run", records=[tmp_path / "records"])
    assert trainer.train().updates > 0
