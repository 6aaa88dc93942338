import copy
import math
from typing import Any

import pytest
import torch

from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent

SEED_PRESET = {
    "model": {"latent": "gaussian", "norm": "none", "activation": "elu", "normalize": False},
    "loss": {"decoder": "mse", "heads": "mse", "kl_representation": 1.0, "free_nats": 0.0},
    "behavior": {
        "actor": "tanh_normal",
        "return_scale": "none",
        "slow_target": True,
        "slow_regularization": 0.0,
        "replay_value": 0.0,
    },
    "optimizer": {"kind": "adam", "epsilon": 1e-8},
    "replay": {"context": "zero"},
}


def play(agent: Dreamer, obs: torch.Tensor, firsts: list[int] | None = None) -> torch.Tensor:
    """Deterministic actions (time, batch, action) for observations (time, batch, obs)."""
    state, actions = agent.initial_state(obs.shape[1]), []
    for t, seen in enumerate(obs):
        is_first = torch.full((obs.shape[1],), t in (firsts or [0]))
        state, action = agent.act(state, seen, is_first, deterministic=True)
        actions.append(action)
    return torch.stack(actions)


@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_within_bounds_and_the_state_is_the_callers(deterministic: bool) -> None:
    agent = tiny_agent()
    state = agent.initial_state(5)
    obs = torch.randn(5, 3, generator=noise_source())
    after, action = agent.act(state, obs, torch.ones(5).bool(), deterministic=deterministic)
    assert action.shape == (5, 2) and action.abs().max() <= 1.0
    assert all(value.eq(0).all() for value in state.values())  # what was passed in is untouched
    assert after.keys() == state.keys() and torch.equal(after["action"], action)


def test_a_match_alone_and_in_a_batch_gives_the_same_actions() -> None:
    agent = tiny_agent()
    with torch.no_grad():
        agent.behavior.policy.net[-1].weight.mul_(500.0)
    obs = torch.randn(12, 6, 3, generator=noise_source())
    together = play(agent, obs)
    for row in range(6):
        assert torch.equal(play(agent, obs[:, row : row + 1])[:, 0], together[:, row])


def test_is_first_starts_a_row_anew_even_after_a_nan() -> None:
    agent = tiny_agent()
    obs = torch.randn(3, 3, generator=noise_source())
    fresh, _ = agent.act(agent.initial_state(3), obs, torch.ones(3).bool(), deterministic=True)
    spoiled = {key: torch.full_like(value, torch.nan) for key, value in fresh.items()}
    again, action = agent.act(spoiled, obs, torch.ones(3).bool(), deterministic=True)
    assert torch.equal(again["h"], fresh["h"]) and torch.isfinite(action).all()


def test_deterministic_play_draws_nothing_and_sampled_play_follows_the_seed() -> None:
    agent = tiny_agent()
    before = agent.generator.get_state()
    play(agent, torch.zeros(3, 2, 3))
    assert torch.equal(agent.generator.get_state(), before)
    actions = []
    for _ in range(2):
        agent.generator.manual_seed(9)
        actions.append(agent.act(agent.initial_state(50), torch.zeros(50, 3), torch.ones(50).bool())[1])
    assert torch.equal(*actions)


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_train_step_runs_the_loops_and_reports_finite_metrics(settings: dict[str, dict[str, object]]) -> None:
    agent = tiny_agent(**settings)
    buffer = filled_buffer(agent.config)
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    for _ in range(3):
        metrics = agent.train_step(buffer.sample())
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["skipped"] == 0.0
    assert agent.updates == 3
    for part in ("world_model.encoder", "world_model.dynamics", "behavior.policy", "behavior.value."):
        moved = [not torch.equal(value, before[key]) for key, value in agent.state_dict().items() if part in key]
        assert moved and all(moved), part


