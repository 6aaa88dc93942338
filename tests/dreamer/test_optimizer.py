import pytest
import torch
from torch import nn

from dreamer.config import OptimizerConfig
from dreamer.networks import RMSNorm
from dreamer.optimizer import LaProp, Learner, clip_factors


def make_learner(rate: float = 0.1, *, decay_after: int = 0, **settings: object) -> tuple[nn.Linear, Learner]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    config = OptimizerConfig.model_validate({"warmup": 0} | settings)
    return layer, Learner(config, [(layer, rate)], decay_after=decay_after)


@pytest.mark.parametrize("kind", ["laprop", "adam"])
def test_learning_reaches_a_minimum(kind: str) -> None:
    layer, learner = make_learner(0.02, kind=kind)
    x = torch.eye(3)
    for _ in range(400):
        learner.apply((layer(x) - torch.tensor([[1.0], [-2.0], [0.5]])).square().sum())
    torch.testing.assert_close(layer(x).flatten(), torch.tensor([1.0, -2.0, 0.5]), atol=0.1, rtol=0.0)


def test_laprop_normalises_gradients_before_momentum() -> None:
    """After a gradient of 1 and one of 1000, each counts about as much; Adam's momentum would remember the 1000."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = LaProp([{"params": [weight], "lr": 1.0}], beta1=0.5, beta2=0.5, epsilon=1e-20)
    moves = []
    for gradient in (1.0, 1000.0, 1.0):
        weight.grad = torch.tensor([gradient])
        before = weight.item()
        optimizer.step()
        moves.append(before - weight.item())
    assert moves[0] == pytest.approx(1.0)
    assert max(moves) < 1.5


def test_agc_bounds_each_gradient_by_its_weight() -> None:
    weight, small, zero = (nn.Parameter(torch.full((4,), value)) for value in (2.0, 2.0, 0.0))
    weight.grad, small.grad, zero.grad = torch.full((4,), 100.0), torch.full((4,), 0.01), torch.ones(4)
    norms = torch.stack([p.grad.norm() for p in (weight, small, zero)])
    for p, factor in zip((weight, small, zero), clip_factors([weight, small, zero], norms, limit=0.3), strict=True):
        p.grad *= factor
    assert weight.grad.norm() == pytest.approx(0.3 * 4.0, rel=1e-4)
    assert small.grad.norm() == pytest.approx(0.02, rel=1e-4)  # small enough already
    assert zero.grad.norm() == pytest.approx(0.3 * 1e-3, rel=1e-4)  # so that zero weights can leave zero


def test_warmup_raises_the_rate_step_by_step() -> None:
    layer, learner = make_learner(rate=1.0, warmup=4)
    rates = []
    for _ in range(6):
        learner.apply(layer(torch.ones(1, 3)).sum())
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_rates_fall_in_inverse_proportion_to_the_updates() -> None:
    layer, learner = make_learner(rate=1.0, decay_after=2)
    rates = []
    for _ in range(8):
        learner.apply(layer(torch.ones(1, 3)).sum())
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates[:2] == [1.0, 1.0]
    assert rates[3] == pytest.approx(0.5) and rates[7] == pytest.approx(0.25)
    assert rates == sorted(rates, reverse=True)


def test_falling_rates_end_at_a_floor_from_which_a_long_run_still_learns() -> None:
    layer, learner = make_learner(rate=1.0, decay_after=2)
    for steps in (19, 100, 10**6):
        learner.steps = steps
        before = layer.weight.clone()
        learner.apply(layer(torch.ones(1, 3)).sum())
        assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
        assert not torch.equal(layer.weight, before)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    layer, learner = make_learner()
    before = layer.weight.clone()
    assert learner.apply(layer(torch.full((1, 3), torch.nan)).sum()) is None
    assert learner.apply((layer(torch.zeros(1, 3)) * 0).sqrt().sum()) is None  # finite loss, infinite gradient
    assert torch.equal(layer.weight, before) and learner.steps == 0
    assert learner.apply(layer(torch.ones(1, 3)).sum()) is not None
    assert not torch.equal(layer.weight, before)


def test_optimiser_memory_survives_a_round_trip() -> None:
    (one, learner), (two, other) = make_learner(), make_learner()
    x = torch.ones(1, 3)
    for _ in range(3):
        learner.apply(one(x).square().sum())
    two.load_state_dict(one.state_dict())
    other.load_state_tensors({k: v.clone() for k, v in learner.state_tensors().items()}, learner.steps)
    for layer, optimizer in ((one, learner), (two, other)):
        optimizer.apply(layer(x).square().sum())
    assert torch.equal(one.weight, two.weight)
    with pytest.raises(ValueError, match="shape"):
        other.load_state_tensors({"0.mean": torch.zeros(7)}, 1)


def test_rms_norm_agrees_with_torch() -> None:
    x, ours, theirs = torch.randn(5, 8), RMSNorm(8), nn.RMSNorm(8, eps=1e-4)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(1e3 * x), ours(2e3 * x), atol=1e-4, rtol=1e-4)
