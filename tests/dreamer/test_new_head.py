"""What docs/learning.md says of adding a head: one class changes, and updates, checkpoints and metrics follow."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dreamer import agent, checkpoint
from dreamer.checkpoint import load_checkpoint, save_checkpoint
from dreamer.config import DreamerConfig
from dreamer.replay import Batch
from dreamer.sequence_model import State, features
from dreamer.update import Updater
from dreamer.world_model import ScalarHead, WorldModel
from tests.dreamer.tiny import filled_buffer, tiny_updater


class WithEffort(WorldModel):
    """A world model that tells from a state how strong the action before it was."""

    def __init__(self, config: DreamerConfig, obs_size: int, action_size: int) -> None:
        super().__init__(config, obs_size, action_size)
        self.effort_head = ScalarHead(self.dynamics.feature_size, config)

    def head_losses(self, posteriors: State, batch: Batch) -> dict[str, Tensor]:
        effort = self.effort_head(features(posteriors))
        wanted = batch["action"].square().sum(-1)
        return super().head_losses(posteriors, batch) | {"effort": self.effort_head.loss(effort, wanted).mean()}


def test_a_new_head_learns_is_reported_saved_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (agent, checkpoint):
        monkeypatch.setattr(module, "WorldModel", WithEffort)
    updater = tiny_updater(optimizer={"world_rate": 1e-2, "warmup": 0})
    buffer = filled_buffer(updater.agent.config)
    losses = [updater.train_step(buffer.sample())["loss/effort"] for _ in range(80)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    save_checkpoint(tmp_path / "agent", updater.agent, {})
    again, _ = load_checkpoint(tmp_path / "agent")
    assert isinstance(again.world_model, WithEffort)
    mine, read = (one.world_model.effort_head.state_dict() for one in (updater.agent, again))
    assert all(torch.equal(value, read[key]) for key, value in mine.items())
    assert Updater(again).train_step(buffer.sample())["skipped"] == 0.0
