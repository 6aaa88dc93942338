"""The static update is `Dreamer.train_step` of the plain modules, with shapes, addresses and decisions held still."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dreamer.agent import Dreamer
from dreamer.replay import Batch, EpisodeBuffer
from dreamer.speed import kernels
from dreamer.speed.captured import CapturedUpdate
from dreamer.speed.static_update import StaticUpdate
from tests.dreamer.test_agent import SEED_PRESET
from tests.dreamer.tiny import assert_close, filled_buffer, noise_source, tiny_agent

WARMING: dict[str, dict[str, Any]] = {"optimizer": {"warmup": 3, "decay_after": 3}}
NO_SIBLINGS: dict[str, dict[str, Any]] = {"behavior": {"siblings": 1}}
SETTINGS = [{}, WARMING, SEED_PRESET, {"optimizer": {"clip": 0.0}}, {"behavior": {"starts": 100}}, NO_SIBLINGS]
IDS = ["default", "warm-up", "seed", "no clipping", "more starts than states", "no siblings"]


def pair(settings: dict[str, dict[str, Any]]) -> tuple[Dreamer, CapturedUpdate, EpisodeBuffer]:
    """An agent that learns as ever, its twin that learns by static updates, and a replay.

    The first one's dreams begin where those of static updates do: they differ in nothing but how starts are chosen.
    """
    reference, static = tiny_agent(**settings), tiny_agent(**settings)
    reference.world_model.get_start_states = reference.world_model.get_fixed_starts  # type: ignore[method-assign]
    return reference, CapturedUpdate(static, None), filled_buffer(reference.config)


def parts_of(agent: Dreamer) -> dict[str, list[Tensor]]:
    """Copies of all that an update changes: weights, scale of the returns, memory of the optimisers, context."""
    parts = {"context": list((agent.context or {}).values()), "weights": list(agent.state_dict().values())}
    for name, learner in (("world", agent.world_learner), ("behavior", agent.behavior_learner)):
        for key, value in learner.state_tensors().items():
            parts.setdefault(f"{name} {key.partition('.')[2]}", []).append(value)
    return {name: [tensor.clone() for tensor in tensors] for name, tensors in parts.items()}


def assert_same_changes(one: Dreamer, two: Dreamer, before: dict[str, list[Tensor]]) -> None:
    """What updates have changed since ``before`` is the same but for rounding, part by part."""
    changed = parts_of(two)
    for name, ours in parts_of(one).items():
        if not ours:
            continue
        old = before.get(name) or [torch.zeros_like(tensor) for tensor in ours]
        moves = [[new - past for new, past in zip(tensors, old, strict=True)] for tensors in (ours, changed[name])]
        assert_close(*moves, 1e-3)
    for mine, other in ((one.world_learner, two.world_learner), (one.behavior_learner, two.behavior_learner)):
        assert mine.steps == other.steps


def spoiled(batch: Batch) -> Batch:
    return {**batch, "reward": torch.full_like(batch["reward"], torch.nan)}


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_five_static_updates_are_five_updates(settings: dict[str, dict[str, Any]]) -> None:
    reference, static, buffer = pair(settings)
    before = parts_of(reference)
    for _ in range(5):
        batch = buffer.sample()
        with kernels.using("plain"):
            wanted = reference.train_step(batch)
        got = static.train_step(batch)
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            assert got[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key
    assert_same_changes(static.agent, reference, before)
    assert static.agent.updates == reference.updates == 5


@pytest.mark.parametrize("settings", [{}, SEED_PRESET], ids=["default", "seed"])
def test_an_update_that_is_not_finite_leaves_everything_alone(settings: dict[str, dict[str, Any]]) -> None:
    _, static, buffer = pair(settings)
    for _ in range(2):
        assert static.train_step(buffer.sample())["skipped"] == 0.0
    before = parts_of(static.agent)
    assert static.train_step(spoiled(buffer.sample()))["skipped"] == 1.0
    after = parts_of(static.agent)
    assert all(torch.equal(one, two) for name in before for one, two in zip(before[name], after[name], strict=True))
    assert (static.agent.world_learner.steps, static.agent.behavior_learner.steps) == (2, 2)
    assert static.train_step(buffer.sample())["skipped"] == 0.0
    moved = zip(parts_of(static.agent)["weights"], before["weights"], strict=True)
    assert any(not torch.equal(one, two) for one, two in moved)


def test_a_behavior_that_is_not_finite_leaves_only_the_behavior_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, static, buffer = pair({})
    agent = static.agent
    static.train_step(buffer.sample())
    behavior = {key: value.clone() for key, value in agent.behavior.state_dict().items()}
    world = agent.world_model.reward_head.net[-1].weight.clone()
    loss = agent.behavior_loss

    def broken(*arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
        value, metrics = loss(*arguments)
        agent.behavior.return_scale.low.fill_(torch.nan)
        return value * torch.nan, metrics

    monkeypatch.setattr(agent, "behavior_loss", broken)
    assert static.train_step(buffer.sample())["skipped"] == 1.0
    assert all(torch.equal(value, behavior[key]) for key, value in agent.behavior.state_dict().items())
    assert not torch.equal(agent.world_model.reward_head.net[-1].weight, world)
    assert (agent.world_learner.steps, agent.behavior_learner.steps) == (2, 1)


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool


class Watch(TorchDispatchMode):
    """Fails where the host reads a tensor or makes one from its own numbers, and where a shape hangs on the data."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "lift_fresh", "unique", "randperm")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not any(name in str(func) for name in self.FORBIDDEN), f"{func} cannot be captured"
        indices = args[1] if str(func).startswith("aten.index.Tensor") else []
        flags = [index for index in indices if _is_mask(index)]
        assert not flags, f"{func} with a mask cannot be captured"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", [{}, SEED_PRESET, WARMING], ids=["default", "seed", "warm-up"])
