"""Players that follow a rule and draw random numbers: the course's basic opponents, and pure chance."""

from collections.abc import Sequence

import numpy as np

from competitor.players.player import ACTION_SIZE, Array, Flags, playing_rows
from competitor.rink import BasicOpponent


class ChancePlayer:
    """Common part of the players that draw random numbers: one generator per slot and round."""

    def __init__(self, seed: int) -> None:
        self._own_chance = np.random.default_rng(seed)
        self._chance: list[np.random.Generator] = []
        self._announced: Flags = np.zeros(0, dtype=np.bool_)

    def reset(self, slots: int) -> None:
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


class BasicPlayer(ChancePlayer):
    """The weak or the strong basic opponent in every slot, made anew for each round."""

    def __init__(self, *, weak: bool, seed: int = 0, keep_mode: bool = True) -> None:
        super().__init__(seed)
        self.name = "weak" if weak else "strong"
        self._weak = weak
        self._keep_mode = keep_mode
        self._bots: list[BasicOpponent] = []

    def reset(self, slots: int) -> None:
        super().reset(slots)
        self._bots = [self._new_bot(chance) for chance in self._chance]

    def act(self, obs: Array, is_first: Flags) -> Array:
        for slot in np.flatnonzero(is_first):
            self._bots[slot] = self._new_bot(self.chance_of_new_round(int(slot)))
        actions = np.zeros((len(self._bots), ACTION_SIZE), dtype=np.float32)
        for slot in playing_rows(obs):
            action = self._bots[slot].decide(obs[slot].tolist())
            actions[slot, : len(action)] = action
        return actions

    def _new_bot(self, chance: np.random.Generator) -> BasicOpponent:
        return BasicOpponent(weak=self._weak, keep_mode=self._keep_mode, generator=chance)


class RandomPlayer(ChancePlayer):
    """Uniformly random actions: the floor that every other player has to beat."""

    name = "random"

    def act(self, obs: Array, is_first: Flags) -> Array:
        for slot in np.flatnonzero(is_first):
            self.chance_of_new_round(int(slot))
        actions = np.zeros((len(self._chance), ACTION_SIZE), dtype=np.float32)
        for slot in playing_rows(obs):
            actions[slot] = self._chance[slot].uniform(-1.0, 1.0, ACTION_SIZE)
        return actions
