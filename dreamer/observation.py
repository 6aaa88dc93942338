"""The observation within the state: how it goes from one step to the next.

The prediction is a residual, o' = o + spread * f([h', z'], o, a), in units of what one step changes: most numbers move
a little in 20 ms, and a network that had to say where they are would spend its precision on what is known already.
"""

import torch
from torch import Tensor, nn

from dreamer.config import ModelConfig
from dreamer.networks import build_mlp, scale_output


class NextObservation(nn.Module):
    """Predicts the normalised observation that follows; f is a perceptron beside a linear map of [o, a]."""

    spread: Tensor

    def __init__(self, config: ModelConfig, inputs: int, obs_size: int, action_size: int) -> None:
        """inputs: size of [h, z]."""
        super().__init__()
        self.register_buffer("spread", torch.ones(obs_size))
        known = obs_size + action_size
        self.net = build_mlp(inputs + known, obs_size, config, width=config.prediction_width, exact=known)
        self.linear = nn.Linear(known, obs_size, bias=False)

    def zero_output(self) -> None:
        """Begin with a world in which nothing moves."""
        scale_output(self.net, 0.0)
        nn.init.zeros_(self.linear.weight)

    def forward(self, memory: Tensor, o: Tensor, action: Tensor) -> Tensor:
        """o' (..., obs) from memory = [h', z'] (..., hidden + latent), o (..., obs) and the action between them."""
        known = torch.cat([o, action], -1)
        residual: Tensor = self.net(torch.cat([memory, known], -1)) + self.linear(known)
        return o + self.spread * residual
