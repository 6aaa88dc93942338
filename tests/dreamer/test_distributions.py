import math

import pytest
import torch

from dreamer.distributions import ActionGrid, CategoricalDist, GaussianDist, TanhNormal, TwoHot, logits_bins
from tests.dreamer.tiny import noise_source


def test_categorical_samples_follow_the_probabilities() -> None:
    probs = torch.tensor([0.1, 0.2, 0.7])
    dist = CategoricalDist(probs.log().expand(20_000, 1, 3))
    shares = dist.sample(noise_source()).mean((0, 1))
    torch.testing.assert_close(shares, probs, atol=0.015, rtol=0.0)


def test_categorical_sample_is_one_hot_and_passes_the_gradient_straight_through() -> None:
    logits = torch.randn(5, 4, 3, generator=noise_source(), requires_grad=True)
    sample = CategoricalDist(logits).sample(noise_source())
    assert torch.equal(sample.detach().sum(-1).round(decimals=5), torch.ones(5, 4))
    weights = torch.arange(3.0)
    (got,) = torch.autograd.grad((sample * weights).sum(), logits)
    (wanted,) = torch.autograd.grad((torch.softmax(logits, -1) * weights).sum(), logits)
    torch.testing.assert_close(got, wanted)


def test_unimix_bounds_every_probability_and_every_kl() -> None:
    sure, other = torch.tensor([[100.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 100.0]])
    dist = CategoricalDist(sure, unimix=0.01)
    torch.testing.assert_close(dist.probs.min(), torch.tensor(0.01 / 4))
    kl = dist.kl(CategoricalDist(other, unimix=0.01))
    assert 0 < float(kl) < math.log(4 / 0.01)


def test_categorical_kl_and_entropy_agree_with_torch() -> None:
    one, two = torch.randn(2, 6, 3, 5, generator=noise_source())
    ours, theirs = CategoricalDist(one), torch.distributions.Categorical(logits=one)
    reference = torch.distributions.kl_divergence(theirs, torch.distributions.Categorical(logits=two)).sum(-1)
    torch.testing.assert_close(ours.kl(CategoricalDist(two)), reference)
    torch.testing.assert_close(ours.entropy(), theirs.entropy().sum(-1))


def test_gaussian_kl_agrees_with_torch() -> None:
    mean, std = torch.randn(2, 4, 3, generator=noise_source()), torch.rand(2, 4, 3, generator=noise_source()) + 0.1
    kl = GaussianDist(mean[0], std[0]).kl(GaussianDist(mean[1], std[1]))
    normal = torch.distributions.Normal
    reference = torch.distributions.kl_divergence(normal(mean[0], std[0]), normal(mean[1], std[1])).sum(-1)
    torch.testing.assert_close(kl, reference)


def test_tanh_normal_density_agrees_with_torch() -> None:
    mean, std = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.2])
    action = torch.tensor([[0.1, -0.9], [0.8, 0.2]])
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, std), torch.distributions.transforms.TanhTransform()
    )
    torch.testing.assert_close(TanhNormal(mean, std).log_prob(action), squashed.log_prob(action).sum(-1))


def test_tanh_normal_stays_in_bounds_and_finite_at_them() -> None:
    dist = TanhNormal(torch.full((100, 1), 5.0), torch.ones(100, 1))
    action = dist.sample(noise_source())
    assert action.abs().max() <= 1.0
    assert torch.isfinite(dist.log_prob(torch.ones(100, 1))).all()


def mean_entropy(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return TanhNormal(mean.expand(50_000, 1), std.expand(50_000, 1)).entropy(noise_source()).mean()


def test_tanh_normal_entropy_is_that_of_the_squashed_variable() -> None:
    mean, std = torch.tensor([0.4]), torch.tensor([0.7])
    dist = TanhNormal(mean.expand(50_000, 1), std.expand(50_000, 1))
    by_density = -dist.log_prob(dist.sample(noise_source(3))).mean()
    torch.testing.assert_close(mean_entropy(mean, std), by_density, atol=0.01, rtol=0.0)
    assert mean_entropy(torch.tensor([0.0]), torch.tensor([0.9])) < math.log(2.0) + 1e-3  # no more than uniform


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.1), (2.0, 0.1), (-4.0, 1.0), (1.0, 0.5)])
def test_raising_the_entropy_never_means_less_chance(mean: float, std: float) -> None:
    """From a small deviation, or saturated at a bound, the entropy's gradient leads to more real spread."""
    parameters = torch.tensor([mean, math.log(std)], requires_grad=True)

    def entropy() -> torch.Tensor:
        return mean_entropy(parameters[:1], parameters[1:].exp())

    def spread() -> torch.Tensor:
        noise = torch.randn(50_000, generator=noise_source(7))
        return torch.tanh(parameters[0] + parameters[1].exp() * noise).std().detach()

    before, spread_before = entropy(), spread()
    (gradient,) = torch.autograd.grad(before, parameters)
    with torch.no_grad():
        parameters += 0.1 * gradient / gradient.norm()
    assert entropy() > before
    assert spread() > spread_before


