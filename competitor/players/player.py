"""What a player is: it acts for many rounds at once, one per slot, and remembers by slot what a round needs.

Whoever lets players meet (`competitor.play.rounds`) makes two promises and asks for nothing else:

- `is_first` is True for a slot exactly at the first step of a round: what the slot remembered is void;
- a row of NaN is an idle slot: its action is ignored and what the slot remembers stays as it is.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from competitor.errors import PlayerError

Array = NDArray[np.float32]
Flags = NDArray[np.bool_]
ACTION_SIZE = 4


class Player(Protocol):
    """The contract of everyone who plays locally."""

    name: str

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4) in [-1, 1] for observations (slots, 18) from the player's side."""


@runtime_checkable
class SeededPlayer(Protocol):
    """A player whose chance belongs to the round, so that a round is the same in whatever slot."""

    def begin_round(self, slot: int, seed: Sequence[int]) -> None:
        """Announce that the next `is_first` of `slot` starts a round whose chance comes from `seed`."""


def checked_actions(actions: Any, slots: int, size: int = ACTION_SIZE) -> Array:
    """Return a copy of `actions` as float32, shape (slots, size); raises PlayerError for anything else."""
    try:
        if np.iscomplexobj(actions):
            raise TypeError("they are complex")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
            array = np.array(actions, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise PlayerError(f"actions must be numbers of shape ({slots}, {size}): {error}") from error
    if array.shape != (slots, size):
        raise PlayerError(f"actions must have shape ({slots}, {size}), not {array.shape}")
    return array


def clean_actions(actions: Any, slots: int, size: int = ACTION_SIZE) -> Array:
    """Return `actions` as finite float32 numbers in [-1, 1], shape (slots, size): NaN is 0, infinity a bound.

    Raises PlayerError when they are not numbers of that shape.
    """
    array = checked_actions(actions, slots, size)
    np.nan_to_num(array, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(array, -1.0, 1.0, out=array)


def playing_rows(obs: Array) -> NDArray[np.intp]:
    """Return the slots of `obs` (slots, features) that hold a finite observation."""
    return np.flatnonzero(np.isfinite(obs).all(axis=1))
