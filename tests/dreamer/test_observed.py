"""The observation in the latent state: exact where it is seen, predicted where it is dreamed."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dreamer.agent import Dreamer
from dreamer.replay import Batch, EpisodeBuffer, Mirror
from dreamer.sequence_model import State, carried, features
from dreamer.update import Updater
from dreamer.world_model import TICK
from tests.dreamer.test_play import shaken
from tests.dreamer.tiny import counting_episode, filled_buffer, noise_source, tiny_agent, tiny_config

OBSERVED: dict[str, Any] = {"model": {"observed": True}}


def observed_agent(**sections: dict[str, Any]) -> Dreamer:
    """An agent whose state carries the observation, with weights none of which is at rest."""
    model = OBSERVED["model"] | sections.pop("model", {})
    return shaken(tiny_agent(model=model, **sections))


def filtered(agent: Dreamer, batch: Batch, context: State | None = None) -> State:
    given = batch["obs"], batch["action"], batch["is_first"]
    return agent.world_model.observe_sequence(*given, context, noise_source())[0]


def test_what_is_seen_is_known_exactly() -> None:
    agent, batch = observed_agent(), filled_buffer(tiny_config()).sample()
    states = filtered(agent, batch)
    assert torch.equal(states["o"][..., :-1], agent.world_model.normalized(batch["obs"]))
    torch.testing.assert_close(agent.world_model.decode(states), batch["obs"])
    assert torch.equal(features(states), torch.cat([states[key] for key in ("h", "z", "o")], -1))
    after, _ = agent.act(agent.initial_state(4), batch["obs"][0], torch.ones(4).bool(), deterministic=True)
    assert torch.equal(after["o"], states["o"][0])


def test_a_round_begins_with_its_own_first_observation_in_the_state() -> None:
    agent, obs = observed_agent(), torch.randn(3, 3, generator=noise_source(2))
    world, first, action = agent.world_model, torch.ones(3).bool(), torch.full((3, 2), torch.nan)
    spoiled = {key: torch.full_like(table, torch.nan) for key, table in world.dynamics.initial(3).items()}
    begun = world.filter_step(spoiled, action, obs, first, noise_source())
    assert torch.equal(begun["o"], torch.cat([world.normalized(obs), torch.zeros(3, 1)], -1))
    known = {**world.dynamics.initial(3), "o": begun["o"] - torch.tensor([0.0, 0.0, 0.0, TICK])}
    same = world.filter_step(known, torch.zeros(3, 2), obs, ~first, noise_source())
    assert torch.equal(begun["o"], same["o"])


def test_the_clock_counts_the_steps_of_a_round_and_is_dreamed_on() -> None:
    agent, batch = observed_agent(), filled_buffer(tiny_config()).sample()
    batch["is_first"][:] = False
    batch["is_first"][3, 1] = True
    context = {**agent.world_model.dynamics.initial(4)}
    context["o"] = torch.tensor([[0.0, 0.0, 0.0, 0.5]]).expand(4, 4)
    clocks = filtered(agent, batch, context)["o"][..., -1]
    torch.testing.assert_close(clocks[:, 0], 0.5 + TICK * torch.arange(1, 7))
    torch.testing.assert_close(clocks[3:, 1], TICK * torch.arange(3))
    value = agent.behavior.value  # and what a state is worth can depend on it
    seen = features(filtered(agent, batch, context))[-1].detach().requires_grad_()
    value.mean(value(seen)).sum().backward()
    assert seen.grad is not None and (seen.grad[:, -1] != 0).all()


def test_a_deviation_below_the_smallest_can_still_grow() -> None:
    agent = tiny_agent()
    with torch.no_grad():
        agent.world_model.decoder_log_std.fill_(-9.0)
    agent.world_model.compute_loss(filled_buffer(agent.config).sample(), None, noise_source())[0].backward()
    gradient = agent.world_model.decoder_log_std.grad
    assert gradient is not None and (gradient < 0).all()  # the errors are larger than that: descent makes it grow


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("kind", ["dreamerv3", "seed"])
def test_filtering_step_by_step_is_filtering_the_sequence(kind: str, observed: bool) -> None:
    agent = shaken(tiny_agent(model={"kind": kind, "observed": observed}))
    batch = filled_buffer(tiny_config()).sample()
    batch["is_first"][3, 1] = True
    whole, random, state = filtered(agent, batch), noise_source(), agent.world_model.dynamics.initial(4)
    for t, obs in enumerate(batch["obs"]):
        state = agent.world_model.filter_step(state, batch["action"][t], obs, batch["is_first"][t], random)
        for key in carried(state):
            torch.testing.assert_close(state[key], whole[key][t], msg=f"{key} at step {t}")


def test_the_dream_goes_on_from_its_own_observations() -> None:
    """Each o of a dream is the one before and what the model says of it; nothing seen comes in after the start."""
    agent = observed_agent()
    dynamics, batch = agent.world_model.dynamics, filled_buffer(tiny_config()).sample()
    start = {key: part[-1] for key, part in carried(filtered(agent, batch)).items()}
    states, actions, *_ = agent.world_model.imagine(agent.behavior.policy, start, 5, noise_source())
    for t in range(5):
        predict, before = dynamics.next_observation, states["o"][t]
        memory = torch.cat([states["h"][t + 1], states["z"][t + 1]], -1)
        known = torch.cat([before, actions[t]], -1)
        moved = predict.net(torch.cat([memory, known], -1)) + predict.linear(known)
        torch.testing.assert_close(states["o"][t + 1], before + predict.spread * moved)
    assert torch.equal(features(states)[..., -4:], states["o"]) and not torch.equal(states["o"][0], states["o"][5])


def test_the_scale_of_a_prediction_is_what_one_step_changes() -> None:
    agent = tiny_agent(**OBSERVED)
    buffer = EpisodeBuffer(agent.config.replay, 3, 2, mirror=None, seed=0)
    for start in (0, 1000):
        buffer.add(counting_episode(start, 9))
    assert torch.equal(buffer.changes(100), torch.ones(18, 3))  # between two rounds nothing changes: they are others
    observations, changes = torch.tensor([[0.0], [4.0], [8.0]]).expand(3, 3), torch.tensor([[1.0], [3.0]]).expand(2, 3)
    agent.fit_normalizer(observations, changes)
    spread = agent.world_model.dynamics.next_observation.spread
    torch.testing.assert_close(spread, torch.tensor([2.0**0.5 / 4.0] * 3 + [TICK]))


def test_the_first_predictions_are_that_nothing_moves_and_their_likelihood_is_weighed_with_its_deviation() -> None:
    agent = tiny_agent(model=OBSERVED["model"], loss={"overshooting": 0})
    batch = filled_buffer(agent.config).sample()
    agent.fit_normalizer(batch["obs"].flatten(0, 1))
    world = agent.world_model
    with torch.no_grad():
        world.decoder_log_std.copy_(torch.tensor([-0.5, 0.0, 0.5, 1.0]))
        world.deviation_head[-1].bias.fill_(0.25)
    context = {**world.dynamics.initial(4), "o": torch.randn(4, 4, generator=noise_source(4))}
    _, posteriors, metrics = world.compute_loss(batch, context, noise_source())
    o, std = posteriors["o"], ((world.decoder_log_std + 0.25).exp().square() + 0.01**2).sqrt()
    errors = torch.cat([context["o"][None], o[:-1]]) - o
    scaled = errors / world.dynamics.next_observation.spread / std
    wanted = (std * (0.5 * scaled.square() + std.log())).sum(-1) * ~batch["is_first"]
    torch.testing.assert_close(metrics["loss/recon"], wanted.mean())


def test_the_deviation_is_that_of_the_state() -> None:
    """Where nothing moves it becomes small, and stays large where everything does."""
    updater = Updater(tiny_agent(**OBSERVED, optimizer={"world_rate": 1e-2}))
    world, buffer = updater.agent.world_model, filled_buffer(updater.agent.config)
    for episode in list(buffer.episodes)[::2]:
        episode.obs[:] = 3.0
    for _ in range(150):
        updater.learn_world(buffer.sample())
    seen: list[Tensor] = []
    world.deviation_head.register_forward_hook(lambda _head, _given, deviations: seen.append(deviations.detach()))
    batch = buffer.sample()
    world.compute_loss(batch, None, noise_source())
    at_rest = (batch["obs"] == 3.0).all(-1)[1:]
    deviations = seen[0][1:, :, :3].mean(-1)
    assert deviations[at_rest].mean() < deviations[~at_rest].mean() - 0.5


def test_overshooting_compares_the_open_loop_with_what_came_until_the_round_ends() -> None:
    agent = tiny_agent(model=OBSERVED["model"], loss={"overshooting": 3, "overshooting_weight": 0.5})
    batch = filled_buffer(agent.config).sample()
    batch["is_first"][1:] = False
    batch["is_first"][2, 0] = True
    _, posteriors, metrics = agent.world_model.compute_loss(batch, None, noise_source())
    o = posteriors["o"]  # the dreams of a model that has learned nothing stay where they began
    spread = agent.world_model.dynamics.next_observation.spread
    errors = [F.huber_loss(o[0] / spread, o[t] / spread, reduction="none").sum(-1) for t in (1, 2, 3)]
    for far in errors[1:]:
        far[0] = 0.0
    torch.testing.assert_close(metrics["loss/overshooting"], 0.5 * torch.stack(errors).mean())


def test_the_open_loop_teaches_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the KL nothing else reaches the prior."""
    monkeypatch.setattr("dreamer.sequence_model.FREE_NATS", 1e3)
    taught = []
    for steps in (0, 4):
        agent = observed_agent(loss={"overshooting": steps})
        batch = filled_buffer(agent.config).sample()
        agent.world_model.compute_loss(batch, None, noise_source())[0].backward()
        weight = agent.world_model.dynamics.prior_net[-1].weight
        taught.append(0.0 if weight.grad is None else float(weight.grad.abs().sum()))
    assert taught[0] == 0.0 < taught[1]


