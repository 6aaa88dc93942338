"""The fast paths give what the plain modules give: values, gradients, dreams, updates."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dreamer import fast, speed
from dreamer.agent import Dreamer
from dreamer.config import ModelConfig
from dreamer.fast import Kind
from dreamer.optimizer import laprop_
from dreamer.sequence_model import State, features
from dreamer.speed import parallel
from dreamer.speed.fused import categorical_kls, run_perceptron
from dreamer.update import Updater
from tests.dreamer.tiny import assert_close, filled_buffer, helper, noise_source, tiny_agent

pytestmark = pytest.mark.skipif(fast.kind() != "native", reason="no C compiler")
KINDS: tuple[Kind, ...] = ("native", "plain")
SIZES = {"hidden": 24, "groups": 5, "classes": 7, "units": 17}


def agent_with(wanted: Kind, **sections: dict[str, object]) -> Dreamer:
    """An agent of odd sizes, so that no kernel meets full vectors only; its heads and scales are not at rest."""
    fast.use(wanted)
    agent = tiny_agent(**{"model": SIZES, **sections})
    random = noise_source(3)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    agent.behavior.synchronize()
    return agent


def batch_of(agent: Dreamer) -> dict[str, Tensor]:
    """Rounds that begin in the middle of windows, for which states have to be forgotten."""
    batch = filled_buffer(agent.config).sample()
    batch["is_first"][3, 1] = batch["is_first"][5, 2] = True
    return batch


@pytest.fixture(autouse=True)
def the_kl_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamer.sequence_model.FREE_NATS", 0.05)


def gradients(agent: Dreamer) -> dict[str, Tensor]:
    return {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}


def observed_world_pass(wanted: Kind) -> tuple[Tensor, State, dict[str, Tensor]]:
    return world_pass(wanted, observed=True)


def widely_predicting_world_pass(wanted: Kind) -> tuple[Tensor, State, dict[str, Tensor]]:
    return world_pass(wanted, observed=True, prediction_width=8)  # wider than all gates together


def observed_behavior_pass(wanted: Kind) -> tuple[Tensor, State, dict[str, Tensor]]:
    return behavior_pass(wanted, observed=True)


def world_pass(
    wanted: Kind, observed: bool = False, prediction_width: int = 2
) -> tuple[Tensor, State, dict[str, Tensor]]:
    agent = agent_with(wanted, model=SIZES | {"observed": observed, "prediction_width": prediction_width})
    random = noise_source(8)
    hot = torch.eye(7)[torch.randint(7, (4, 5), generator=random)].flatten(1)
    context = {"h": torch.randn(4, 24, generator=random), "z": hot}
    context |= {"o": torch.randn(4, 4, generator=random)} if observed else {}
    loss, posteriors, _ = agent.world_model.compute_loss(batch_of(agent), context, noise_source())
    loss.backward()
    return loss, posteriors, gradients(agent)


def behavior_pass(wanted: Kind, observed: bool = False) -> tuple[Tensor, State, dict[str, Tensor]]:
    agent = agent_with(wanted, model=SIZES | {"observed": observed})
    random = noise_source(9)
    start = {"h": torch.randn(300, 24, generator=random), "z": torch.zeros(300, 35)}
    start |= {"o": torch.randn(300, 4, generator=random)} if observed else {}
    dream = agent.world_model.imagine(agent.behavior.policy, start, 4, noise_source(4), siblings=2)
    actor, critic, *_ = agent.behavior.train_step(*dream, noise_source(5))
    (actor + critic).backward()
    return actor + critic, {**dream[0], "rewards": dream[2], "continues": dream[3]}, gradients(agent)


@pytest.mark.parametrize(
    "run",
    [world_pass, behavior_pass, observed_world_pass, observed_behavior_pass, widely_predicting_world_pass],
    ids=["world model", "dream and behaviour", "observed model", "observed dream and behaviour", "wide prediction"],
)
def test_loss_states_and_every_gradient_agree_with_the_plain_path(
    run: Callable[[Kind], tuple[Tensor, State, dict[str, Tensor]]],
) -> None:
    loss, states, grads = run("native")
    plain_loss, plain_states, plain_grads = run("plain")
    assert_close([loss], [plain_loss], 1e-5)
    for key in plain_states:
        assert_close([states[key]], [plain_states[key]], 1e-4)
    assert grads.keys() == plain_grads.keys()
    for name, gradient in plain_grads.items():
        assert_close([grads[name]], [gradient], 1e-3)


def test_passes_cut_into_parts_give_the_same_alone_and_with_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, states, grads = behavior_pass("native")
    monkeypatch.setattr(parallel, "FEWEST_ROWS", 30)
    alone = behavior_pass("native")
    assert_close([alone[0], alone[1]["z"]], [loss, states["z"]], 1e-5)
    assert_close([alone[2][name] for name in grads], list(grads.values()), 1e-3)
    with helper():
        assisted = behavior_pass("native")[2]
    assert all(torch.equal(assisted[name], gradient) for name, gradient in alone[2].items())


def test_five_updates_lead_to_the_weights_of_the_plain_path() -> None:
    moves = []
    for wanted in KINDS:
        agent = agent_with(wanted)
        updater = Updater(agent)
        buffer = filled_buffer(agent.config)
        before = [value.clone() for value in agent.state_dict().values()]
        for _ in range(5):
            updater.train_step(buffer.sample())
        moves.append([new - old for new, old in zip(agent.state_dict().values(), before, strict=True)])
    assert_close(*moves, 0.02)


def test_numbers_that_are_not_finite_are_seen_and_skipped() -> None:
    agent = agent_with("native")
    batch = batch_of(agent)
    batch["obs"][2, 1] = torch.nan
    before = {key: value.clone() for key, value in agent.state_dict().items()}
    assert Updater(agent).train_step(batch)["skipped"] == 1.0
    assert all(torch.equal(value, before[key]) for key, value in agent.state_dict().items())


def test_extreme_logits_and_inputs_stay_finite() -> None:
    logits = torch.tensor([[[400.0, -400.0, 0.0], [-1e6, 0.0, 1e6]]])
    kl = categorical_kls(logits, -logits, 0.01)[0]
    assert torch.isfinite(kl).all()
    weights = (torch.eye(3), torch.full((3,), 500.0), torch.eye(3), torch.zeros(3))
    result = run_perceptron(torch.tensor([[1e4, -1e4, 1.0]]), 1e-4, weights)
    assert torch.isfinite(result).all() and result[0, 1].abs() < 1e-6


def test_extreme_logits_in_filter_and_dream_are_certain_and_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelConfig, "unimix", 1e-9)
    agent = agent_with("native", model=SIZES)
    dynamics = agent.world_model.dynamics
    certain = torch.arange(35) % 7 == 3
    with torch.no_grad():
        for net in (dynamics.posterior_net, dynamics.prior_net):
            net[-1].bias += torch.where(certain, 1e6, -400.0)
    loss, posteriors, _ = agent.world_model.compute_loss(batch_of(agent), None, noise_source())
    loss.backward()
    start = {key: posteriors[key][-1].detach() for key in ("h", "z")}
    dream = agent.world_model.imagine(agent.behavior.policy, start, 3, noise_source())
    for z in (posteriors["z"], dream[0]["z"][1:]):
        assert torch.equal(z, certain.float().expand_as(z))
    assert all(torch.isfinite(gradient).all() for gradient in gradients(agent).values())


def test_tensors_need_not_lie_in_one_piece() -> None:
    random = noise_source(2)
    weights = (torch.randn(9, 8, generator=random), torch.ones(9), torch.randn(3, 9, generator=random), torch.zeros(3))
    for rows in (torch.randn(8, 1, generator=random).t(), torch.randn(8, 5, generator=random).t()):
        results = [run_perceptron(x, 1e-4, weights) for x in (rows, copied(rows))]
        torch.testing.assert_close(*results)
    logits = torch.randn(6, 20, generator=random)[:, :16].unflatten(1, (4, 4))
    kls = [categorical_kls(x, -x, 0.01) for x in (logits, copied(logits))]
    torch.testing.assert_close(*kls)


def test_marks_of_first_steps_need_not_lie_in_one_piece() -> None:
    agent = agent_with("native")
    batch = batch_of(agent)
    strided = batch | {"is_first": batch["is_first"].t().contiguous().t()}
    one, two = (agent.world_model.compute_loss(given, None, noise_source())[0] for given in (batch, strided))
    torch.testing.assert_close(one, two)


def copied(tensor: Tensor) -> Tensor:
    """The same numbers, row by row in memory."""
    return torch.tensor(tensor.tolist())


@pytest.mark.parametrize("rows", [0, 1, 513, 900])
def test_a_perceptron_and_its_gradients_are_those_of_the_modules(rows: int) -> None:
    agent = agent_with("native")
    head, random = agent.world_model.reward_head.net, noise_source(rows)
    x, results = torch.randn(rows, 24 + 35, generator=random), []
    weight = torch.randn(rows, 63, generator=random)
    for wanted in KINDS:
        fast.use(wanted)
        given = x.clone().requires_grad_()
        out = head(given)
        results.append([out, *torch.autograd.grad((out * weight).sum(), [given, *head.parameters()])])
    for got, plain in zip(*results, strict=True):
        assert_close([got], [plain], 1e-4)


def rollouts(agent: Dreamer, rows: int, scale: float) -> list[Tensor]:
    """Filter and, from what it has filtered, open loop: all that they give, and every gradient."""
    world, random = agent.world_model, noise_source(rows)
    dynamics, latent, steps = world.dynamics, world.dynamics.latent_size, 5
    sizes = [17, 2, 4, 24 + latent]
    table = (scale * torch.randn(sum(sizes), 2 * rows, steps, generator=random)).permute(2, 1, 0)[:, ::2]
    given = table.detach().requires_grad_()  # of which no row lies in one piece
    embeds, actions, before, weight = torch.split(given, sizes, 2)
    first = torch.rand(rows, steps, generator=random).t() < 0.3
    state = {"h": embeds.new_ones(rows, 24), "z": embeds.new_zeros(rows, latent), "o": before[0].detach()}
    posteriors, _ = dynamics.observe_sequence(embeds, actions.detach(), first, state, noise_source(3), before.detach())
    after = {"h": posteriors["h"][1], "z": posteriors["z"][1], "o": before[1].detach()}
    dreamed = dynamics.open_loop(after, actions[2:].detach(), noise_source(4))
    loss = (features(posteriors) * weight.detach()).sum() + posteriors["logits"].square().sum() + dreamed.square().sum()
    parameters = [p for name, p in dynamics.named_parameters() if "prior" in name or "predict" not in name]
    found = torch.autograd.grad(loss, [given, *parameters])
    return [posteriors["h"], posteriors["logits"], dreamed, *found, posteriors["z"]]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize(("rows", "classes"), [(0, 7), (1, 2), (3, 16), (17, 7)])
def test_filter_and_open_loop_and_their_gradients_are_those_of_the_modules(
    rows: int, classes: int, scale: float
) -> None:
    results = []
    for wanted in KINDS:
        agent = agent_with(wanted, model=SIZES | {"observed": True, "classes": classes})
        results.append(rollouts(agent, rows, scale))
    assert torch.equal(results[0].pop().argmax(-1), results[1].pop().argmax(-1))
    for got, plain in zip(*results, strict=True):
        assert_close([got], [plain], 1e-3)


def test_a_step_of_laprop_is_that_of_torch() -> None:
    random, results = noise_source(6), []
    tensors = [torch.randn(size, generator=random) for size in (1, 5, 33, 1001)]
    gradients = [
        torch.cat([torch.zeros(1), g[1:] * 10.0 ** torch.randint(-15, 15, g[1:].shape, generator=random)])
        for g in tensors
    ]
    for step in (speed.laprop_, laprop_):
        weights, means, squares = ([t.clone() for t in tensors] for _ in range(3))
        squares = [square.square() for square in squares]
        for _ in range(3):
            step(weights, [g.clone() for g in gradients], squares, means, [0.5] * 4, 0.9, 0.99, 0.03, 1e-3, 1e-20)
        results.append([*weights, *means, *squares])
    for got, plain in zip(*results, strict=True):
        torch.testing.assert_close(got, plain)
