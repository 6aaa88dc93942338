"""Chance that belongs to a round: one generator per slot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from competitor.players.player import Flags


class ChancePlayer:
    """Common part of the players that draw random numbers: one generator per slot and round."""

    def __init__(self, seed: int) -> None:
        self._own_chance = np.random.default_rng(seed)
        self._chance: list[np.random.Generator] = []
        self._announced: Flags = np.zeros(0, dtype=np.bool_)

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""
        self._chance = self._own_chance.spawn(slots)
        self._announced = np.zeros(slots, dtype=np.bool_)

    def begin_round(self, slot: int, seed: Sequence[int]) -> None:
        """Draw the numbers of the slot's next round from `seed`."""
        self._chance[slot] = np.random.default_rng(seed)
        self._announced[slot] = True

    def chance_of_new_round(self, slot: int) -> np.random.Generator:
        """Return the generator of the round that starts in `slot`: as announced, or an own one."""
        if not self._announced[slot]:
            self._chance[slot] = self._own_chance.spawn(1)[0]
        self._announced[slot] = False
        return self._chance[slot]
