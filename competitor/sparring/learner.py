"""What the trainer asks of a learning algorithm, whatever library it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from competitor.sparring.actor import Actor

Array = NDArray[np.float32]


class Learner(Protocol):
    """An algorithm that learns from views of rounds."""

    updates: int

    def enter(self, obs: Array, action: Array, reward: Array, *, terminal: bool, own: bool) -> None:
        """Take in one view of a round: obs (steps + 1, 18), action (steps, 4), reward (steps,).

        terminal: its end is a result, a goal or the clock's draw, so its last view has no value. own: the learner's
        policy played it.
        """

    def learn(self, frames: int) -> bool:
        """Make the updates that are due when `frames` more frames were played; say whether there were any."""

    def actor(self) -> Actor:
        """The policy as it is now."""

    def numbers(self) -> dict[str, float]:
        """Losses and the like of the last update."""

    def save(self, directory: Path) -> None:
        """Write everything that `load` needs into a directory."""

    def load(self, directory: Path, *, weights_only: bool = False) -> None:
        """Take over what `save` wrote: all of it, or what was learned without rounds and counters."""
