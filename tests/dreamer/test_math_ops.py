import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamer.math_ops import ReturnScale, lambda_returns, symexp, symlog


@given(st.floats(-1e6, 1e6, width=32))
def test_symexp_inverts_symlog(value: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=1e-9, atol=1e-9)


def test_symlog_compresses_and_keeps_the_sign() -> None:
    torch.testing.assert_close(symlog(torch.tensor([-9.0, 0.0, 9.0])), torch.log(torch.tensor([0.1, 1.0, 10.0])))


def naive_returns(rewards, values, continues, bootstrap, gamma, lambda_):
    """The definition, step by step: G_t = r_t + gamma c_t [(1 - lambda) V_{t+1} + lambda G_{t+1}]."""
    following, result = [*values[1:], bootstrap], {}
    result[len(rewards)] = bootstrap
    for t in range(len(rewards) - 1, -1, -1):
        mixed = (1 - lambda_) * following[t] + lambda_ * result[t + 1]
        result[t] = rewards[t] + gamma * continues[t] * mixed
    return torch.stack([result[t] for t in range(len(rewards))])


def test_lambda_returns_follow_the_definition() -> None:
    random = torch.Generator().manual_seed(0)
    rewards, values, continues = torch.rand(3, 7, 4, generator=random)
    bootstrap = torch.rand(4, generator=random)
    got = lambda_returns(rewards, values, continues, bootstrap, 0.9, 0.95)
    torch.testing.assert_close(got, naive_returns(rewards, values, continues, bootstrap, 0.9, 0.95))


def test_lambda_one_is_monte_carlo_and_lambda_zero_is_one_step() -> None:
    rewards, values, alive = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([5.0, 6.0, 7.0]), torch.ones(3)
    bootstrap = torch.tensor(8.0)
    monte_carlo = lambda_returns(rewards, values, alive, bootstrap, 0.5, 1.0)
    torch.testing.assert_close(monte_carlo[0], torch.tensor(1 + 0.5 * (2 + 0.5 * (4 + 0.5 * 8))))
    one_step = lambda_returns(rewards, values, alive, bootstrap, 0.5, 0.0)
    torch.testing.assert_close(one_step, torch.tensor([1 + 3.0, 2 + 3.5, 4 + 4.0]))


def test_nothing_flows_back_over_the_end_of_a_round() -> None:
    rewards, values = torch.tensor([0.0, 1.0, 100.0]), torch.zeros(3)
    returns = lambda_returns(rewards, values, torch.tensor([1.0, 0.0, 1.0]), torch.tensor(100.0), 1.0, 0.95)
    torch.testing.assert_close(returns[1], torch.tensor(1.0))
    torch.testing.assert_close(returns[0], torch.tensor(0.95))


def test_return_scale_approaches_the_range_between_the_percentiles() -> None:
    scale = ReturnScale(rate=0.5)
    returns = torch.linspace(0.0, 100.0, 101)
    for _ in range(40):
        value = scale.update(returns)
    torch.testing.assert_close(value, torch.tensor(90.0))


def test_return_scale_has_a_floor_of_one() -> None:
    scale = ReturnScale(rate=0.5)
    assert scale.update(torch.linspace(0.0, 1e-3, 50)) == 1.0


def test_return_scale_ignores_single_outliers() -> None:
    calm, wild = ReturnScale(rate=1.0), ReturnScale(rate=1.0)
    returns = torch.linspace(-10.0, 10.0, 1000)
    calm.update(returns)
    wild.update(torch.cat([returns, torch.tensor([1e6])]))
    torch.testing.assert_close(wild.value, calm.value, rtol=1e-2, atol=0.0)