def test_streams_go_on_with_the_last_observation_of_their_lane_mirrored_or_not() -> None:
    updater = Updater(observed_agent())
    agent = updater.agent
    mirror = Mirror(torch.tensor([1.0, -1.0, -1.0]).numpy(), torch.tensor([1.0, -1.0]).numpy())
    buffer = EpisodeBuffer(agent.config.replay, 3, 2, mirror=mirror, seed=3)
    for start in range(5):
        buffer.add(counting_episode(100 * start, 40))
    for _ in range(3):
        batch = buffer.sample()
        before = updater.context
        updater.train_step(batch)
        assert updater.context is not None and updater.context.keys() == {"h", "z", "o"}
        assert torch.equal(updater.context["o"][:, :-1], agent.world_model.normalized(batch["obs"][-1]))
        if before is not None:  # each number counts on by one from window to window, downwards in the mirror
            going_on = ~batch["is_first"][0]
            step = (batch["obs"][0] - agent.world_model.decode(before))[going_on]
            torch.testing.assert_close(step.abs(), torch.ones_like(step), atol=1e-3, rtol=0.0)
            assert (step[:, 0] > 0).all()


@pytest.mark.parametrize("kind", ["dreamerv3", "seed"])
def test_dreams_sharpen_where_the_next_step_can_be_known(kind: str) -> None:
    """Observations that go on as they went: after some updates the open loop is closer than standing still."""
    agent = tiny_agent(model=OBSERVED["model"] | {"kind": kind}, optimizer={"world_rate": 3e-3})
    buffer = EpisodeBuffer(agent.config.replay, 3, 2, mirror=None, seed=3)
    for _ in range(6):
        buffer.add(counting_episode(0, 30))
    agent.fit_normalizer(buffer.observations(200), torch.randn(500, 3, generator=noise_source()))
    updater = Updater(agent)
    for _ in range(60):
        updater.learn_world(buffer.sample())
    batch = buffer.sample()
    batch["is_first"][1:] = False
    start = {key: part[0] for key, part in carried(filtered(agent, batch, updater.context)).items()}
    dreamed, still = _missed(agent, batch, start)
    assert dreamed < 0.5 * still


@torch.no_grad()
def _missed(agent: Dreamer, batch: Batch, state: State) -> tuple[float, float]:
    """How far the dream, and who stands still, is from the truth after three steps of rounds that go on."""
    start, goes_on = agent.world_model.decode(state), (batch["obs"][3] - batch["obs"][0])[:, 0] == 3.0
    for t in range(1, 4):
        state = agent.world_model.dynamics.prior_step(state, batch["action"][t], noise_source())
    off: Tensor = agent.world_model.decode(state) - batch["obs"][3]
    return float(off[goes_on].abs().mean()), float((start - batch["obs"][3])[goes_on].abs().mean())