def test_a_wider_gaussian_beyond_the_optimum_has_less_entropy() -> None:
    """The entropy of the Gaussian itself would keep growing while the actions pile up at the bounds."""
    assert mean_entropy(torch.tensor([0.0]), torch.tensor([6.0])) < mean_entropy(
        torch.tensor([0.0]), torch.tensor([0.9])
    )


def test_action_grid_draws_only_its_values_and_knows_their_probability() -> None:
    logits = torch.randn(2, 3, generator=noise_source())
    values = torch.tensor([-1.0, 0.0, 1.0])
    grid = ActionGrid(logits.expand(500, 2, 3), values, 0.0)
    actions = grid.sample(noise_source())
    assert set(actions.flatten().tolist()) == {-1.0, 0.0, 1.0}
    log_probs = torch.log_softmax(logits, -1)
    wanted = log_probs[0, 2] + log_probs[1, 0]
    torch.testing.assert_close(grid.log_prob(torch.tensor([0.9, -1.0]).expand(500, 2))[0], wanted)


@pytest.mark.parametrize("target", [-30.0, -1.0, 0.0, 0.37, 10.0])
def test_two_hot_fits_any_target(target: float) -> None:
    logits = torch.zeros(1, 63, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        TwoHot(logits, 4.0).loss(torch.tensor([target])).sum().backward()
        optimizer.step()
    torch.testing.assert_close(TwoHot(logits, 4.0).mean, torch.tensor([target]), rtol=0.02, atol=0.02)


def test_a_two_hot_target_means_itself() -> None:
    """What the loss compares with is softmax minus its gradient; its mean is the target, not a bit above it."""
    targets = torch.cat([torch.linspace(-53.0, 53.0, 400), torch.linspace(-0.2, 0.2, 41)])
    logits = torch.zeros(len(targets), 63, requires_grad=True)
    (gradient,) = torch.autograd.grad(TwoHot(logits, 4.0).loss(targets).sum(), logits)
    encoded = torch.softmax(logits.detach(), -1) - gradient
    torch.testing.assert_close(encoded @ logits_bins(63, 4.0, logits.device), targets, atol=2e-5, rtol=1e-5)
    assert TwoHot(logits, 4.0).loss(torch.full((len(targets),), torch.nan)).isnan().all()


def test_two_hot_of_zero_logits_is_exactly_zero() -> None:
    assert TwoHot(torch.zeros(7, 255), 20.0).mean.eq(0.0).all()


def test_two_hot_targets_beyond_the_last_bin_count_as_the_last_bin() -> None:
    logits = torch.randn(1, 63, generator=noise_source())
    end = logits_bins(63, 4.0, logits.device)[-1]
    torch.testing.assert_close(TwoHot(logits, 4.0).loss(end[None] * 50), TwoHot(logits, 4.0).loss(end[None]))


def test_the_grid_that_imitates_best_has_the_action_as_its_mean() -> None:
    actions = torch.tensor([[-1.0, 0.3, 1.0], [-0.4, 0.0, 0.75]])
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.2)
    for _ in range(300):
        optimizer.zero_grad()
        ActionGrid(logits, values, 0.0).cross_entropy(actions).sum().backward()
        optimizer.step()
    torch.testing.assert_close((torch.softmax(logits.detach(), -1) * values).sum(-1), actions, atol=0.02, rtol=0.0)


def test_imitating_a_grid_value_costs_its_log_probability() -> None:
    logits = torch.randn(5, 2, 3, generator=noise_source())
    grid = ActionGrid(logits, torch.tensor([-1.0, 0.0, 1.0]), 0.01)
    actions = torch.randint(-1, 2, (5, 2), generator=noise_source()).float()
    torch.testing.assert_close(grid.cross_entropy(actions), -grid.log_prob(actions))
