"""The course's basic opponents, weak and strong, as players."""

from __future__ import annotations

import numpy as np

from competitor.players.chance import ChancePlayer
from competitor.players.player import ACTION_SIZE, Array, Flags, playing_rows
from competitor.rink import BasicOpponent


class BasicPlayer(ChancePlayer):
    """The weak or the strong basic opponent in every slot, made anew for each round."""

    def __init__(self, *, weak: bool, seed: int = 0, keep_mode: bool = True) -> None:
        super().__init__(seed)
        self.name = "weak" if weak else "strong"
        self._weak = weak
        self._keep_mode = keep_mode
        self._bots: list[BasicOpponent] = []

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""
        super().reset(slots)
        self._bots = [self._new_bot(chance) for chance in self._chance]

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4) for observations (slots, 18)."""
        for slot in np.flatnonzero(is_first):
            self._bots[slot] = self._new_bot(self.chance_of_new_round(int(slot)))
        actions = np.zeros((len(self._bots), ACTION_SIZE), dtype=np.float32)
        for slot in playing_rows(obs):
            action = self._bots[slot].decide(obs[slot].tolist())
            actions[slot, : len(action)] = action
        return actions

    def _new_bot(self, chance: np.random.Generator) -> BasicOpponent:
        return BasicOpponent(weak=self._weak, keep_mode=self._keep_mode, generator=chance)
