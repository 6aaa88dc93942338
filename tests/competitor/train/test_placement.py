"""Device, precision and kernels: chosen once, told in one line, kept in the run, taken up again by --resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from competitor.config import Config, load_config
from competitor.errors import ConfigError, ResumeError
from competitor.train import placement
from competitor.train.metrics import read_lines
from competitor.train.placement import FORMER, Placement, bfloat16_gain, choose_placement, read_placement
from competitor.train.selfplay import Trainer
from dreamer.speed import kernels
from dreamer.speed.captured import CapturedUpdate
from tests.competitor.train.test_selfplay import Recorder, tiny
from tests.dreamer.speed.test_captured import GPU, FakeGraphs

ON_CUDA = Placement("cuda", "bfloat16", "plain", "as it was")


@pytest.fixture(autouse=True)
def kernels_again() -> Any:
    yield
    kernels.use("auto")


def config(*overrides: str) -> Config:
    return load_config(preset="debug", overrides=overrides)


def with_gain(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    monkeypatch.setattr(placement, "bfloat16_gain", lambda *_: gain)


def without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise AssertionError("measured again")

    monkeypatch.setattr(placement, "bfloat16_gain", fail)


def with_cuda(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)


@pytest.mark.parametrize(
    ("gain", "overrides", "line"),
    [
        (0.32, [], "float32: bfloat16 products take 3.1 times as long here; kernels: "),
        (2.0, [], "float32: bfloat16 products are only 2.0 times as fast here; kernels: "),
        (3.0, [], "bfloat16: its products are 3.0 times as fast as float32's here; kernels: plain; device: cpu"),
        (1.2, ["run.kernels=plain"], "float32: bfloat16 products are only 1.2 times as fast here; kernels: plain"),
        (1.3, ["run.kernels=plain"], "bfloat16: its products are 1.3 times as fast as float32's here; kernels: plain"),
        (9.9, ["run.kernels=torch"], "float32: the torch kernels know nothing else; kernels: torch; device: cpu"),
        (0.1, ["run.precision=bfloat16"], "bfloat16: as run.precision says; kernels: plain; device: cpu"),
        (9.9, ["run.precision=float32"], "float32: as run.precision says; kernels: "),
    ],
)
def test_the_choice_on_a_cpu_is_told_in_one_line(
    gain: float, overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(monkeypatch, False)
    with_gain(monkeypatch, gain)
    chosen = choose_placement(config(*overrides))
    assert chosen.line.startswith(line)
    assert chosen.kernels == kernels.kind()


def test_where_there_is_cuda_it_is_taken_with_the_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, True)
    with_gain(monkeypatch, 1.5)
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
    with_gain(monkeypatch, 0.5)
    with pytest.raises(ResumeError, match="--set run.device=cpu continues it"):
        choose_placement(config(), ON_CUDA)
    chosen = choose_placement(config("run.device=cpu"), ON_CUDA)
    assert "begun on cuda, chance begins anew on cpu" in chosen.line and chosen.precision == "float32"


def test_measuring_is_short_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    assert bfloat16_gain(32, 48, 64, "cpu") > 0.0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_keeps_its_choice_and_resume_takes_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gain(monkeypatch, 5.0)
    trainer = Trainer.start(tiny(), tmp_path / "run")
    assert trainer.state.agent.precision == "bfloat16" and kernels.kind() == "plain"
    assert read_placement(tmp_path / "run") == trainer.placement
    trainer.close()
    kernels.use("auto")
    without_measuring(monkeypatch)
    again = Trainer.resume(tmp_path / "run")
    assert again.state.agent.precision == "bfloat16" and kernels.kind() == "plain"
    assert read_placement(tmp_path / "run") == trainer.placement  # with the reason of the start
    again.close()
    Trainer.resume(tmp_path / "run", ["run.precision=float32"]).close()
    assert read_placement(tmp_path / "run").precision == "float32"
    (tmp_path / "run" / "placement.json").write_text("{")
    with pytest.raises(ResumeError, match=r"placement.json cannot be read"):
        Trainer.resume(tmp_path / "run")


def test_the_record_begins_with_the_choice_and_has_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gain(monkeypatch, 0.25)
    run_in_parts(tmp_path / "run", [2, 2])
    first, *others = read_lines(tmp_path / "run" / "metrics.jsonl")
    chosen = {"cuda": 0.0, "bfloat16": 0.0, "bfloat16_gain": 0.25}
    assert first == {"kind": "start", "environment_steps": 0, "updates": 0, "seconds": 0.0, **chosen}
    assert all(line["kind"] != "start" for line in others)
    assert read_placement(tmp_path / "run").gain == 0.25
    assert choose_placement(tiny(), read_placement(tmp_path / "run")).gain == 0.25  # not measured again
    assert "bfloat16_gain" not in choose_placement(tiny("run.precision=float32")).numbers


def run_in_parts(path: Path, parts: list[int], *overrides: str, captured: bool = False) -> list[dict[str, float]]:
    """The metrics of all updates of a run that is stopped and resumed after each part."""
    updates = []
    for place, stop_after in enumerate(parts):
        trainer = Trainer.resume(path) if place else Trainer.start(tiny(*overrides), path)
        if captured:
            trainer.state.pipeline._captured = CapturedUpdate(trainer.state.agent, FakeGraphs())
        recorder = Recorder(trainer, stop_after)
        trainer.train()
        updates += recorder.updates
    return updates


def test_a_run_in_bfloat16_is_resumed_exactly(tmp_path: Path) -> None:
    whole, broken = (
        run_in_parts(tmp_path / str(len(parts)), parts, "run.precision=bfloat16") for parts in ([6], [3, 3])
    )
    assert whole == broken


def test_a_run_of_captured_updates_is_resumed_exactly(tmp_path: Path) -> None:
    whole, broken = (
        run_in_parts(tmp_path / str(len(parts)), parts, "training.overlap=false", captured=True)
        for parts in ([9], [5, 4])
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


@GPU
def test_on_a_gpu_a_run_is_stopped_resumed_and_taken_to_the_cpu(tmp_path: Path, caplog: Any) -> None:
    updates = run_in_parts(tmp_path / "run", [20, 20], "run.device=cuda")
    assert len(updates) == 40 and not any(metrics["skipped"] for metrics in updates)
    assert caplog.messages == []  # captured both times
    trainer = Trainer.resume(tmp_path / "run", ["run.device=cpu"])
    Recorder(trainer, stop_after=2)
    assert trainer.train().updates == 42
