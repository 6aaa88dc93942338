"""What is noticed when learning goes wrong."""

from pathlib import Path
from typing import Any

import pytest

from competitor.train import update_log
from competitor.train.display import status_line
from competitor.train.report import Status
from competitor.train.selfplay import Trainer
from tests.competitor.train.test_selfplay import tiny


def test_a_collapsed_kl_is_a_warning_until_it_has_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_log, "COLLAPSED_UPDATES", 4)
    trainer = Trainer.start(tiny(), tmp_path / "run")
    learn = trainer.state.pipeline.train_step
    seen: dict[int, Status] = {}

    def collapsing(batch: Any) -> dict[str, float]:
        metrics = learn(batch)
        updates = trainer.state.agent.updates
        if updates == 12:
            trainer.stop()
        return metrics | {"kl": 3.0 if updates in (4, 10) else 0.09}

    trainer.state.pipeline.train_step = collapsing  # type: ignore[method-assign]
    trainer.train(lambda status: seen.__setitem__(status.updates, status))
    assert [updates for updates, status in seen.items() if status.warning] == [8, 9]
    line = status_line(seen[8])
    assert "warning: the KL has stayed below 0.1 nats for 4 updates: the latent state carries nothing" in line
    assert "warning" not in status_line(seen[10])
    assert Trainer.resume(tmp_path / "run").state.counters.low_kl_in_a_row == 2
