"""Actions as they enter the rink."""

from collections.abc import Sequence
from struct import Struct
from struct import error as struct_error
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DISCRETE_ACTIONS: tuple[tuple[float, float, float, float], ...] = (
    (0, 0, 0, 0),
    (-1, 0, 0, 0),
    (1, 0, 0, 0),
    (0, -1, 0, 0),
    (0, 1, 0, 0),
    (0, 0, -1, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
)
"""Stand still, force x -/+, force y -/+, torque -/+, shoot."""


_PACKERS = {size: Struct(f"{size}f") for size in (3, 4, 6, 8)}


def checked_action(action: ArrayLike, size: int) -> Sequence[float]:
    """An action of `size` numbers (3, 4, 6 or 8), clipped to [-1, 1] and rounded to float32, as plain floats.

    Raises ValueError for another shape, for something that is not numbers, and for NaN.
    """
    values: Any = action.tolist() if isinstance(action, np.ndarray) else action
    packer = _PACKERS[size]
    try:
        for value in values:
            if not -1.0 <= value <= 1.0:
                return _repaired(action, size)
        return packer.unpack(packer.pack(*values))
    except (TypeError, ValueError, struct_error):
        return _repaired(action, size)


def _repaired(action: ArrayLike, size: int) -> Sequence[float]:
    """What checked_action returns, without its short cuts."""
    array = np.asarray(action, np.float64)
    if array.shape != (size,):
        raise ValueError(f"an action of {size} numbers was expected, got one of shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"an action must not contain NaN: {array.tolist()}")
    rounded: list[float] = np.clip(array, -1.0, 1.0).astype(np.float32).tolist()
    return rounded


def discrete_action(index: int, keep_mode: bool) -> list[float]:
    """The continuous action of one player, 4 numbers (3 without keep mode), for a discrete one.

    Raises ValueError for an index outside of 0 to 7.
    """
    if index not in range(len(DISCRETE_ACTIONS)):
        raise ValueError(f"a discrete action is a number from 0 to 7, got {index!r}")
    return list(DISCRETE_ACTIONS[index][: 4 if keep_mode else 3])
