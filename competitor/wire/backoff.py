"""How long to wait before connecting again."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `first_s` up to `cap_s`, each drawn from half to one and a half of its nominal length.

    The draw keeps many clients apart that have lost their server at the same moment. No wait is longer than
    `cap_s`: at the cap they are drawn from the half below it.
    """

    def __init__(self, first_s: float, cap_s: float, random: random.Random) -> None:
        self._first_s = min(first_s, cap_s)
        self._cap_s = cap_s
        self._random = random
        self._nominal_s = self._first_s

    def next_s(self) -> float:
        """Return the next wait in seconds."""
        nominal_s = self._nominal_s
        self._nominal_s = min(2.0 * nominal_s, self._cap_s)
        return self._random.uniform(0.5 * nominal_s, min(1.5 * nominal_s, self._cap_s))

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._nominal_s = self._first_s
