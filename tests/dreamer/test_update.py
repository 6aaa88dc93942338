"""Whole updates: what moves, what is carried on, what is skipped; and the prelude."""

import copy
import math
from typing import Any

import pytest
import torch

from dreamer.agent import Dreamer
from tests.dreamer.test_agent import SEED_PRESET
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_updater


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_train_step_runs_the_loops_and_reports_finite_metrics(settings: dict[str, dict[str, object]]) -> None:
    updater = tiny_updater(**settings)
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    for _ in range(3):
        metrics = updater.train_step(buffer.sample())
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["skipped"] == 0.0
    assert agent.updates == 3
    for part in ("world_model.encoder", "world_model.dynamics", "behavior.policy", "behavior.value."):
        moved = [not torch.equal(value, before[key]) for key, value in agent.state_dict().items() if part in key]
        assert moved and all(moved), part


def test_learning_lowers_the_world_models_loss() -> None:
    updater = tiny_updater(optimizer={"world_rate": 3e-3})
    buffer = filled_buffer(updater.agent.config)
    losses = [updater.train_step(buffer.sample())["loss/world"] for _ in range(120)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_streams_carry_the_context_to_the_next_update_and_windows_do_not() -> None:
    stream, window = tiny_updater(), tiny_updater(replay={"context": "zero"})
    for updater in (stream, window):
        updater.train_step(filled_buffer(updater.agent.config).sample())
    assert stream.context is not None and stream.context["h"].abs().sum() > 0
    assert not stream.context["h"].requires_grad
    assert window.context is None


def test_a_batch_that_is_not_finite_is_skipped_and_counted() -> None:
    updater = tiny_updater()
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    updater.train_step(buffer.sample())
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    batch = buffer.sample()
    batch["reward"][2, 1] = torch.nan
    assert updater.train_step(batch)["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
    assert updater.train_step(buffer.sample())["skipped"] == 0.0


@pytest.mark.parametrize("spoiled", ["reward", "obs"])
def test_the_streams_go_on_where_their_lanes_are_after_a_step_that_was_not_taken(spoiled: str) -> None:
    """A lane whose own state broke starts anew; the others remember the window that taught nothing."""
    updater = tiny_updater(model={"observed": True})
    buffer = filled_buffer(updater.agent.config)
    updater.train_step(buffer.sample())
    batch = buffer.sample()
    batch[spoiled][2:, 1] = torch.nan
    _, posteriors, _ = updater.agent.world_model.compute_loss(batch, updater.context, noise_source(2))
    updater.learning_generator.manual_seed(2)
    assert updater.train_step(batch)["skipped"] == 1.0 and updater.context is not None
    others = torch.tensor([0, 2, 3])
    for key, table in updater.context.items():
        assert torch.equal(table[others], posteriors[key][-1, others])
        assert torch.equal(table[1], posteriors[key][-1, 1] if spoiled == "reward" else torch.zeros_like(table[1]))


def test_a_dream_that_is_not_finite_is_skipped_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    updater = tiny_updater()
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    updater.train_step(buffer.sample())
    before = copy.deepcopy(agent.behavior.state_dict())
    imagine = agent.world_model.imagine

    def broken(*given: Any) -> tuple[Any, ...]:
        states, actions, rewards, continues = imagine(*given)
        return states, actions, torch.full_like(rewards, torch.nan), continues

    with monkeypatch.context() as patch:
        patch.setattr(agent.world_model, "imagine", broken)
        assert updater.train_step(buffer.sample())["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.behavior.state_dict().items())
    assert updater.train_step(buffer.sample())["skipped"] == 0.0


def lessons_of(agent: Dreamer, lesson: bool) -> dict[str, torch.Tensor]:
    """Rounds in which the first action is full force in the direction of the first number, and the second is 0.3."""
    batch = filled_buffer(agent.config).sample()
    batch["is_lesson"] = torch.full_like(batch["is_first"], lesson)
    batch["action"][1:, :, 0] = batch["obs"][:-1, :, 0].sign()
    batch["action"][1:, :, 1] = 0.3
    batch["action"][batch["is_first"]] = 0.0
    return batch


@pytest.mark.parametrize("sections", [{}, SEED_PRESET])
def test_the_prelude_imitates_lessons_and_nothing_else(sections: dict[str, dict[str, object]]) -> None:
    losses = {}
    for lesson in (True, False):
        updater = tiny_updater(**{**sections, "optimizer": {"world_rate": 1e-2, "actor_rate": 1e-2, "warmup": 0}})
        agent = updater.agent
        batch, policy = lessons_of(agent, lesson), copy.deepcopy(agent.behavior.policy.state_dict())
        losses[lesson] = [updater.train_prelude(batch)["loss/imitation"] for _ in range(60)]
        unchanged = all(torch.equal(value, policy[key]) for key, value in agent.behavior.policy.state_dict().items())
        assert unchanged is not lesson
        assert agent.updates == 60
    assert losses[True][-1] < 0.7 * losses[True][0] or losses[True][-1] < losses[True][0] - 1.0
    assert not any(losses[False])


def test_imitation_that_is_not_finite_leaves_the_slow_critic_alone() -> None:
    updater = tiny_updater()
    agent = updater.agent
    batch = lessons_of(agent, True)
    updater.train_prelude(batch)
    posteriors = updater.update_world(batch)[1]
    before = copy.deepcopy(agent.behavior.state_dict())
    batch["action"][2, 1] = torch.nan
    batch["reward"][2, 1] = torch.nan
    assert not updater.imitate(batch, posteriors)[0]
    assert all(torch.equal(value, before[key]) for key, value in agent.behavior.state_dict().items())


def test_the_prelude_leaves_out_what_is_not_finite() -> None:
    updater = tiny_updater()
    agent = updater.agent
    batch = lessons_of(agent, True)
    batch["obs"][2, 1, 0] = torch.nan
    before = copy.deepcopy(agent.state_dict())
    assert updater.train_prelude(batch)["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
