"""Rounds to judge by: played from a seed, or read from a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from competitor.config import Config, load_config
from competitor.errors import RecordingError
from competitor.inspect import held_out
from competitor.inspect.held_out import BASIC, OWN, RECORDED, play_held_out, read_held_out, training_windows
from competitor.play.recording import load_episodes, record_round
from competitor.play.rounds import RewardWeights, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.rink import Mode
from dreamer.agent import Dreamer

WEIGHTS = RewardWeights(goal=10.0)


@pytest.fixture(scope="module")
def agent(debug_config: Config) -> Dreamer:
    return Dreamer(debug_config.dreamer, 18, 4, seed=3)


def record(folder: Path, *, keep_mode: bool = True) -> None:
    """Two recorded rounds of the basic opponents."""
    one, two = BasicPlayer(weak=False, keep_mode=keep_mode), BasicPlayer(weak=True, keep_mode=keep_mode)
    setups = [RoundSetup(one_starting=bool(i), seed=i, mode=Mode.NORMAL) for i in range(2)]
    for number, played in enumerate(play_rounds(one, two, setups, rinks=2, keep_mode=keep_mode)):
        record_round(folder, played, number=number, player="strong", engine="builtin", keep_mode=keep_mode)


def test_a_seed_gives_the_same_rounds_and_another_does_not(agent: Dreamer) -> None:
    counted: list[tuple[int, int]] = []
    one = play_held_out(agent, WEIGHTS, 1, basic=3, own=2, on_round=lambda *done: counted.append(done))
    two, other = (play_held_out(agent, WEIGHTS, seed, basic=3, own=2) for seed in (1, 2))
    assert one.rounds == {BASIC: 3, OWN: 4} and counted[-1] == (7, 7) and len(counted) == 7
    assert [len(one.episodes[source]) for source in (BASIC, OWN)] == [6, 4]
    for source in (BASIC, OWN):
        pairs = list(zip(one.episodes[source], two.episodes[source], strict=True))
        assert all(np.array_equal(ours.obs, again.obs) for ours, again in pairs)
        assert not np.array_equal(one.episodes[source][0].obs[0], other.episodes[source][0].obs[0])


def test_its_own_rounds_are_seen_from_its_own_side(agent: Dreamer) -> None:
    """What the policy answers to what it saw, from both sides, is what the episode says it did."""
    for episode in play_held_out(agent, WEIGHTS, 1, basic=1, own=2).episodes[OWN]:
        first = torch.ones(1, dtype=torch.bool)
        _, action = agent.act(agent.initial_state(1), torch.from_numpy(episode.obs[:1]), first, deterministic=True)
        assert np.array_equal(action[0].numpy(), episode.action[0])


def test_recorded_rounds_are_read(agent: Dreamer, tmp_path: Path) -> None:
    record(tmp_path)
    read = read_held_out(tmp_path, agent, WEIGHTS)
    assert read.rounds == {RECORDED: 4} and len(read.all_episodes) == 4 and not read.notes


def test_of_very_many_recorded_rounds_some_are_taken(
    agent: Dreamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path)
    views = list(load_episodes(tmp_path, WEIGHTS))
    monkeypatch.setattr(held_out, "load_episodes", lambda *_: iter(views * 5))
    monkeypatch.setattr(held_out, "MOST_VIEWS", 5)
    taken = read_held_out(tmp_path, agent, WEIGHTS)
    assert [id(one) for one in taken.all_episodes] == [id(one) for one in (views * 5)[::9]]
    assert taken.notes == ["one in 9 of 20 recorded views was taken"]


def test_rounds_of_another_rink_are_refused(agent: Dreamer, tmp_path: Path) -> None:
    record(tmp_path, keep_mode=False)
    with pytest.raises(RecordingError, match="another rink.keep_mode"):
        read_held_out(tmp_path, agent, WEIGHTS)


def test_rounds_too_short_for_a_context_are_refused(
    agent: Dreamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path)
    monkeypatch.setattr("competitor.inspect.dream_check.CONTEXT", 300)
    with pytest.raises(RecordingError, match="no round in .* is longer"):
        read_held_out(tmp_path, agent, WEIGHTS)


def test_a_training_always_looks_at_the_same_windows() -> None:
    config = load_config(preset="debug", overrides=["run.seed=1"])
    one, again = training_windows(config), training_windows(load_config(preset="debug", overrides=["run.seed=2"]))
    assert one.obs.shape[0] == 35 and torch.equal(one.obs, again.obs) and bool(one.goal.any())
    smaller = training_windows(load_config(preset="debug", overrides=["rink.keep_mode=false"]))
    assert (smaller.obs.shape[-1], smaller.action.shape[-1]) == (16, 3)
