"""Averaged weights: what is judged, kept and played against is the mean of the latest updates, not the last of them.

Steps large enough to learn quickly keep the weights in motion around what they could be; their mean is closer to it,
as if the learning rates had been lowered for a while (Polyak averaging, doi 10.1137/0330046).
"""

import torch

from dreamer.agent import Dreamer

LONGEST = 3_000
"""Updates that the mean reaches back at most: an eighth of a run of days is hours behind what it has learned since."""


class WeightAverage:
    """A frozen copy of an agent, on the same device, whose weights follow it as a running mean.

    The mean reaches back over ``share`` of all updates made so far, with weights that fall by a power of their age,
    so that the unlearned beginning fades; once that is more than ``LONGEST`` updates, over these, with weights that
    fall exponentially.
    """

    def __init__(self, agent: Dreamer, share: float) -> None:
        self._source, self._share = agent, share
        self.agent = agent.snapshot().settle(agent.device)
        self._ours, self._theirs = (list(one.state_dict().values()) for one in (self.agent, agent))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now; to be called after each update, with nothing under way."""
        reach = min(LONGEST, self._share * self._source.updates)
        torch._foreach_lerp_(self._ours, self._theirs, 1.0 / max(1.0, reach))
