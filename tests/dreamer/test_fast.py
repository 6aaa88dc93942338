"""The door to dreamer/speed: what learns and plays is the same where the folder is missing, or no compiler is there."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.pipeline import Pipeline
from dreamer.speed import fused, native, play
from dreamer.update import Updater
from tests.dreamer.tiny import assert_close, filled_buffer, noise_source, tiny_agent


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was found out about the folder and the compiler is found out again after each test."""
    yield
    for found in (fast.speed, fused.load_chains, play.load_play):
        found.cache_clear()
    fast.use("auto")


def without_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dreamer.speed", None)
    fast.speed.cache_clear()
    assert fast.speed() is None


def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    fused.load_chains.cache_clear()
    play.load_play.cache_clear()


def without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    fused.load_chains.cache_clear()
    play.load_play.cache_clear()


def learned(agent: Dreamer) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """(loss and gradients of the world model, metrics of five overlapped updates, how far the weights moved)."""
    buffer = filled_buffer(agent.config)
    loss, _, _ = Updater(agent).world_loss(buffer.sample(), None)
    loss.backward()
    gradients = [loss] + [p.grad.clone() for p in agent.parameters() if p.grad is not None]
    before = [value.clone() for value in agent.state_dict().values()]
    pipeline = Pipeline(agent)
    metrics = [torch.tensor(list(pipeline.train_step(buffer.sample()).values())) for _ in range(5)]
    pipeline.close()
    moves = [new - old for new, old in zip(agent.state_dict().values(), before, strict=True)]
    return gradients, metrics, moves


def played(agent: Dreamer) -> list[Tensor]:
    """All that a few sampled steps of play leave behind."""
    state, random, seen = agent.initial_state(7), noise_source(), []
    for step in range(4):
        obs = torch.randn(7, 3, generator=random)
        state, action = agent.act(state, obs, torch.full((7,), step == 0), noise=agent.draw_noise(7, random))
        seen += [action, *state.values()]
    return seen


@pytest.mark.parametrize("missing", [without_the_folder, without_a_compiler, without_a_home])
def test_losses_gradients_updates_and_play_do_not_need_what_is_fast(
    missing: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast.use("auto")
    wanted, seen = learned(tiny_agent()), played(tiny_agent())
    missing(monkeypatch)
    assert fast.use("auto") == fast.use("native") == "plain"
    got = learned(tiny_agent())
    assert_close(got[0], wanted[0], 1e-5)
    assert_close(got[1], wanted[1], 1e-3)
    assert_close(got[2], wanted[2], 0.02)
    assert_close(played(tiny_agent()), seen, 1e-5)


def test_a_fault_within_the_folder_is_not_taken_for_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dreamer.speed")
    monkeypatch.setitem(sys.modules, "dreamer.speed.play", None)
    fast.speed.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="dreamer.speed.play"):
        fast.speed()


def test_choosing_the_plain_modules_holds_in_blocks_within_blocks() -> None:
    with fast.plainly():
        with fast.plainly():
            pass
        assert fast.kind() == "plain"
