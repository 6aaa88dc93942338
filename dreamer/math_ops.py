"""Small pieces of mathematics: symlog, returns and their scale."""

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(|x| + 1): compresses large values and keeps small ones (DreamerV3, arXiv 2301.04104, eq. 9)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """sign(x) (exp(|x|) - 1), the inverse of symlog."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def lambda_returns(
    rewards: Tensor, values: Tensor, continues: Tensor, bootstrap: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """TD(lambda) targets: G_t = r_t + gamma c_t [(1 - lambda) V_{t+1} + lambda G_{t+1}].

    rewards, continues (time, ...): of the transition from state t to t + 1. values (time, ...): V_t of the states the
    transitions leave. bootstrap (...): V of the state after the last transition, where the recursion starts.
    Source: Sutton & Barto, Reinforcement Learning, 12.3; DreamerV3 eq. 10.
    """
    assert rewards.shape == values.shape == continues.shape and bootstrap.shape == rewards.shape[1:]
    next_values = torch.cat([values[1:], bootstrap[None]])
    discounts = gamma * continues
    one_step = rewards + discounts * (1.0 - lambda_) * next_values
    target, targets = bootstrap, []
    for t in reversed(range(len(rewards))):
        target = one_step[t] + discounts[t] * lambda_ * target
        targets.append(target)
    return torch.stack(targets[::-1])


class ReturnScale(nn.Module):
    """Range of the returns, from the 5th to the 95th percentile, as an exponential moving average with a floor of 1.

    Dividing advantages by it makes one entropy scale fit sparse and dense rewards; the floor keeps noise around zero
    returns from being blown up (DreamerV3 eq. 11-12).
    """

    low: Tensor
    high: Tensor

    def __init__(self, rate: float = 0.01, floor: float = 1.0) -> None:
        super().__init__()
        self.rate, self.floor = rate, floor
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> Tensor:
        """Move towards the percentiles of ``returns`` (any shape) and give the scale to divide by, a scalar."""
        low, high = torch.quantile(returns.flatten(), returns.new_tensor([0.05, 0.95]))
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return self.value

    @property
    def value(self) -> Tensor:
        """The current scale, at least the floor."""
        return torch.clamp(self.high - self.low, min=self.floor)
