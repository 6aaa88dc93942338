from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dreamer.config import ReplayConfig
from dreamer.errors import ReplayError
from dreamer.replay import EpisodeBuffer, Mirror
from tests.dreamer.tiny import counting_episode, filled_buffer, noise_episode, tiny_config


def buffer_of(*starts: int, steps: int = 9, terminal: bool = True, **settings: object) -> EpisodeBuffer:
    config = ReplayConfig.model_validate({"batch_size": 3, "sequence_length": 4} | settings)
    buffer = EpisodeBuffer(config, 3, 2, mirror=None, seed=0)
    for start in starts:
        buffer.add(counting_episode(start, steps, terminal=terminal))
    return buffer


def test_sequences_are_contiguous_and_actions_lead_to_observations() -> None:
    batch = buffer_of(100, 200, 300, context="zero").sample()
    obs, action, first = batch["obs"][..., 0], batch["action"][..., 0], batch["is_first"]
    inside = ~first[1:]
    torch.testing.assert_close((obs[1:] - obs[:-1])[inside], torch.ones(int(inside.sum())))
    torch.testing.assert_close(action[1:][inside], obs[:-1][inside])
    torch.testing.assert_close(batch["reward"][1:][inside], obs[:-1][inside])


def test_zero_context_starts_every_window_anew() -> None:
    buffer = buffer_of(100, 200, context="zero")
    for _ in range(5):
        assert buffer.sample()["is_first"][0].all()


def test_streams_walk_through_whole_rounds() -> None:
    buffer = buffer_of(100, 200, 300)
    rows = torch.cat([buffer.sample()["obs"][..., 0] for _ in range(30)])
    for lane in rows.T:
        steps = lane[1:] - lane[:-1]
        breaks = (steps != 1).nonzero().squeeze(-1)
        assert (lane[1:][breaks] % 100 == 0).all()  # a new round starts at its beginning
        assert (lane[:-1][breaks] % 100 == 9).all()  # and the old one was read to its end


def test_is_first_marks_exactly_the_starts_of_a_stream() -> None:
    buffer = buffer_of(100, 200, 300)
    buffer.sample()
    batch = buffer.sample()
    assert torch.equal(batch["is_first"], batch["obs"][..., 0] % 100 == 0)
    assert torch.equal(batch["is_last"], batch["obs"][..., 0] % 100 == 9)
    assert batch["action"][batch["is_first"]].eq(0).all() and batch["reward"][batch["is_first"]].eq(0).all()


def test_a_round_that_ran_out_of_time_is_last_but_not_terminal() -> None:
    buffer = buffer_of(100, terminal=False)
    batches = [buffer.sample() for _ in range(10)]
    assert any(batch["is_last"].any() for batch in batches)
    assert not any(batch["is_terminal"].any() for batch in batches)


def test_every_step_of_what_others_played_is_replayed_equally_often() -> None:
    buffer = buffer_of(steps=19)
    for start in (100, 200, 300):
        buffer.add(replace(counting_episode(start, 19), own=False))
    seen = torch.cat([buffer.sample()["obs"][..., 0].flatten() for _ in range(500)])
    counts = torch.stack([(seen == value).sum() for value in (100, 110, 119, 205, 319)]).float()
    assert counts.min() > 0.8 * counts.max()


def test_once_the_learner_plays_half_of_what_is_replayed_comes_from_the_newest_tenth() -> None:
    buffer = buffer_of(*range(100, 2100, 100))
    seen = torch.cat([buffer.sample()["obs"][..., 0].flatten() for _ in range(500)])
    newest = (seen >= 1900).float().mean()
    assert 0.5 < newest < 0.6  # half of the draws, and a tenth of the other half
    assert (seen < 1000).any()


def test_the_mirror_flips_signs_of_half_the_rows() -> None:
    mirror = Mirror(np.array([1, -1, 1], np.float32), np.array([-1, 1], np.float32))
    config = ReplayConfig(batch_size=200, sequence_length=3)
    buffer = EpisodeBuffer(config, 3, 2, mirror=mirror, seed=0)
    buffer.add(counting_episode(100, 50))
    batch = buffer.sample()
    flipped = batch["obs"][..., 1] < 0
    assert 0.3 < flipped.float().mean() < 0.7
    torch.testing.assert_close(batch["obs"][..., 1].abs(), batch["obs"][..., 0])
    inside = ~batch["is_first"] & flipped
    assert (batch["action"][..., 0][inside] < 0).all() and (batch["action"][..., 1][inside] > 0).all()
    changed = flipped[1:] != flipped[:-1]
    assert batch["is_first"][1:][changed].all()  # a round is mirrored as a whole or not at all


def test_the_oldest_rounds_leave_first_and_memory_is_bounded() -> None:
    buffer = buffer_of(*range(100, 1100, 100), capacity=30)
    assert len(buffer) == 27 and len(buffer.episodes) == 3
    seen = torch.cat([buffer.sample()["obs"].flatten() for _ in range(50)])
    assert seen.min() >= 800


def test_lanes_survive_the_loss_of_their_round() -> None:
    buffer = buffer_of(100, 200, capacity=30)
    buffer.sample()
    for start in (300, 400, 500):
        buffer.add(counting_episode(start, 9))
    batch = buffer.sample()
    assert batch["obs"].min() >= 300 and batch["is_first"][0].all()


def test_saving_and_loading_continues_the_same_stream_of_batches(tmp_path: Path) -> None:
    config = tiny_config()
    buffer = filled_buffer(config)
    buffer.add(replace(noise_episode(np.random.default_rng(4), 60), lesson=True, own=False))
    buffer.sample()
    buffer.save(tmp_path)
    loaded = EpisodeBuffer.load(tmp_path, config.replay, 3, 2, mirror=None)
    assert len(loaded) == len(buffer)
    for _ in range(10):
        ours, theirs = buffer.sample(), loaded.sample()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    batches = [buffer.sample() for _ in range(10)]
    assert any(batch["is_lesson"].any() for batch in batches)
    assert all(torch.equal(batch["is_lesson"], ~batch["is_own"]) for batch in batches)


def test_a_replay_that_tells_of_no_lessons_and_not_who_played_is_read_as_the_learners(tmp_path: Path) -> None:
    config = tiny_config()
    buffer = filled_buffer(config)
    buffer.save(tmp_path)
    arrays = load_file(tmp_path / "replay.safetensors")
    del arrays["own"], arrays["lesson"]
    save_file(arrays, tmp_path / "replay.safetensors")
    batch = EpisodeBuffer.load(tmp_path, config.replay, 3, 2, mirror=None).sample()
    assert batch["is_own"].all() and not batch["is_lesson"].any()


def test_damaged_files_and_bad_rounds_are_refused(tmp_path: Path) -> None:
    config = tiny_config()
    buffer = filled_buffer(config)
    buffer.save(tmp_path)
    data = (tmp_path / "replay.safetensors").read_bytes()
    (tmp_path / "replay.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReplayError, match="cannot be read"):
        EpisodeBuffer.load(tmp_path, config.replay, 3, 2, mirror=None)
    episode = noise_episode(np.random.default_rng(0))
    episode.obs[3, 1] = np.nan
    with pytest.raises(ReplayError, match="not finite"):
        buffer.add(episode)
    with pytest.raises(ReplayError, match="empty"):
        EpisodeBuffer(config.replay, 3, 2, mirror=None, seed=0).sample()
