"""A player of pure chance."""

from __future__ import annotations

import numpy as np

from competitor.players.chance import ChancePlayer
from competitor.players.player import ACTION_SIZE, Array, Flags, playing_rows


class RandomPlayer(ChancePlayer):
    """Uniformly random actions: the floor that every other player has to beat."""

    name = "random"

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4) for observations (slots, 18)."""
        for slot in np.flatnonzero(is_first):
            self.chance_of_new_round(int(slot))
        actions = np.zeros((len(self._chance), ACTION_SIZE), dtype=np.float32)
        for slot in playing_rows(obs):
            actions[slot] = self._chance[slot].uniform(-1.0, 1.0, ACTION_SIZE)
        return actions
