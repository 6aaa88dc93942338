"""Warm-up, capture and replay, driven on the CPU with a stand-in for CUDA graphs; the last tests need a GPU."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, load_training_state, save_checkpoint, save_training_state
from dreamer.pipeline import Pipeline
from dreamer.replay import Batch
from dreamer.speed.captured import WARM_UPS, CapturedUpdate, CudaGraphs
from tests.dreamer.test_agent import SEED_PRESET
from tests.dreamer.tiny import filled_buffer, tiny_agent

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
Work = Callable[[], Tensor]


class FakeGraphs:
    """Records a piece of work as the function itself and replays it into the tensor of the first replay."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.generators: Sequence[Generator] = ()
        self.results: list[Tensor] = []

    def warm_up(self, work: Work) -> Tensor:
        self.calls.append("warm-up")
        return work()

    def capture(self, work: Work, generators: Sequence[Generator]) -> Work:
        self.calls.append("capture")
        self.generators = generators
        result = torch.empty(0)

        def replay() -> Tensor:
            self.calls.append("replay")
            result.resize_(0).set_(work())
            self.results.append(result)
            return result

        return replay


class BrokenGraphs(FakeGraphs):
    """Finds, in the middle of a capture, something that cannot be captured."""

    def capture(self, work: Work, generators: Sequence[Generator]) -> Work:
        self.calls.append("capture")
        for generator in generators:
            generator.manual_seed(99)
        raise RuntimeError("operation not permitted when stream is capturing\nand twenty more lines")


def learned(graphs: FakeGraphs | None, updates: int = 7) -> tuple[Dreamer, list[dict[str, float]]]:
    agent = tiny_agent()
    update, buffer = CapturedUpdate(agent, graphs), filled_buffer(agent.config)
    return agent, [update.train_step(buffer.sample()) for _ in range(updates)]


def assert_equal(one: Dreamer, two: Dreamer) -> None:
    ours, theirs = one.state_dict(), two.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_warm_ups_then_one_capture_then_replays_and_each_call_is_one_update() -> None:
    graphs = FakeGraphs()
    agent, metrics = learned(graphs)
    assert graphs.calls == ["warm-up"] * WARM_UPS + ["capture"] + ["replay"] * (7 - WARM_UPS)
    assert list(graphs.generators) == [agent.learning_generator, agent.dreaming_generator]
    assert len({id(result) for result in graphs.results}) == 1  # read from where the graph writes
    uncaptured, wanted = learned(None)
    assert metrics == wanted and agent.updates == agent.world_learner.steps == 7
    assert_equal(agent, uncaptured)


def test_a_skipped_update_is_told_after_the_capture_too() -> None:
    agent = tiny_agent()
    update, buffer = CapturedUpdate(agent, FakeGraphs()), filled_buffer(agent.config)
    skipped = []
    for place in range(WARM_UPS + 4):
        batch = buffer.sample()
        if place in (1, WARM_UPS + 2):
            batch["obs"] *= torch.nan
        skipped.append(update.train_step(batch)["skipped"])
    assert [place for place, flag in enumerate(skipped) if flag] == [1, WARM_UPS + 2]
    assert agent.world_learner.steps == agent.behavior_learner.steps == len(skipped) - 2
    assert agent.updates == len(skipped)
    assert all(value.isfinite().all() for value in agent.state_dict().values())


def test_where_nothing_can_be_captured_updates_go_on_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    graphs = BrokenGraphs()
    with caplog.at_level(logging.WARNING):
        agent, metrics = learned(graphs)
    assert graphs.calls == ["warm-up"] * WARM_UPS + ["capture"]
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]
    assert "no CUDA graph" in caplog.messages[0] and "stream is capturing" in caplog.messages[0]
    uncaptured, wanted = learned(None)
    assert metrics == wanted  # also the generators are what they were
    assert_equal(agent, uncaptured)


def test_a_run_saved_between_updates_goes_on_as_if_it_had_not_been(tmp_path: Any) -> None:
    unbroken, wanted = learned(FakeGraphs())
    agent = tiny_agent()
    update, buffer = CapturedUpdate(agent, FakeGraphs()), filled_buffer(agent.config)
    for _ in range(5):
        update.train_step(buffer.sample())
    save_checkpoint(tmp_path / "agent", agent, {})
    save_training_state(tmp_path, agent)
    resumed, _ = load_checkpoint(tmp_path / "agent")
    load_training_state(tmp_path, resumed)
    update = CapturedUpdate(resumed, FakeGraphs())
    assert [update.train_step(buffer.sample()) for _ in range(2)] == wanted[5:]
    assert_equal(resumed, unbroken)


