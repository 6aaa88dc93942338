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


def test_return_scale_approaches_the_range_between_the_percentiles() -> None:
    scale = ReturnScale(rate=0.5)
    returns = torch.linspace(0.0, 100.0, 101)
    for _ in range(40):
        value = scale.update(returns)
    torch.testing.assert_close(value, torch.tensor(90.0))


def test_return_scale_has_a_floor_of_one() -> None:
    scale = ReturnScale(rate=0.5)
    assert scale.update(torch.linspace(0.0, 1e-3, 50)) == 1.0