def test_learning_lowers_the_world_models_loss() -> None:
    agent = tiny_agent(optimizer={"world_rate": 3e-3})
    buffer = filled_buffer(agent.config)
    losses = [agent.train_step(buffer.sample())["loss/world"] for _ in range(120)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_the_same_seed_gives_the_same_weights() -> None:
    agents = [tiny_agent(), tiny_agent()]
    for agent in agents:
        buffer = filled_buffer(agent.config)
        for _ in range(3):
            agent.train_step(buffer.sample())
    ours, theirs = (agent.state_dict() for agent in agents)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_streams_carry_the_context_to_the_next_update_and_windows_do_not() -> None:
    stream, window = tiny_agent(), tiny_agent(replay={"context": "zero"})
    for agent in (stream, window):
        agent.train_step(filled_buffer(agent.config).sample())
    assert stream.context is not None and stream.context["h"].abs().sum() > 0
    assert not stream.context["h"].requires_grad
    assert window.context is None


def test_a_batch_that_is_not_finite_is_skipped_and_counted() -> None:
    agent = tiny_agent()
    buffer = filled_buffer(agent.config)
    agent.train_step(buffer.sample())
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    batch = buffer.sample()
    batch["reward"][2, 1] = torch.nan
    assert agent.train_step(batch)["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
    assert agent.train_step(buffer.sample())["skipped"] == 0.0


def test_a_dream_that_is_not_finite_is_skipped_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tiny_agent()
    buffer = filled_buffer(agent.config)
    agent.train_step(buffer.sample())
    before = copy.deepcopy(agent.behavior.state_dict())
    imagine = agent.world_model.imagine

    def broken(*given: Any) -> tuple[Any, ...]:
        states, actions, rewards, continues = imagine(*given)
        return states, actions, torch.full_like(rewards, torch.nan), continues

    with monkeypatch.context() as patch:
        patch.setattr(agent.world_model, "imagine", broken)
        assert agent.train_step(buffer.sample())["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.behavior.state_dict().items())
    assert agent.train_step(buffer.sample())["skipped"] == 0.0


def test_a_snapshot_does_not_learn_on() -> None:
    agent = tiny_agent()
    snapshot, buffer = agent.snapshot(), filled_buffer(agent.config)
    obs = torch.randn(4, 3, 3, generator=noise_source())
    before = play(snapshot, obs)
    assert torch.equal(before, play(agent, obs))
    for _ in range(3):
        agent.train_step(buffer.sample())
    assert torch.equal(play(snapshot, obs), before)
    assert not any(parameter.requires_grad for parameter in snapshot.parameters())


def test_the_seed_documents_sizes() -> None:
    sizes = {"hidden": 256, "gaussian_size": 64, "embedding": 256}
    agent = Dreamer(DreamerConfig.model_validate(SEED_PRESET | {"model": SEED_PRESET["model"] | sizes}))
    state = agent.initial_state(2)
    assert state["h"].shape == (2, 256) and state["z"].shape == (2, 64)
    assert agent.world_model.encode(torch.zeros(2, 18)).shape == (2, 256)


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
        agent = tiny_agent(**{**sections, "optimizer": {"world_rate": 1e-2, "actor_rate": 1e-2, "warmup": 0}})
        batch, policy = lessons_of(agent, lesson), copy.deepcopy(agent.behavior.policy.state_dict())
        losses[lesson] = [agent.train_prelude(batch)["loss/imitation"] for _ in range(60)]
        unchanged = all(torch.equal(value, policy[key]) for key, value in agent.behavior.policy.state_dict().items())
        assert unchanged is not lesson
        assert agent.updates == 60
    assert losses[True][-1] < 0.7 * losses[True][0] or losses[True][-1] < losses[True][0] - 1.0
    assert not any(losses[False])


def test_imitation_that_is_not_finite_leaves_the_slow_critic_alone() -> None:
    agent = tiny_agent()
    batch = lessons_of(agent, True)
    agent.train_prelude(batch)
    posteriors = agent.update_world(batch)[1]
    before = copy.deepcopy(agent.behavior.state_dict())
    batch["action"][2, 1] = torch.nan
    batch["reward"][2, 1] = torch.nan
    assert not agent.imitate(batch, posteriors)[0]
    assert all(torch.equal(value, before[key]) for key, value in agent.behavior.state_dict().items())


def test_the_prelude_leaves_out_what_is_not_finite() -> None:
    agent = tiny_agent()
    batch = lessons_of(agent, True)
    batch["obs"][2, 1, 0] = torch.nan
    before = copy.deepcopy(agent.state_dict())
    assert agent.train_prelude(batch)["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())