def test_static_and_ordinary_updates_understand_each_others_saves(tmp_path: Any) -> None:
    for settings in ({}, SEED_PRESET):
        agent = tiny_agent(**settings)
        update, buffer = CapturedUpdate(agent, None), filled_buffer(agent.config)
        update.train_step(buffer.sample())
        for next_step in (lambda one: one.train_step, lambda one: CapturedUpdate(one, None).train_step):
            save_checkpoint(tmp_path / "agent", agent, {})
            save_training_state(tmp_path, agent)
            agent, _ = load_checkpoint(tmp_path / "agent")
            load_training_state(tmp_path, agent)
            metrics = next_step(agent)(buffer.sample())
            assert metrics["skipped"] == 0.0
        assert agent.world_learner.steps == agent.updates == 3


def test_off_the_cpu_nothing_is_overlapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamer.pipeline.CudaGraphs", FakeGraphs)
    elsewhere = tiny_agent(optimizer={"average_share": 0.0}).to("meta")  # without numbers there is no average
    pipeline = Pipeline(elsewhere)
    assert not pipeline.overlap and pipeline.player is elsewhere and pipeline._captured is not None
    pipeline.close()


def test_in_the_pipeline_metrics_arrive_one_call_later_and_the_last_ones_by_finishing(tmp_path: Any) -> None:
    agent = tiny_agent()
    pipeline, buffer = Pipeline(agent, overlap=False), filled_buffer(agent.config)
    pipeline._captured = CapturedUpdate(agent, FakeGraphs())
    got = [pipeline.train_step(buffer.sample()) for _ in range(6)]
    _, wanted = learned(None)
    assert got == [{"skipped": 0.0}, *wanted[:5]]
    assert (agent.updates, agent.world_learner.steps) == (6, 5)  # what the device counts is read with the metrics
    pipeline.finish()
    pipeline.finish()
    assert agent.world_learner.steps == 6
    pipeline.save(tmp_path)
    resumed = Pipeline(agent, overlap=False)
    resumed.load(tmp_path)
    resumed._captured = pipeline._captured
    assert resumed.train_step(buffer.sample()) == wanted[5]
    for one in (pipeline, resumed):
        one.close()


def test_an_update_is_finished_before_the_next_one_is_started() -> None:
    agent = tiny_agent()
    update, buffer = CapturedUpdate(agent, None), filled_buffer(agent.config)
    assert update.finish() is None
    update.start(buffer.sample())
    with pytest.raises(AssertionError, match="finished first"):
        update.start(buffer.sample())


def cuda_run(graphs: CudaGraphs | None, updates: int, **settings: Any) -> tuple[Dreamer, list[dict[str, float]]]:
    agent = tiny_agent(**settings).settle(torch.device("cuda"))
    update, buffer = CapturedUpdate(agent, graphs), filled_buffer(agent.config)
    metrics = []
    for place in range(updates):
        batch: Batch = buffer.sample()
        if place == updates - 2:
            batch["reward"] *= torch.nan
        metrics.append(update.train_step(batch))
    return agent, metrics


@GPU
@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_on_a_gpu_captured_updates_are_those_that_are_not_captured(
    settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    captured, metrics = cuda_run(CudaGraphs(), WARM_UPS + 5, **settings)
    assert caplog.messages == []  # no fallback
    uncaptured, wanted = cuda_run(None, WARM_UPS + 5, **settings)
    assert [one["skipped"] for one in metrics] == [one["skipped"] for one in wanted]
    assert metrics[-1]["loss/world"] == pytest.approx(wanted[-1]["loss/world"], rel=1e-3)
    theirs = uncaptured.state_dict()
    for key, value in captured.state_dict().items():
        torch.testing.assert_close(value, theirs[key], atol=1e-5, rtol=1e-3)
    states = [one.dreaming_generator.get_state() for one in (captured, uncaptured)]
    assert torch.equal(*states)


@GPU
def test_on_a_gpu_a_save_is_made_of_cpu_tensors_and_loads_anywhere(tmp_path: Any) -> None:
    agent, _ = cuda_run(CudaGraphs(), WARM_UPS + 3)
    save_checkpoint(tmp_path / "agent", agent, {})
    save_training_state(tmp_path, agent)
    for device in ("cpu", "cuda"):
        other, _ = load_checkpoint(tmp_path / "agent")
        load_training_state(tmp_path, other.settle(torch.device(device)))
        pipeline, buffer = Pipeline(other), filled_buffer(other.config)
        assert pipeline.overlap is (device == "cpu")
        assert pipeline.train_step(buffer.sample())["skipped"] == 0.0
        pipeline.close()


@GPU
def test_on_a_gpu_it_plays_and_a_copy_plays_on_the_cpu() -> None:
    agent = tiny_agent().settle(torch.device("cuda"))
    obs, first = torch.randn(6, 3), torch.ones(6, dtype=torch.bool)
    _, there = agent.act(agent.initial_state(6), obs.cuda(), first.cuda(), deterministic=True)
    twin = agent.on_cpu()
    _, here = twin.act(twin.initial_state(6), obs, first, deterministic=True)
    assert there.device.type == "cuda" and here.device.type == "cpu"
    torch.testing.assert_close(there.cpu(), here)
