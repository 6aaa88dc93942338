from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreamer.agent import Dreamer
from dreamer.pipeline import Pipeline
from tests.dreamer.tiny import filled_buffer, tiny_agent, tiny_updater, trained_pipeline


def test_overlapped_updates_are_exactly_those_of_the_agent_in_prelude_and_training() -> None:
    plain, overlapped = tiny_updater(), tiny_agent()
    pipeline = Pipeline(overlapped)
    buffers = [filled_buffer(plain.agent.config) for _ in range(2)]
    wanted = [plain.train_prelude(buffers[0].sample()) for _ in range(4)]
    got = [pipeline.train_prelude(buffers[1].sample()) for _ in range(4)]
    assert [m["loss/imitation"] for m in got[1:]] == [m["loss/imitation"] for m in wanted[:-1]]
    wanted += [plain.train_step(buffers[0].sample()) for _ in range(6)]
    got += [pipeline.train_step(buffers[1].sample()) for _ in range(6)]
    pipeline.close()
    ours, theirs = overlapped.state_dict(), plain.agent.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [m["loss/world"] for m in got] == [m["loss/world"] for m in wanted]
    assert [m["loss/actor"] for m in got[5:]] == [m["loss/actor"] for m in wanted[4:-1]]
    assert overlapped.updates == 10


def test_a_saved_pipeline_has_its_player_which_is_behind_the_agent_and_its_average(tmp_path: Path) -> None:
    pipeline = trained_pipeline(20)
    agent = pipeline.agent
    pipeline.save(tmp_path)
    resumed = Pipeline(agent)
    resumed.load(tmp_path)
    newest = agent.state_dict()
    for kept, had in ((resumed.player, pipeline.player), (resumed.averaged, pipeline.averaged)):
        ours, theirs = kept.state_dict(), had.state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        assert not all(torch.equal(theirs[key], newest[key]) for key in theirs)
    older = Pipeline(agent)  # of a run that kept no average
    older.load(tmp_path / "nothing")
    assert all(torch.equal(value, newest[key]) for key, value in older.averaged.state_dict().items())
    for one in (pipeline, resumed, older):
        one.close()


def test_copies_saved_before_there_were_deviations_of_the_state_are_read(tmp_path: Path) -> None:
    pipeline = trained_pipeline(6, model={"observed": True})
    pipeline.save(tmp_path)
    for file in (tmp_path / "playing.safetensors", tmp_path / "average.safetensors"):
        saved = load_file(file)
        former = {key: value for key, value in saved.items() if "deviation_head" not in key}
        assert len(former) < len(saved)
        save_file(former, file)
    resumed = Pipeline(Dreamer(pipeline.agent.config, pipeline.agent.obs_size, pipeline.agent.action_size))
    resumed.load(tmp_path)
    assert torch.equal(resumed.averaged.world_model.obs_mean, pipeline.averaged.world_model.obs_mean)
    former.pop("world_model.obs_mean")
    save_file(former, tmp_path / "average.safetensors")
    with pytest.raises(RuntimeError, match="obs_mean"):
        resumed.load(tmp_path)
    pipeline.close()
    resumed.close()


def test_the_player_has_the_newest_world_model_and_the_policy_before_it() -> None:
    plain, agent = tiny_updater(), tiny_agent()
    pipeline = Pipeline(agent)
    buffers = [filled_buffer(plain.agent.config) for _ in range(2)]
    for _ in range(3):
        policy = {key: value.clone() for key, value in plain.agent.behavior.policy.state_dict().items()}
        plain.train_step(buffers[0].sample())
        pipeline.train_step(buffers[1].sample())
        player = pipeline.player
        for key, value in plain.agent.world_model.state_dict().items():
            assert torch.equal(player.world_model.state_dict()[key], value)
        for key, value in policy.items():
            assert torch.equal(player.behavior.policy.state_dict()[key], value)
    pipeline.close()


def test_a_skipped_update_is_told_and_the_next_one_goes_on() -> None:
    agent = tiny_agent()
    pipeline, buffer = Pipeline(agent), filled_buffer(agent.config)
    pipeline.train_step(buffer.sample())
    batch = buffer.sample()
    batch["reward"][1, 1] = torch.nan
    assert pipeline.train_step(batch)["skipped"] == 1.0
    assert pipeline.train_step(buffer.sample())["skipped"] == 0.0
    pipeline.close()


def test_a_behaviour_that_was_skipped_is_told_once_though_none_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tiny_agent()
    pipeline, buffer = Pipeline(agent), filled_buffer(agent.config)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.updater, "update_behavior", lambda *_: (False, {}))
        pipeline.train_step(buffer.sample())
        pipeline.finish()
    batch = buffer.sample()
    batch["reward"][1, 1] = torch.nan
    assert [pipeline.train_step(given)["skipped"] for given in (batch, buffer.sample())] == [1.0, 0.0]
    pipeline.close()


def test_a_failure_in_the_second_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tiny_agent()
    pipeline, buffer = Pipeline(agent), filled_buffer(agent.config)

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(pipeline.updater, "update_behavior", fail)
    pipeline.train_step(buffer.sample())
    with pytest.raises(RuntimeError, match="broken"):
        pipeline.finish()
    pipeline.close()
