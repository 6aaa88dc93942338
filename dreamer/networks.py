"""The bricks: perceptrons with RMS norm, and the recurrent cell."""

import torch
from torch import Tensor, nn

from dreamer.config import ModelConfig
from dreamer.fast import native


class RMSNorm(nn.Module):
    """x / rms(x) * scale (arXiv 1910.07467), in the fewest passes that plain torch allows on a CPU."""

    EPSILON = 1e-4

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., size) -> the same shape."""
        mean_square = torch.linalg.vecdot(x, x)[..., None] / x.shape[-1]
        return x * torch.rsqrt(mean_square + self.EPSILON) * self.scale


class Perceptron(nn.Sequential):
    """Hidden layers and a last Linear; those with RMS norm and SiLU run fused, with the same results."""

    def __init__(self, *layers: nn.Module, exact: int = 0) -> None:
        """exact: how many inputs, the last ones, are not rounded to bfloat16 where that is faster."""
        super().__init__(*layers)
        self.exact = exact
        pairs = [(layers[i], layers[i + 1], layers[i + 2]) for i in range(0, len(layers) - 2, 3)]
        kinds = (nn.Linear, RMSNorm, nn.SiLU)
        self.fusible = all(isinstance(layer, kind) for pair in pairs for layer, kind in zip(pair, kinds, strict=True))
        self._weights = tuple(self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) -> (..., outputs)."""
        fast = native(x) if self.fusible else None
        if fast:
            result: Tensor = fast.run_perceptron(x, RMSNorm.EPSILON, self._weights, self.exact)
        else:
            result = super().forward(x)  # type: ignore[no-untyped-call]
        return result


def build_mlp(
    inputs: int, outputs: int, config: ModelConfig, *, layers: int = ModelConfig.layers, width: int = 1, exact: int = 0
) -> Perceptron:
    """``layers`` blocks of Linear, norm, activation, then a plain Linear to ``outputs``.

    width: of the blocks, in ``config.units``; exact: see ``Perceptron``.
    """
    blocks: list[nn.Module] = []
    units = width * config.units
    for size in [inputs, *[units] * (layers - 1)]:
        blocks += build_block(size, units, config)
    return Perceptron(*blocks, nn.Linear(units, outputs), exact=exact)


def build_block(inputs: int, outputs: int, config: ModelConfig) -> list[nn.Module]:
    """One hidden layer; with a norm the bias is left out, the norm's scale stands in for it."""
    if config.is_seed:
        return [nn.Linear(inputs, outputs), nn.ELU()]
    return [nn.Linear(inputs, outputs, bias=False), RMSNorm(outputs), nn.SiLU()]


def scale_output(mlp: nn.Sequential, scale: float) -> nn.Sequential:
    """Multiply the initial weights of the last layer by ``scale``; 0 makes the first predictions exactly 0."""
    last = mlp[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.zero_()
    return mlp


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Truncated normal weights with the variance of the mean of fan-in and fan-out, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            deviation = (2.0 / (layer.in_features + layer.out_features)) ** 0.5
            nn.init.trunc_normal_(layer.weight, 0, deviation, -2 * deviation, 2 * deviation, generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class RecurrentCell(nn.Module):
    """A GRU cell whose three gates come from one product and are normalised together (as in Dreamer's GRU).

    The update gate is biased by -1 towards keeping the memory, which helps long rounds.
    """

    def __init__(self, inputs: int, hidden: int, norm: bool) -> None:
        super().__init__()
        self.product = nn.Linear(inputs + hidden, 3 * hidden, bias=not norm)
        self.norm = RMSNorm(3 * hidden) if norm else nn.Identity()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x (batch, inputs), h (batch, hidden) -> the next h (batch, hidden)."""
        gates: Tensor = self.norm(self.product(torch.cat([x, h], -1)))
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(h, candidate, torch.sigmoid(update - 1.0))
