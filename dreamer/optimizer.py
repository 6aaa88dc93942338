"""From gradients to steps: optimiser, clipping, warm-up and decay, and what happens when a number is not finite.

Nothing here knows what the losses mean.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dreamer.config import OptimizerConfig
from dreamer.fast import native

LOWEST_SHARE = 0.1
"""Of a rate that falls: without a floor, what a run of hours meets last hardly moves its weights, and a continued run
cannot adapt. A tenth of the default is still three times the rate at which DreamerV3 learns throughout (4e-5)."""
SMALLEST_NORM = 1e-3


class LaProp(torch.optim.Optimizer):
    """Momentum over normalised gradients (LaProp, arXiv 2002.04839); Adam normalises the momentum instead.

    Decoupling the two lets epsilon be tiny and keeps steps bounded when gradients change scale suddenly.
    """

    def __init__(self, groups: list[dict[str, object]], beta1: float, beta2: float, epsilon: float) -> None:
        super().__init__(groups, {"lr": 1e-3, "beta1": beta1, "beta2": beta2, "epsilon": epsilon})
        self.factors: dict[Tensor, float] = {}
        """By which the next step scales each gradient first; 1 where nothing is said."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step_group(group, parameters)

    def _step_group(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"count": torch.zeros(()), "square": torch.zeros_like(p), "mean": torch.zeros_like(p)}
        states = [self.state[p] for p in parameters]
        torch._foreach_add_([state["count"] for state in states], 1.0)
        count, beta1, beta2 = float(states[0]["count"]), group["beta1"], group["beta2"]
        rate = group["lr"] / (1.0 - beta1**count)
        given = (
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["square"] for state in states],
            [state["mean"] for state in states],
            [self.factors.get(p, 1.0) for p in parameters],
        )
        fast = native(parameters[0]) if all(t.is_contiguous() for t in (*parameters, *given[1])) else None
        step = fast.laprop_ if fast else laprop_
        step(*given, beta1, beta2, 1.0 - beta2**count, rate, group["epsilon"])


def laprop_(
    weights: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    means: list[Tensor],
    factors: list[float],
    beta1: float,
    beta2: float,
    square_correction: float,
    rate: float,
    epsilon: float,
) -> None:
    """One step of LaProp on many tensors; factors scale the gradients first, rate holds the mean's correction."""
    torch._foreach_mul_(gradients, factors)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
    scale = torch._foreach_div(squares, square_correction)
    torch._foreach_sqrt_(scale)
    torch._foreach_add_(scale, epsilon)
    torch._foreach_lerp_(means, torch._foreach_div(gradients, scale), 1.0 - beta1)
    torch._foreach_add_(weights, means, alpha=-rate)


@torch.no_grad()
def clip_factors(weights: list[Tensor], norms: Tensor, limit: float) -> Tensor:
    """Adaptive gradient clipping (AGC, arXiv 2102.06171): each gradient's norm at most ``limit`` times its weight's.

    norms (n,) are those of the gradients. Returns the factors (n,), at most 1, that do it; SMALLEST_NORM stands
    in for the norm of weights that start at zero.
    """
    weight_norms = torch.stack(torch._foreach_norm(weights)).clamp(min=SMALLEST_NORM)
    return (limit * weight_norms / norms.clamp(min=1e-12)).clamp(max=1.0)


class Learner:
    """Steps parts of a model (modules or parameters), each with its own learning rate, in one optimiser."""

    def __init__(
        self,
        config: OptimizerConfig,
        parts: Iterable[tuple[nn.Module | list[nn.Parameter], float]],
        *,
        decay_after: int = 0,
    ) -> None:
        """decay_after: updates after which the rates fall; 0: never."""
        self.config, self.decay_after = config, decay_after
        self.parameters: list[nn.Parameter] = []
        groups: list[dict[str, object]] = []
        for part, rate in parts:
            trained = [p for p in (part.parameters() if isinstance(part, nn.Module) else part) if p.requires_grad]
            self.parameters += trained
            groups.append({"params": trained, "lr": rate, "rate": rate})
        self.optimizer = self._make_optimizer(groups)
        self.steps = 0

    def apply(self, loss: Tensor) -> float | None:
        """One optimiser step along the gradient of ``loss`` (a scalar).

        Returns the global gradient norm before clipping, or None when a number was not finite: then the gradients
        are dropped and the weights stay what they were.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        weights: list[Tensor] = [p for p in self.parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([p.grad for p in weights if p.grad is not None]))
        norm = torch.linalg.vector_norm(norms)
        if not torch.isfinite(loss) or not torch.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            return None
        self._clip(weights, clip_factors(weights, norms, self.config.clip).tolist())
        self._set_rates()
        self.optimizer.step()
        self.steps += 1
        return float(norm)

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimiser's memory, by parameter number and name."""
        states = [self.optimizer.state[p] for p in self.parameters]
        return {f"{i}.{key}": value for i, state in enumerate(states) for key, value in state.items()}

    def load_state_tensors(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Put back what ``state_tensors`` gave; raises ValueError if it belongs to other parameters."""
        self.steps = steps
        names = Counter(key.partition(".")[2] for key in tensors)
        if len(set(names.values())) > 1:
            raise ValueError(f"optimiser state is missing: there are {dict(names)}")
        for key, value in tensors.items():
            number, name = key.split(".")
            parameter = self.parameters[int(number)]
            if value.dtype != torch.float32 or (value.ndim and value.shape != parameter.shape):
                raise ValueError(f"optimiser state {key} is {value.dtype} of shape {tuple(value.shape)}")
            if not torch.isfinite(value).all():
                raise ValueError(f"optimiser state {key} is not finite")
            self.optimizer.state[parameter][name] = value.to(parameter.device)

    def _make_optimizer(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        c = self.config
        if c.kind == "laprop":
            return LaProp(groups, c.beta1, c.beta2, c.epsilon)
        return torch.optim.Adam(groups, betas=(c.beta1, c.beta2), eps=c.epsilon)

    def _clip(self, weights: list[Tensor], factors: list[float]) -> None:
        """LaProp scales the gradients on its way, to read them only once."""
        if isinstance(self.optimizer, LaProp):
            self.optimizer.factors = dict(zip(weights, factors, strict=True))
        else:
            torch._foreach_mul_([p.grad for p in weights if p.grad is not None], factors)

    def _set_rates(self) -> None:
        """Linear warm-up, and from ``decay_after`` on the inverse of the updates, down to ``LOWEST_SHARE``.

        The second-moment estimates are noise at first, and so would be full steps. Later steps of that size keep
        everything shaking around what it could be; the inverse needs no end of the run to be known.
        """
        share = min(1.0, (self.steps + 1) / self.config.warmup) if self.config.warmup else 1.0
        if self.decay_after:
            share *= min(1.0, max(LOWEST_SHARE, self.decay_after / (self.steps + 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * share
