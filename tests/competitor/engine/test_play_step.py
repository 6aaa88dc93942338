"""The compiled step of play gives the numbers of the plain one, in batches of any size."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from competitor.engine.play_step import Step, play_step
from competitor.players import checkpoint_path
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def champion() -> Dreamer:
    agent, _ = load_checkpoint(checkpoint_path("champion"))
    return agent.requires_grad_(False)


def played(agent: Dreamer, step: Step, rows: int) -> list[Tensor]:
    """States and actions of 20 steps, a new round at every seventh."""
    noise = torch.Generator().manual_seed(2)
    state = agent.initial_state(rows)
    h, z, action, seen = state["h"], state["z"], state["action"], []
    obs = torch.zeros(rows, 18)
    with torch.inference_mode():
        for index in range(20):
            obs = obs + 0.2 * torch.randn(64, 18, generator=noise)[:rows]
            h, z, action, is_sound = step(h, z, action, obs, torch.full((rows,), index % 7 == 0))
            assert is_sound.all()
            seen += [h.clone(), z.clone(), action.clone()]
    return seen


@pytest.mark.parametrize("rows", [1, 3, 4, 33, 64])
def test_compiled_and_plain_play_alike(champion: Dreamer, rows: int) -> None:
    compiled = played(champion, play_step(champion, deterministic=True), rows)

    def plain(h: Tensor, z: Tensor, previous: Tensor, obs: Tensor, is_first: Tensor) -> tuple[Tensor, ...]:
        state, action = champion.act({"h": h, "z": z, "action": previous}, obs, is_first, deterministic=True)
        return state["h"], state["z"], action, torch.ones(rows)

    assert all(torch.equal(one, two) for one, two in zip(compiled, played(champion, plain, rows), strict=True))


def test_without_torchscript_the_network_plays_uncompiled(
    champion: Dreamer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiled = played(champion, play_step(champion, deterministic=True), 2)
    monkeypatch.delattr(torch.jit, "trace")
    monkeypatch.setattr("competitor.engine.play_step._programs", {})
    with caplog.at_level(logging.WARNING, "competitor.daemon"):
        plain = played(champion, play_step(champion, deterministic=True), 2)
    assert "without a compiled network" in caplog.text
    assert all(torch.equal(one, two) for one, two in zip(compiled, plain, strict=True))


def test_agents_of_one_kind_share_a_program_but_no_weights(champion: Dreamer, monkeypatch: pytest.MonkeyPatch) -> None:
    other = champion.snapshot()
    with torch.no_grad():
        other.behavior.policy.net[0].weight.mul_(-1.0)
    before = played(champion, play_step(champion, deterministic=True), 4)
    monkeypatch.delattr(torch.jit, "trace")  # nothing more is compiled
    others = played(other, play_step(other, deterministic=True), 4)
    again = played(champion, play_step(champion, deterministic=True), 4)
    assert all(torch.equal(one, two) for one, two in zip(before, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(before, others, strict=True))
