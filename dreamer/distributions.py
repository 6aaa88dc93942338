"""The distributions of the agent: latents (Gaussian, categorical), actions (squashed Gaussian, factorised) and scalars.

All batch axes lead; sampling takes its noise from the generator it is given.
"""

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dreamer.math_ops import symexp


def repeated(rows: Tensor, siblings: int) -> Tensor:
    """(batch, ...) -> (siblings x batch, ...): all rows once for each sibling, so siblings are ``batch`` rows apart."""
    return rows.repeat(siblings, *[1] * (rows.ndim - 1)) if siblings > 1 else rows


class GaussianDist:
    """Diagonal Gaussian latent: mean, std (..., size)."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    def sample(self, generator: Generator | None = None, siblings: int = 1) -> Tensor:
        """Reparametrised sample (..., size): gradients flow to mean and std. Siblings share noise, see ``repeated``."""
        noise = torch.empty_like(self.mean[: len(self.mean) // siblings]).normal_(generator=generator)
        return self.draw(repeated(noise, siblings))

    def draw(self, noise: Tensor) -> Tensor:
        """The sample (..., size) that standard normal ``noise`` (..., size) makes."""
        return self.mean + self.std * noise

    def mode(self) -> Tensor:
        """The mean (..., size)."""
        return self.mean

    def kl(self, other: "GaussianDist") -> Tensor:
        """KL(self || other) in nats, summed over the latent: (...)."""
        ratio = (self.std / other.std).square()
        shift = ((self.mean - other.mean) / other.std).square()
        return 0.5 * (ratio + shift - 1.0 - ratio.log()).sum(-1)


class CategoricalDist:
    """Independent categoricals with one-hot samples: logits (..., groups, classes).

    ``unimix`` mixes in that share of a uniform distribution, so that no probability, and no KL, degenerates.
    """

    def __init__(self, logits: Tensor, unimix: float = 0.0) -> None:
        self.logits, self.unimix = logits, unimix

    @cached_property
    def probs(self) -> Tensor:
        """Probabilities (..., groups, classes)."""
        probs = torch.softmax(self.logits, -1)
        mixed = torch.add(probs * (1.0 - self.unimix), self.unimix / self.logits.shape[-1])
        return mixed if self.unimix else probs

    @cached_property
    def log_probs(self) -> Tensor:
        """Log probabilities (..., groups, classes); computed only where they are asked for."""
        return torch.log(self.probs) if self.unimix else torch.log_softmax(self.logits, -1)

    def index_at(self, uniform: Tensor) -> Tensor:
        """The class indices (..., groups) at the share ``uniform`` (..., groups) of all probability."""
        edges = self.probs.detach().cumsum(-1)
        return (uniform[..., None] * edges[..., -1:] > edges[..., :-1]).sum(-1)

    def sample(self, generator: Generator | None = None, siblings: int = 1) -> Tensor:
        """One-hot sample (..., groups, classes) with the straight-through gradient of the probabilities.

        By inversion: one uniform number per categorical, the same for siblings.
        """
        shape = (len(self.logits) // siblings, *self.logits.shape[1:-1])
        uniform = repeated(torch.rand(shape, generator=generator, device=self.logits.device), siblings)
        one_hot = self._one_hot(self.index_at(uniform))
        return one_hot + (self.probs - self.probs.detach()) if self.logits.requires_grad else one_hot

    def draw(self, noise: Tensor) -> Tensor:
        """The one-hot sample (..., groups, classes) that uniform ``noise`` (..., groups) makes, without gradients."""
        return self._one_hot(self.index_at(noise))

    def mode(self) -> Tensor:
        """One-hot of the likeliest class (..., groups, classes)."""
        return self._one_hot(self.probs.argmax(-1))

    def log_prob(self, index: Tensor) -> Tensor:
        """Log probability of class indices (..., groups), summed over the groups: (...)."""
        return self.log_probs.gather(-1, index[..., None]).squeeze(-1).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, summed over the groups: (...)."""
        return -(self.probs * self.log_probs).sum((-2, -1))

    def kl(self, other: "CategoricalDist") -> Tensor:
        """KL(self || other) in nats, summed over the groups: (...)."""
        return (self.probs * (self.log_probs - other.log_probs)).sum((-2, -1))

    def _one_hot(self, index: Tensor) -> Tensor:
        return torch.zeros_like(self.probs.detach()).scatter_(-1, index[..., None], 1.0)


