"""Device and kernels: chosen once, told in one line, kept in the run, taken up again by --resume."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from competitor.config import Config, load_config
from competitor.errors import ConfigError, ResumeError
from competitor.train.metrics import read_lines
from competitor.train.placement import FORMER, Placement, choose_placement, read_placement
from competitor.train.selfplay import Trainer
from dreamer import fast
from tests.competitor.train.test_selfplay import Recorder, tiny

ON_CUDA = Placement("cuda", "plain", "as it was")


def config(*overrides: str) -> Config:
    return load_config(preset="debug", overrides=("run.device=auto", *overrides))


def with_cuda(monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)


@pytest.mark.parametrize(
    ("is_there", "overrides", "line"),
    [
        (False, [], "device: cpu (torch finds no CUDA device); kernels: "),
        (False, ["run.kernels=plain"], "device: cpu (torch finds no CUDA device); kernels: plain"),
        (True, [], "device: cuda (torch finds one); kernels: plain"),
        (True, ["run.device=cpu"], "device: cpu (as run.device says); kernels: "),
        (True, ["run.kernels=native"], "device: cpu (the native kernels know nothing else); kernels: "),
    ],
)
def test_the_choice_is_told_in_one_line(
    is_there: bool, overrides: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cuda(monkeypatch, is_there)
    chosen = choose_placement(config(*overrides))
    assert chosen.line.startswith(line) and chosen.kernels == fast.kind()


def test_a_wish_for_cuda_where_there_is_none_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, False)
    with pytest.raises(ConfigError, match=r'run.device = "cuda", but torch .* finds no CUDA device here') as caught:
        choose_placement(config("run.device=cuda"))
    assert "\n" not in str(caught.value)


def test_kernels_for_the_cpu_cannot_be_wished_elsewhere() -> None:
    with pytest.raises(ConfigError, match='kernels "native" are for the CPU'):
        config("run.kernels=native", "run.device=cuda")


def test_what_was_recorded_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, True)
    assert choose_placement(config(), ON_CUDA).line == "device: cuda (as when the run began); kernels: plain"
    assert choose_placement(config(), FORMER).device == "cpu"  # also where there is CUDA by now


def test_a_run_from_a_gpu_goes_on_elsewhere_only_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cuda(monkeypatch, False)
    with pytest.raises(ResumeError, match="--set run.device=cpu continues it"):
        choose_placement(config(), ON_CUDA)
    chosen = choose_placement(config("run.device=cpu"), ON_CUDA)
    assert "begun on cuda, chance begins anew on cpu" in chosen.line


def test_what_older_runs_wrote_is_read(tmp_path: Path) -> None:
    """Their precision is float32 from now on, and the kernels "torch" are what there is."""
    former = {"device": "cpu", "precision": "bfloat16", "kernels": "torch", "why": "faster", "update_ms": None}
    (tmp_path / "placement.json").write_text(json.dumps(former))
    recorded = read_placement(tmp_path)
    assert recorded == Placement("cpu", "torch", "faster")
    old = config("run.kernels=torch", "run.precision=bfloat16")
    assert old.run == config("run.kernels=auto").run
    assert choose_placement(old, recorded).line.startswith("device: cpu (as when the run began); kernels: ")


def test_a_run_keeps_its_choice_and_resume_takes_it_up(tmp_path: Path) -> None:
    trainer = Trainer.start(tiny("run.kernels=plain"), tmp_path / "run")
    assert trainer.placement.kernels == fast.kind() == "plain"
    assert read_placement(tmp_path / "run") == trainer.placement
    trainer.close()
    Trainer.resume(tmp_path / "run", ["run.device=auto"]).close()
    assert read_placement(tmp_path / "run") == trainer.placement  # with the reason of the start
    (tmp_path / "run" / "placement.json").write_text("{")
    with pytest.raises(ResumeError, match=r"placement.json cannot be read"):
        Trainer.resume(tmp_path / "run")


def test_the_record_begins_with_the_choice_and_has_it_once(tmp_path: Path) -> None:
    run_in_parts(tmp_path / "run", [2, 2])
    first, *others = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert first == {"kind": "start", "environment_steps": 0, "updates": 0, "seconds": 0.0, "cuda": 0.0}
    assert all(line["kind"] != "start" for line in others)


def run_in_parts(path: Path, parts: list[int], *overrides: str) -> list[dict[str, float]]:
    """The metrics of all updates of a run that is stopped and resumed after each part."""
    updates = []
    for place, stop_after in enumerate(parts):
        trainer = Trainer.resume(path) if place else Trainer.start(tiny(*overrides), path)
        recorder = Recorder(trainer, stop_after)
        trainer.train()
        updates += recorder.updates
    return updates


def test_a_save_from_a_gpu_goes_on_with_chance_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    with_cuda(monkeypatch, False)
    trainer = Trainer.start(tiny("run.device=auto"), path)
    Recorder(trainer, stop_after=20)
    trainer.train()
    assert trainer.state.roster.past
    pretend_cuda(path, trainer.run.saves.current())
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
