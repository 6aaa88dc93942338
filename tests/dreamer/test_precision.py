"""Products in bfloat16 through torch.autocast: close to float32, and nothing else is rounded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.networks import RMSNorm
from dreamer.update import Updater
from tests.dreamer.test_agent import SEED_PRESET
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent

CPU = torch.device("cpu")


def rounding(**settings: Any) -> Dreamer:
    return tiny_agent(**settings).settle(CPU, "bfloat16")


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_the_losses_are_those_of_float32_within_the_rounding(settings: dict[str, Any]) -> None:
    exact, rounded = tiny_agent(**settings), rounding(**settings)
    batch = filled_buffer(exact.config).sample()
    with fast.using("plain"):
        wanted, got = (Updater(agent).world_loss(batch, None)[0] for agent in (exact, rounded))
    assert got.dtype == torch.float32 and not torch.equal(got, wanted)
    assert got.item() == pytest.approx(wanted.item(), rel=0.02, abs=0.02)


def world_gradient(agent: Dreamer) -> Tensor:
    batch = filled_buffer(agent.config).sample()
    with fast.using("plain"):
        Updater(agent).world_loss(batch, None)[0].backward()
    return gradient(agent)


def behavior_gradient(agent: Dreamer) -> Tensor:
    """Of actor and critic in a given dream; one that is dreamed anew may part at a rounded step."""
    random, latent = noise_source(), agent.world_model.dynamics.latent_size
    states = {"h": torch.randn(6, 64, 16, generator=random), "z": torch.randn(6, 64, latent, generator=random)}
    actions = torch.randint(-1, 2, (5, 64, 2), generator=random).float() * 0.9
    rewards = torch.randn(5, 64, generator=random)
    with fast.using("plain"), Updater(agent).products():
        actor, critic, *_ = agent.behavior.train_step(states, actions, rewards, torch.ones(5, 64), random)
    (actor + critic).backward()
    return gradient(agent)


def gradient(agent: Dreamer) -> Tensor:
    return torch.cat([p.grad.flatten() for p in agent.parameters() if p.grad is not None])


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
@pytest.mark.parametrize("part", [world_gradient, behavior_gradient])
def test_gradients_are_those_of_float32_within_the_rounding(
    part: Callable[[Dreamer], Tensor], settings: dict[str, Any]
) -> None:
    wanted, got = part(tiny_agent(**settings)), part(rounding(**settings))
    assert got.dtype == torch.float32 and not torch.equal(got, wanted)
    assert (got - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_every_weight_learns_as_in_float32(settings: dict[str, Any]) -> None:
    """Also those whose first product in an update is made in the dream, where there are no gradients."""
    updater = Updater(rounding(**settings))
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    before = {key: value.clone() for key, value in agent.named_parameters()}
    for _ in range(3):
        metrics = updater.train_step(buffer.sample())
    assert metrics["skipped"] == 0.0
    still = {key for key, value in agent.named_parameters() if torch.equal(value, before[key])}
    assert still <= {"world_model.decoder_log_std"}  # which no squared error depends on


def test_learning_lowers_the_world_models_loss() -> None:
    updater = Updater(rounding(optimizer={"world_rate": 3e-3}))
    buffer = filled_buffer(updater.agent.config)
    losses = [updater.train_step(buffer.sample())["loss/world"] for _ in range(120)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_weights_memory_and_norms_stay_float32() -> None:
    agent = rounding()
    updater = Updater(agent)
    updater.train_step(filled_buffer(agent.config).sample())
    tensors = [*agent.state_dict().values(), *updater.world_learner.state_tensors().values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    x = torch.randn(5, 16, generator=noise_source())
    norm = RMSNorm(16)
    with Updater(agent).products():
        rounded = norm(x)
    torch.testing.assert_close(rounded, norm(x))


def test_play_is_in_float32() -> None:
    exact, rounded = tiny_agent(), rounding()
    obs = torch.randn(5, 3, generator=noise_source())
    actions = [one.act(one.initial_state(5), obs, torch.ones(5).bool())[1] for one in (exact, rounded)]
    assert torch.equal(*actions)