class TanhNormal:
    """Squashed Gaussian for bounded actions: tanh(mean + std noise), mean and std (..., action).

    Its entropy is that of the *squashed* variable. The entropy of the Gaussian under it would keep growing with the
    deviation while the actions pile up at the bounds, and a minimum deviation far below 0.24 makes it negative.
    """

    LIMIT = 1.0 - 1e-6  # atanh of float32 values closer to 1 is not finite

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    def sample(self, generator: Generator | None = None) -> Tensor:
        """Reparametrised action (..., action) in [-1, 1]."""
        return torch.tanh(self._raw(generator))

    def draw(self, noise: Tensor) -> Tensor:
        """The action (..., action) that standard normal ``noise`` (..., action) makes."""
        return torch.tanh(self.mean + self.std * noise)

    def mode(self) -> Tensor:
        """tanh of the mean (..., action): the median of the squashed variable."""
        return torch.tanh(self.mean)

    def likeliest(self, count: int) -> tuple[Tensor, Tensor]:
        """``count`` likely actions (count, action), the median first, and their log densities less its (count,).

        Of a single distribution. The others are what draws of always the same noise give. The densities are those of
        the Gaussian: those of the squashed variable are largest at the bounds, whatever the policy prefers.
        """
        noise = torch.randn(count, *self.mean.shape, generator=torch.Generator().manual_seed(0)).to(self.mean)
        noise[0] = 0.0
        return torch.tanh(self.mean + self.std * noise), -0.5 * noise.square().sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log density of actions (..., action), summed over the action: (...)."""
        raw = torch.atanh(action.clamp(-self.LIMIT, self.LIMIT))
        return (self._normal_log_prob(raw) - _log_tanh_slope(raw)).sum(-1)

    def cross_entropy(self, action: Tensor) -> Tensor:
        """How unlikely an action (..., action) to be imitated is: (...)."""
        return -self.log_prob(action)

    def entropy(self, generator: Generator | None = None) -> Tensor:
        """Differential entropy of the action, estimated from one reparametrised sample: (...).

        H[tanh(X)] = H[X] + E[log tanh'(X)], so its gradient reaches mean and std and is zero at the uniform-like
        optimum instead of pointing to ever larger deviations.
        """
        gaussian = 0.5 * math.log(2.0 * math.pi * math.e) + self.std.log()
        return (gaussian + _log_tanh_slope(self._raw(generator))).sum(-1)

    def _raw(self, generator: Generator | None) -> Tensor:
        return self.mean + self.std * torch.empty_like(self.mean).normal_(generator=generator)

    def _normal_log_prob(self, raw: Tensor) -> Tensor:
        scaled = (raw - self.mean) / self.std
        return -0.5 * scaled.square() - self.std.log() - 0.5 * math.log(2.0 * math.pi)


class ActionGrid:
    """A factorised categorical over a few values per action dimension: logits (..., action, values)."""

    def __init__(self, logits: Tensor, values: Tensor, unimix: float) -> None:
        self._dist = CategoricalDist(logits, unimix)
        self._values = values

    def sample(self, generator: Generator | None = None) -> Tensor:
        """An action (..., action) made of grid values."""
        return self._dist.sample(generator) @ self._values

    def draw(self, noise: Tensor) -> Tensor:
        """The action (..., action) that uniform ``noise`` (..., action) makes."""
        return self._values[self._dist.index_at(noise)]

    def mode(self) -> Tensor:
        """The likeliest value of every dimension (..., action)."""
        return self._values[self._dist.probs.argmax(-1)]

    def likeliest(self, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` likeliest actions (count, action), the mode first, and their log probabilities less its.

        Of a single distribution, without leading axes; fewer than ``count`` where the grid has fewer.
        """
        log_probs, indices = self._dist.log_probs.topk(min(count, len(self._values)), -1)
        actions = torch.cartesian_prod(*self._values[indices])
        joint = torch.cartesian_prod(*log_probs).sum(-1)
        best, places = joint.topk(min(count, len(joint)))
        return actions[places], best - best[0]

    def log_prob(self, action: Tensor) -> Tensor:
        """Log probability of the grid values nearest to ``action`` (..., action), summed: (...)."""
        return self._dist.log_prob((action[..., None] - self._values).abs().argmin(-1))

    def cross_entropy(self, action: Tensor) -> Tensor:
        """Cross-entropy (...) to actions (..., action) to be imitated; one between two values is shared by both.

        The policy that fits best then has the action as its mean, which is what counts at 50 actions a second.
        """
        values = self._values
        above = torch.searchsorted(values, action.contiguous()).clamp(1, len(values) - 1)[..., None]
        low, high = values[above - 1], values[above]
        share = ((action[..., None] - low) / (high - low)).clamp(0.0, 1.0)
        log_probs = self._dist.log_probs
        shared = (1.0 - share) * log_probs.gather(-1, above - 1) + share * log_probs.gather(-1, above)
        return -shared.sum((-1, -2))

    def entropy(self, generator: Generator | None = None) -> Tensor:
        """Exact entropy in nats (...); ``generator`` is only there to look like TanhNormal."""
        return self._dist.entropy()


class TwoHot:
    """A scalar as a distribution over bins that are evenly spaced in symlog space: logits (..., bins).

    The mean is taken over the symexp of the bins (DreamerV3, "symexp two-hot loss"), so zero logits mean exactly 0. A
    target is shared by its two bins so that this mean is the target: shares that are even in symlog space instead make
    every prediction a little too high, and with it what the next one is bootstrapped from.
    """

    def __init__(self, logits: Tensor, limit: float) -> None:
        self.logits = logits
        self._limit = limit

    @property
    def mean(self) -> Tensor:
        """The expected scalar (...)."""
        bins = logits_bins(self.logits.shape[-1], self._limit, self.logits.device)
        probs = torch.softmax(self.logits, -1)
        middle = bins.shape[0] // 2
        # Paired from both ends: rounding then cancels exactly for symmetric probabilities.
        paired = (probs[..., middle + 1 :] - probs[..., :middle].flip(-1)) * bins[middle + 1 :]
        return paired.sum(-1)

    def loss(self, target: Tensor, *pulls: tuple[float, Tensor]) -> Tensor:
        """Cross-entropy to the two bins around target (...), plus weights times those to further ones: (...)."""
        with torch.no_grad():
            shares = self._shares(target)
            for weight, other in pulls:
                shares += weight * self._shares(other)
        likelihood: Tensor = torch.linalg.vecdot(torch.log_softmax(self.logits, -1), shares)
        return -likelihood

    def _shares(self, target: Tensor) -> Tensor:
        """What the bins (..., bins) have of a target (...)."""
        bins = logits_bins(self.logits.shape[-1], self._limit, self.logits.device)
        # A NaN target stands beyond all bins and gives a NaN loss, which the learner skips.
        below = (torch.searchsorted(bins, target.contiguous(), right=True) - 1).clamp(0, len(bins) - 2)
        low_bin, high_bin = bins[below], bins[below + 1]
        above = (target.clamp(bins[0], bins[-1]) - low_bin) / (high_bin - low_bin)
        places, parts = torch.stack([below, below + 1], -1), torch.stack([1.0 - above, above], -1)
        return torch.zeros_like(self.logits).scatter_(-1, places, parts)


def logits_bins(count: int, limit: float, device: torch.device) -> Tensor:
    """The scalar values (count,) of the bins; antisymmetric around the middle one, which is 0."""
    return symexp(torch.linspace(-limit, limit, count, device=device))


def _log_tanh_slope(x: Tensor) -> Tensor:
    """log(1 - tanh(x)^2) without cancellation."""
    return 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))
