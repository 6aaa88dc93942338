"""A step of play gives a row the same bits alone and in any batch, compiled or not, deterministic or sampled."""

from typing import Any

import pytest
import torch
from torch import Tensor

from competitor.config import load_config
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from dreamer.fast import Kind
from dreamer.update import Updater
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent

ROADS: list[Kind] = ["plain"] + (["native"] if fast.kind() == "native" else [])
PRESETS = ["default", "seed", "debug", "plain"]
ODD: dict[str, Any] = {"observed": False, "hidden": 23, "groups": 5, "classes": 7, "units": 17}
MIXED: list[dict[str, Any]] = [
    {"model": ODD},
    {"model": ODD | {"kind": "seed"}},
    {"model": ODD | {"observed": True}},
    {"model": ODD | {"observed": True, "kind": "seed"}},
]


def agent_of(preset: str) -> Dreamer:
    plain = preset == "plain"
    config = load_config(preset="default" if plain else preset, overrides=["model.observed=false"] if plain else [])
    sections = {name: getattr(config, name) for name in DreamerConfig.model_fields}
    return shaken(Dreamer(DreamerConfig(**sections), seed=1))


def shaken(agent: Dreamer) -> Dreamer:
    """Weights none of which is at rest, and a policy that is sure of itself."""
    random = noise_source(3)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
        agent.behavior.policy.net[-1].weight.mul_(5.0)
    agent.fit_normalizer(torch.randn(50, agent.obs_size, generator=random) * 2.0 + 0.3)
    return agent


def scene(agent: Dreamer, rows: int, steps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, first steps and noise of so many rounds, each (steps, rows, ...)."""
    random = noise_source(5)
    obs = torch.randn(steps, rows, agent.obs_size, generator=random)
    is_first = torch.rand(steps, rows, generator=random) < 0.3
    is_first[0] = True
    noise = torch.stack([agent.draw_noise(rows, random) for _ in range(steps)])
    return obs, is_first, noise


def played(agent: Dreamer, rows: Tensor, given: tuple[Tensor, Tensor, Tensor], deterministic: bool) -> Tensor:
    """What the rows of a scene come to as one batch: (steps, rows, all of state and action)."""
    state, seen = agent.initial_state(len(rows)), []
    for obs, is_first, noise in zip(*given, strict=True):
        chance = None if deterministic else noise[rows]
        state, action = agent.act(state, obs[rows], is_first[rows], deterministic=deterministic, noise=chance)
        seen.append(torch.cat([*state.values(), action], 1))
    return torch.stack(seen)


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "sampled"])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("road", ROADS)
def test_a_row_is_the_same_alone_and_in_any_batch(road: Kind, preset: str, deterministic: bool) -> None:
    fast.use(road)
    agent, most = agent_of(preset), {"native": 256, "plain": 37}[road]
    assert road == "plain" or agent._native_play is not None
    given = scene(agent, most)
    together = played(agent, torch.arange(most), given, deterministic)
    assert torch.isfinite(together).all()
    sizes = (1, 2, 5, 8, 17) if road == "plain" else (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 64, 127, 255)
    for size in sizes:
        rows = torch.randperm(most, generator=noise_source(size))[:size]
        assert torch.equal(played(agent, rows, given, deterministic), together[:, rows]), size


@pytest.mark.skipif("native" not in ROADS, reason="no C compiler")
@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "sampled"])
@pytest.mark.parametrize("settings", MIXED)
def test_compiled_and_plain_steps_agree(settings: dict[str, Any], deterministic: bool) -> None:
    agent = shaken(tiny_agent(**settings))
    obs, is_first, noise = (table[0] for table in scene(agent, 21))
    is_first[::2] = False
    state = {key: torch.randn(table.shape, generator=noise_source(2)) for key, table in agent.initial_state(21).items()}
    results = []
    for road in ROADS:
        fast.use(road)
        after, _ = agent.act(state, obs, is_first, deterministic=deterministic, noise=noise)
        results.append(after)
    for key, plain in results[0].items():
        assert (results[1][key] - plain).norm() <= 1e-5 * plain.norm(), key


@pytest.mark.parametrize("road", ROADS)
def test_weights_that_changed_are_played_at_once(road: Kind) -> None:
    fast.use(road)
    agent = shaken(tiny_agent())
    given = scene(agent, 6)
    before = played(agent, torch.arange(6), given, True)
    changed = agent.snapshot()
    with torch.no_grad():
        changed.world_model.encoder[0].weight.mul_(-1.0)
    agent.load_state_dict(changed.state_dict())
    after = played(agent, torch.arange(6), given, True)
    assert not torch.equal(after, before)
    assert torch.equal(after, played(changed, torch.arange(6), given, True))


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("part", ["posterior", "policy"])
def test_a_choice_from_nan_is_no_action(road: Kind, part: str) -> None:
    fast.use(road)
    agent = shaken(tiny_agent())
    net = agent.behavior.policy.net if part == "policy" else agent.world_model.dynamics.posterior_net
    with torch.no_grad():
        net[-1].bias[0] = torch.nan
    _, action = agent.act(agent.initial_state(3), torch.zeros(3, 3), torch.ones(3).bool(), deterministic=True)
    assert action.isnan().all()


@pytest.mark.parametrize("road", ROADS)
def test_a_row_that_is_not_finite_spoils_no_other(road: Kind) -> None:
    fast.use(road)
    agent = shaken(tiny_agent())
    obs, is_first, _ = (table[0] for table in scene(agent, 9))
    _, sound = agent.act(agent.initial_state(9), obs, is_first, deterministic=True)
    obs[4] = torch.nan
    _, action = agent.act(agent.initial_state(9), obs, is_first, deterministic=True)
    others = torch.arange(9) != 4
    assert action[4].isnan().all() and torch.equal(action[others], sound[others])


@pytest.mark.parametrize("road", ROADS)
def test_learning_is_seen_by_who_plays(road: Kind) -> None:
    """The compiled step of the optimiser writes the weights behind torch's back."""
    fast.use(road)
    agent = shaken(tiny_agent())
    given = scene(agent, 4)
    before = played(agent, torch.arange(4), given, True)
    Updater(agent).train_step(filled_buffer(agent.config).sample())
    after = played(agent, torch.arange(4), given, True)
    assert not torch.equal(after, before)
    assert torch.equal(after, played(agent.snapshot(), torch.arange(4), given, True))
