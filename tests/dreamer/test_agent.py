import pytest
import torch

from dreamer.agent import Dreamer
from dreamer.update import Updater
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent

SEED_PRESET = {
    "model": {"kind": "seed", "observed": False},
    "loss": {"kl_representation": 1.0},
    "behavior": {"replay_value": 0.0},
    "optimizer": {"kind": "adam"},
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


def test_a_snapshot_does_not_learn_on() -> None:
    agent = tiny_agent()
    snapshot, buffer = agent.snapshot(), filled_buffer(agent.config)
    obs = torch.randn(4, 3, 3, generator=noise_source())
    before = play(snapshot, obs)
    assert torch.equal(before, play(agent, obs))
    updater = Updater(agent)
    for _ in range(3):
        updater.train_step(buffer.sample())
    assert torch.equal(play(snapshot, obs), before)
    assert not any(parameter.requires_grad for parameter in snapshot.parameters())