def test_nothing_is_read_back_and_no_shape_follows_the_data(settings: dict[str, Any], precision: Any) -> None:
    agent = tiny_agent(**settings).settle(torch.device("cpu"), precision)
    buffer = filled_buffer(agent.config)
    update = StaticUpdate(agent, buffer.sample())
    for _ in range(2):
        update.load(buffer.sample())
        with Watch():
            update()


@pytest.mark.parametrize("settings", [{}, SEED_PRESET, WARMING], ids=["default", "seed", "warm-up"])
def test_everything_is_on_the_agents_device(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The device "meta" stands in for a GPU: it refuses to mix with the CPU, has no numbers and no generators."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    agent = tiny_agent(**settings).to("meta")
    agent.generator = agent.learning_generator = agent.dreaming_generator = None  # type: ignore[assignment]
    buffer = filled_buffer(agent.config)
    update = StaticUpdate(agent, buffer.sample())
    for _ in range(2):
        update.load(buffer.sample())
        assert update().device.type == "meta"
    memory = [*agent.world_learner.state_tensors().values(), *agent.behavior_learner.state_tensors().values()]
    assert {tensor.device.type for tensor in memory} == {"meta"}
    obs = torch.zeros(3, 3, device="meta")
    state, action = agent.act(agent.initial_state(3), obs, torch.ones(3, dtype=torch.bool, device="meta"))
    assert action.device.type == state["h"].device.type == "meta"


def test_tensors_stay_where_they_are() -> None:
    agent = tiny_agent()
    buffer = filled_buffer(agent.config)
    update = StaticUpdate(agent, buffer.sample())

    def addresses() -> list[int]:
        learners = (agent.world_learner, agent.behavior_learner)
        memory = [tensor for learner in learners for tensor in learner.state_tensors().values()]
        assert agent.context is not None
        tensors = [*agent.state_dict().values(), *memory, *agent.context.values(), *update._batch.values()]
        return [tensor.data_ptr() for tensor in tensors]

    update.load(buffer.sample())
    update()
    before = addresses()
    for _ in range(2):
        update.load(buffer.sample())
        update()
    assert addresses() == before


def test_fixed_starts_are_states_whose_round_goes_on() -> None:
    agent = tiny_agent()
    z = torch.arange(24.0).view(6, 4, 1)
    is_last = torch.zeros(6, 4, dtype=torch.bool)
    is_last[2], is_last[5, 1] = True, True
    alive = set(z[~is_last].flatten().tolist())
    for count in (3, 19, 21, 100):
        starts = agent.world_model.get_fixed_starts({"h": z, "z": z}, {"is_last": is_last}, count, noise_source())
        drawn = starts["z"].flatten().tolist()
        assert len(drawn) == min(count, 24) and set(drawn) <= alive
        assert len(set(drawn)) == min(count, len(alive))  # nothing twice before everything once


def test_the_watch_sees_what_cannot_be_captured() -> None:
    agent = tiny_agent()
    batch = filled_buffer(agent.config).sample()
    with pytest.raises(AssertionError, match="cannot be captured"), Watch():
        agent.train_step(batch)
