"""A new run that starts from the weights of a checkpoint."""

from pathlib import Path

import pytest
import torch

import cli
from competitor.errors import ConfigError
from competitor.train.selfplay import Trainer
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, read_card, save_checkpoint
from tests.competitor.train.test_selfplay import Recorder, same_weights, tiny, warm_up_only


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A checkpoint of the tests' sizes, with a scale of its inputs."""
    agent = Dreamer(tiny().dreamer, seed=5)
    agent.fit_normalizer(torch.randn(100, 18, generator=torch.Generator().manual_seed(1)) * 3.0 + 1.0)
    save_checkpoint(tmp_path / "older", agent, {})
    return tmp_path / "older.safetensors"


def test_a_run_starts_from_a_checkpoint_without_prelude_and_keeps_its_scale(tmp_path: Path, older: Path) -> None:
    config = tiny("training.prelude_updates=9", "training.lesson_rounds=3")
    trainer = Trainer.start(config, tmp_path / "run", start_from=str(older))
    assert trainer.config.training.prelude_updates == trainer.config.training.lesson_rounds == 0
    trainer.stop()
    assert not trainer.train().is_saved  # stopped before anything was saved
    older.unlink()
    again = Trainer.resume(tmp_path / "run")
    warm_up_only(again)
    start = load_checkpoint(tmp_path / "run" / "checkpoints" / "start")[0]
    for agent in (again.state.agent, again.state.pipeline.player, again.state.pipeline.averaged):
        assert same_weights(agent, start)
    last = Trainer.resume(tmp_path / "run")
    recorder = Recorder(last, stop_after=2)
    last.train()
    assert len(recorder.updates) == last.state.agent.updates == 2
    assert torch.equal(last.state.agent.world_model.obs_mean, start.world_model.obs_mean)
    latest = read_card(tmp_path / "run" / "checkpoints" / "latest")
    assert latest["started_from"] == read_card(tmp_path / "run" / "checkpoints" / "start")["sha256"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden=48", r"model.hidden \(32 there, 48 here\)"),
        ("model.kind=seed", r"model.kind \(dreamerv3 there, seed here\)"),
        ("rink.keep_mode=false", "rink.keep_mode"),
    ],
)
def test_other_sizes_are_told_before_there_is_a_run(override: str, named: str, tmp_path: Path, older: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot start from .*older.*{named}") as caught:
        Trainer.start(tiny(override), tmp_path / "run", start_from=str(older))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_who_resumes_starts_from_nothing_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["train", "--resume", str(tmp_path), "--start-from", "champion"]) == 2
    assert "--start-from" in capsys.readouterr().err
