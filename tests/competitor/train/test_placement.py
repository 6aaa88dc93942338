"""Device, precision and kernels: chosen once, told in one line, kept in the run, taken up again by --resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from competitor.config import Config, load_config
from competitor.errors import ConfigError, ResumeError
from competitor.train import placement
from competitor.train.metrics import read_lines
from competitor.train.placement import FORMER, Placement, choose_placement, read_placement
from competitor.train.selfplay import Trainer
from competitor.train.update_timing import Ways, update_seconds
from dreamer import fast
from dreamer.pipeline import Pipeline
from tests.competitor.train.test_selfplay import Recorder, tiny

ON_CUDA = Placement("cuda", "bfloat16", "plain", "as it was")


@pytest.fixture(autouse=True)
def kernels_again() -> Any:
    yield
    fast.use("auto")


def config(*overrides: str) -> Config:
    return load_config(preset="debug", overrides=("run.precision=auto", *overrides))


def with_times(monkeypatch: pytest.MonkeyPatch, float32_ms: float, bfloat16_ms: float) -> None:
    """Updates that take so long, on a processor that has both precisions."""
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: True)
    times = {"float32": float32_ms / 1e3, "bfloat16": bfloat16_ms / 1e3}
    monkeypatch.setattr(placement, "update_seconds", lambda *_: times)


def without_measuring(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool = True) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise AssertionError("measured")

    monkeypatch.setattr(placement, "has_bfloat16", lambda _: bfloat16)
    monkeypatch.setattr(placement, "update_seconds", fail)


def ticking(*turns: float) -> Callable[[], float]:
    """A clock that is looked at before and after each turn, and what the turns take."""
    times = [0.0]
    for taken in turns:
        times += [times[-1] + taken, times[-1] + taken]
    return partial(next, iter(times))


def with_cuda(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)


@pytest.mark.parametrize(
    ("float32_ms", "bfloat16_ms", "overrides", "line"),
    [
        (130.0, 333.3, [], "float32: an update takes 130.0 ms, in bfloat16 333.3 ms; kernels: "),
        (109.0, 100.0, [], "float32: an update takes 109.0 ms, in bfloat16 100.0 ms (less than 1.1 times as fast); "),
        (220.0, 100.0, [], "bfloat16: an update takes 100.0 ms, in float32 220.0 ms; kernels: plain; device: cpu"),
        (
            220.0,
            100.0,
            ["run.kernels=plain"],
            "bfloat16: an update takes 100.0 ms, in float32 220.0 ms; kernels: plain",
        ),
        (
            100.0,
            220.0,
            ["run.kernels=plain"],
            "float32: an update takes 100.0 ms, in bfloat16 220.0 ms; kernels: plain",
        ),
    ],
)
def test_the_choice_on_a_cpu_is_told_in_one_line(
    float32_ms: float, bfloat16_ms: float, overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(monkeypatch, False)
    with_times(monkeypatch, float32_ms, bfloat16_ms)
    chosen = choose_placement(config(*overrides))
    assert chosen.line.startswith(line)
    assert chosen.kernels == fast.kind()
    assert chosen.update_ms == pytest.approx({"float32": float32_ms, "bfloat16": bfloat16_ms})


@pytest.mark.parametrize(
    ("bfloat16", "overrides", "line"),
    [
        (True, ["run.precision=bfloat16"], "bfloat16: as run.precision says; kernels: plain; device: cpu"),
        (True, ["run.precision=float32"], "float32: as run.precision says; kernels: "),
        (False, [], "float32: there is no bfloat16 in this processor; kernels: "),
        (False, ["run.kernels=plain"], "float32: there is no bfloat16 in this processor; kernels: plain; device: cpu"),
    ],
)
def test_nothing_is_timed_where_there_is_one_way(
    bfloat16: bool, overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(monkeypatch, False)
    without_measuring(monkeypatch, bfloat16=bfloat16)
    said: list[str] = []
    chosen = choose_placement(config(*overrides), say=said.append)
    assert chosen.line.startswith(line) and chosen.kernels == fast.kind()
    assert chosen.update_ms is None and said == []


def test_whole_updates_of_each_way_are_timed_a_few_of_each_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str]] = []
    update = Pipeline.train_step

    def noted(pipeline: Pipeline, batch: Any) -> dict[str, float]:
        with pipeline.updater.products():
            made.append((pipeline.agent.precision, fast.kind()))
        return update(pipeline, batch)

    monkeypatch.setattr(Pipeline, "train_step", noted)
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: True)
    said: list[str] = []
    # Turns of two updates: in float32 0.2, 0.9 (disturbed), 0.3 seconds; in bfloat16 0.5, 0.1, 0.6.
    clock = ticking(0.2, 0.5, 0.9, 0.1, 0.3, 0.6)
    chosen = choose_placement(tiny("run.precision=auto"), clock=clock, say=said.append)
    exact, rounded = ("float32", fast.use("auto")), ("bfloat16", "plain")
    assert made == [exact, rounded] + 3 * [exact, exact, rounded, rounded]
    assert chosen.update_ms == pytest.approx({"float32": 150.0, "bfloat16": 250.0})
    assert chosen.precision == "float32" and chosen.kernels == exact[1]
    assert said == ["timing updates in float32 and in bfloat16, a few of each (some seconds)"]


def test_the_way_with_faster_updates_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: True)
    chosen = choose_placement(tiny("run.precision=auto"), clock=ticking(0.6, 0.2, 0.6, 0.2, 0.6, 0.2))
    assert (chosen.precision, chosen.kernels) == ("bfloat16", "plain")
    assert chosen.line.startswith("bfloat16: an update takes 100.0 ms, in float32 300.0 ms; kernels: plain")


def test_slow_updates_are_timed_in_one_turn_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: True)
    chosen = choose_placement(tiny("run.precision=auto"), clock=ticking(2.0, 6.0))  # and is not looked at again
    assert chosen.update_ms == pytest.approx({"float32": 1000.0, "bfloat16": 3000.0})


def test_where_there_is_cuda_it_is_taken_with_the_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, True)
    with_times(monkeypatch, 15.0, 10.0)
    assert choose_placement(config()).line.endswith("kernels: plain; device: cuda")
    assert choose_placement(config()).precision == "bfloat16"
    assert choose_placement(config("run.device=cpu")).device == "cpu"
    assert choose_placement(config("run.kernels=native")).device == "cpu"


def test_a_wish_for_cuda_where_there_is_none_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, False)
    with pytest.raises(ConfigError, match=r'run.device = "cuda", but torch .* finds no CUDA device here') as caught:
        choose_placement(config("run.device=cuda"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["run.device=cuda", "run.precision=bfloat16"])
def test_kernels_for_the_cpu_cannot_be_wished_elsewhere(other: str) -> None:
    with pytest.raises(ConfigError, match='kernels "native" are for float32 on the CPU'):
        config("run.kernels=native", other)


def test_what_was_recorded_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, True)
    without_measuring(monkeypatch)
    again = choose_placement(config(), ON_CUDA)
    assert (again.device, again.precision, again.kernels) == ("cuda", "bfloat16", "plain")
    assert again.line.startswith("bfloat16: as when the run began")
    assert choose_placement(config(), FORMER).device == "cpu"  # also where there is CUDA by now


def test_a_run_from_a_gpu_goes_on_elsewhere_only_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, False)
    with_times(monkeypatch, 100.0, 200.0)
    with pytest.raises(ResumeError, match="--set run.device=cpu continues it"):
        choose_placement(config(), ON_CUDA)
    chosen = choose_placement(config("run.device=cpu"), ON_CUDA)
    assert "begun on cuda, chance begins anew on cpu" in chosen.line and chosen.precision == "float32"


def test_timing_changes_neither_chance_nor_weights_nor_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, before = fast.use("auto"), (torch.get_rng_state(), np.random.get_state()[1].copy())
    ways: Ways = {"float32": kind, "bfloat16": "plain"}
    times = update_seconds(tiny(), torch.device("cpu"), ways, time.perf_counter)
    assert times.keys() == ways.keys() and min(times.values()) > 0.0
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])
    assert fast.kind() == kind
    without_measuring(monkeypatch, bfloat16=False)
    untimed = run_in_parts(tmp_path / "untimed", [4], "run.precision=auto")
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(placement, "WORTHWHILE", 1e9)  # timed in earnest, and float32 whatever the machine
    monkeypatch.setattr(placement, "update_seconds", update_seconds)
    assert run_in_parts(tmp_path / "timed", [4], "run.precision=auto") == untimed
    assert read_placement(tmp_path / "timed").update_ms is not None


def test_what_older_runs_wrote_is_read(tmp_path: Path) -> None:
    former = {
        "device": "cpu",
        "precision": "bfloat16",
        "kernels": "plain",
        "why": "faster products",
        "gain": 3.5,
    }
    (tmp_path / "placement.json").write_text(json.dumps(former))
    recorded = read_placement(tmp_path)
    assert recorded == Placement("cpu", "bfloat16", "plain", "faster products")
    again = choose_placement(tiny("run.precision=auto"), recorded)
    assert again.line == "bfloat16: as when the run began; kernels: plain; device: cpu"


def test_a_run_keeps_its_choice_and_resume_takes_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_times(monkeypatch, 50.0, 10.0)
    trainer = Trainer.start(tiny("run.precision=auto"), tmp_path / "run")
    assert trainer.state.agent.precision == "bfloat16" and fast.kind() == "plain"
    assert read_placement(tmp_path / "run") == trainer.placement
    trainer.close()
    fast.use("auto")
    without_measuring(monkeypatch)
    again = Trainer.resume(tmp_path / "run")
    assert again.state.agent.precision == "bfloat16" and fast.kind() == "plain"
    assert read_placement(tmp_path / "run") == trainer.placement  # with the reason of the start
    again.close()
    Trainer.resume(tmp_path / "run", ["run.precision=float32"]).close()
    assert read_placement(tmp_path / "run").precision == "float32"
    (tmp_path / "run" / "placement.json").write_text("{")
    with pytest.raises(ResumeError, match=r"placement.json cannot be read"):
        Trainer.resume(tmp_path / "run")


def test_the_record_begins_with_the_choice_and_has_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_times(monkeypatch, 25.0, 100.0)
    run_in_parts(tmp_path / "run", [2, 2], "run.precision=auto")
    first, *others = read_lines(tmp_path / "run" / "metrics.jsonl")
    chosen = {"cuda": 0.0, "bfloat16": 0.0, "float32_update_ms": 25.0, "bfloat16_update_ms": 100.0}
    assert first == {"kind": "start", "environment_steps": 0, "updates": 0, "seconds": 0.0, **chosen}
    assert all(line["kind"] != "start" for line in others)
    recorded = read_placement(tmp_path / "run")
    assert recorded.update_ms == {"float32": 25.0, "bfloat16": 100.0}
    without_measuring(monkeypatch)
    assert choose_placement(tiny("run.precision=auto"), recorded).update_ms == recorded.update_ms
    assert choose_placement(tiny("run.precision=float32")).numbers == {"cuda": 0.0, "bfloat16": 0.0}


def run_in_parts(path: Path, parts: list[int], *overrides: str) -> list[dict[str, float]]:
    """The metrics of all updates of a run that is stopped and resumed after each part."""
    updates = []
    for place, stop_after in enumerate(parts):
        trainer = Trainer.resume(path) if place else Trainer.start(tiny(*overrides), path)
        recorder = Recorder(trainer, stop_after)
        trainer.train()
        updates += recorder.updates
    return updates


def test_a_run_in_bfloat16_is_resumed_exactly(tmp_path: Path) -> None:
    whole, broken = (
        run_in_parts(tmp_path / str(len(parts)), parts, "run.precision=bfloat16") for parts in ([6], [3, 3])
    )
    assert whole == broken


def test_a_save_from_a_gpu_goes_on_with_chance_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    with_cuda(monkeypatch, False)
    trainer = Trainer.start(tiny("run.device=auto"), path)
    Recorder(trainer, stop_after=20)
    trainer.train()
    assert trainer.state.roster.past
    pretend_cuda(path, trainer.run.current_save())
    with pytest.raises(ResumeError, match="begun on a CUDA device"):
        Trainer.resume(path)
    again = Trainer.resume(path, ["run.device=cpu"])
    recorder = Recorder(again, stop_after=2)
    again.train()
    assert [metrics["skipped"] for metrics in recorder.updates] == [0.0, 0.0]
    assert read_placement(path).device == "cpu"


def pretend_cuda(path: Path, save: Path | None) -> None:
    """Give the save of a run what one on a GPU has: the device's name, and short states of generators."""
    assert save is not None
    for name in ("training.json", "trainer.json"):
        facts = json.loads((save / name).read_text())
        (save / name).write_text(json.dumps(facts | {"device": "cuda"}))
    for name in ("training.safetensors", "players.safetensors"):
        tensors = load_file(save / name)
        shortened = {key: value[:16] if "generator" in key else value for key, value in tensors.items()}
        assert any("generator" in key for key in shortened)
        save_file(shortened, save / name)
    ON_CUDA.write(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_a_run_is_stopped_resumed_and_taken_to_the_cpu(tmp_path: Path) -> None:
    updates = run_in_parts(tmp_path / "run", [20, 20], "run.device=cuda")
    assert len(updates) == 40 and not any(metrics["skipped"] for metrics in updates)
    trainer = Trainer.resume(tmp_path / "run", ["run.device=cpu"])
    Recorder(trainer, stop_after=2)
    assert trainer.train().updates == 42
