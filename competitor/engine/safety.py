"""Never an invalid answer: the check that every action passes, and who answers when the policy cannot."""

from collections.abc import Sequence
from math import isfinite

import numpy as np

from competitor.engine.session import ACTION_SIZE, ZEROS, Action
from competitor.rink.basic_opponent import BasicOpponent


class UnsoundAction(ValueError):
    """Not four finite numbers: there is nothing to send."""


def sanitise(values: Sequence[float]) -> Action:
    """Return `values` (4,) as plain doubles within [-1, 1]; what lies outside becomes the bound.

    Raises UnsoundAction for another shape, for what is not a number, for NaN and for infinity.
    """
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsoundAction(f"not numbers: {error}") from error
    if len(numbers) != ACTION_SIZE or not all(map(isfinite, numbers)):
        raise UnsoundAction(f"an action is {ACTION_SIZE} finite numbers, not {numbers}")
    x, y, turn, shoot = (-1.0 if number < -1.0 else 1.0 if number > 1.0 else number for number in numbers)
    return x, y, turn, shoot


class SafeActor:
    """The strong basic opponent, one per match: plays a step when the policy cannot."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._opponent = BasicOpponent(weak=False, generator=generator)

    def act(self, last_good: Sequence[float] | None) -> Action:
        """Return its action for the last sound observation (18,), zeros if there is none; never raises."""
        if last_good is None:
            return ZEROS
        try:
            return sanitise(self._opponent.decide(last_good))
        except Exception:  # whatever it is, a step without an answer is worse
            return ZEROS
