"""An agent that dreams, as a player."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competitor.errors import PlayerError
from competitor.players.player import ACTION_SIZE, Array, Flags, clean_actions, playing_rows
from dreamer.agent import Dreamer
from dreamer.sequence_model import State


class Acting(Protocol):
    """An agent, or what decides better with one; see `Dreamer` for both methods."""

    def initial_state(self, batch: int) -> State:
        """States before anything was seen, `action` among them, (batch, ...)."""

    def act(
        self, state: State, obs: Tensor, is_first: Tensor, *, deterministic: bool = False, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """One step of play for a batch of rounds: (next state, actions (batch, action))."""


class DreamerPlayer:
    """A dreamer in every slot: one table of latent states, row by row the memory of one round."""

    def __init__(self, agent: Dreamer, name: str, *, deterministic: bool = True, acting: Acting | None = None) -> None:
        """acting: who decides, the agent itself if None."""
        self.name = name
        self._acting = acting or agent
        self.deterministic = deterministic
        self.agent = agent
        self._state: State = {}
        self._is_fresh: Flags = np.zeros(0, dtype=np.bool_)

    def reset(self, slots: int) -> None:
        with torch.inference_mode():
            self._state = self._acting.initial_state(slots)
        self._is_fresh = np.ones(slots, dtype=np.bool_)

    def memory(self) -> State:
        """Return a copy of what all slots remember, and which of them start anew, as CPU tensors by name."""
        fresh = torch.from_numpy(self._is_fresh.copy())
        return {"is_fresh": fresh, **{key: table.clone().cpu() for key, table in self._state.items()}}

    def remember(self, memory: State) -> None:
        """Take over what `memory` of an equal player returned; raises ValueError for that of another one.

        A player without slots takes nothing over: whoever meets it first will reset it.
        """
        if not len(self._is_fresh):
            return
        tables = {key: table.clone() for key, table in memory.items()}
        own = DreamerPlayer.memory(self)
        if len(tables["is_fresh"]) and _columns(tables) != _columns(own):
            raise ValueError(f"the memory of {self.name} is of other sizes")
        self._is_fresh = tables.pop("is_fresh").numpy()
        self._state = {key: table.to(self.agent.device) for key, table in tables.items()}

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4), always finite and in [-1, 1], for observations (slots, 18).

        A slot whose observation is not finite gets zeros, and its state waits for the next one. A slot whose
        state itself broke starts anew at its next step, so that one bad number cannot spoil a whole round.
        """
        if obs.shape[1] != self.agent.obs_size:
            wanted = self.agent.obs_size
            raise PlayerError(f"{self.name} plays with {wanted} observations, the rink has {obs.shape[1]}")
        self._is_fresh |= is_first
        actions = np.zeros((len(self._is_fresh), ACTION_SIZE), dtype=np.float32)
        rows = playing_rows(obs)
        if rows.size:
            raw, is_sound = self._act_in(rows, obs[rows])
            raw[~is_sound] = 0.0
            actions[rows, : raw.shape[1]] = clean_actions(raw, *raw.shape)
            self._is_fresh[rows] = ~is_sound
        return actions

    @torch.inference_mode()
    def _act_in(self, rows: NDArray[np.intp], obs: Array) -> tuple[Array, Flags]:
        """Act in the given slots only, idle ones cost nothing: (actions, whether the row is finite)."""
        everywhere = len(rows) == len(self._is_fresh)
        device = self.agent.device
        index = torch.from_numpy(rows).to(device)
        state = self._state if everywhere else {key: table[index] for key, table in self._state.items()}
        is_first = torch.from_numpy(self._is_fresh[rows]).to(device)
        seen, chance = torch.from_numpy(obs).to(device), self._noise(rows)
        state, action = self._acting.act(state, seen, is_first, deterministic=self.deterministic, noise=chance)
        is_sound = finite_rows(state)
        if not is_sound.all():
            # is_first alone does not heal a row: it multiplies the old state by zero, and 0 * NaN is NaN.
            for table in state.values():
                table[~is_sound] = 0.0
        if everywhere:
            self._state = state
        else:
            for key, table in self._state.items():
                table[index] = state[key]
        return action.float().cpu().numpy().copy(), is_sound.cpu().numpy()

    def _noise(self, rows: NDArray[np.intp]) -> Tensor | None:
        """What the given slots draw from (slots, numbers); None: the agent's own generator, or nothing at all."""
        return None


class SampledDreamer(DreamerPlayer):
    """A dreamer that draws its actions, and whose chance belongs to the round: the same in whatever slot."""

    def __init__(self, agent: Dreamer, name: str, *, acting: Acting | None = None) -> None:
        super().__init__(agent, name, deterministic=False, acting=acting)
        self._seed = agent.generator.initial_seed()
        self._chance: list[torch.Generator] = []

    def reset(self, slots: int) -> None:
        super().reset(slots)
        self._chance = [torch.Generator(self.agent.device) for _ in range(slots)]
        for slot in range(slots):
            self.begin_round(slot, (self._seed, slot))

    def begin_round(self, slot: int, seed: Sequence[int]) -> None:
        """Draw the numbers of the slot's next round from `seed`."""
        self._chance[slot].manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def memory(self) -> State:
        """Return what `DreamerPlayer.memory` does, and the states of the generators."""
        states = [generator.get_state() for generator in self._chance]
        chance = torch.stack(states) if states else torch.zeros((0, 0), dtype=torch.uint8)  # it has not played yet
        return {"chance": chance, **super().memory()}

    def remember(self, memory: State) -> None:
        """Take over what `memory` of an equal player returned."""
        tables = dict(memory)
        states = tables.pop("chance")
        if len(states) != len(tables["is_fresh"]):
            raise ValueError(f"the chance of {self.name} is not that of its slots")
        self._chance = [torch.Generator(self.agent.device) for _ in states]
        for generator, state in zip(self._chance, states, strict=True):
            generator.set_state(state.clone())  # torch reads a view from the beginning of what it is a view of
        super().remember(tables)

    def _noise(self, rows: NDArray[np.intp]) -> Tensor:
        return torch.cat([self.agent.draw_noise(1, self._chance[slot]) for slot in rows])


def _columns(tables: State) -> dict[str, tuple[torch.dtype, torch.Size, bool]]:
    """Of each table the kind and shape of a row, and whether it has a row for each slot."""
    slots = len(tables["is_fresh"])
    return {key: (table.dtype, table.shape[1:], len(table) == slots) for key, table in tables.items()}


def finite_rows(state: State) -> Tensor:
    """Return which rows (batch,) of a state are finite; a sum is finite only if its terms are."""
    return torch.isfinite(torch.stack([table.flatten(1).sum(dim=1) for table in state.values()])).all(dim=0)
