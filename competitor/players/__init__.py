"""Who can sit at the rink: the basic opponents, a random one, a dreamer, and any class named "module:Class".

A player is batched: it plays many rounds at once, one per slot, and remembers by slot what a round needs.
The table that lets players meet (`competitor.play.rounds`) makes two promises and asks for nothing else:

- `is_first` is True for a slot exactly at the first step of a round: what the slot remembered is void;
- a row of NaN is an idle slot: its action is ignored and what the slot remembers stays as it is.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competitor.config import shipped
from competitor.errors import PlayerError
from competitor.rink import BasicOpponent
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.sequence_model import State

Array = NDArray[np.float32]
Flags = NDArray[np.bool_]
ACTION_SIZE = 4
CHAMPION = "champion"


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


def clean_actions(actions: Any, slots: int, size: int = ACTION_SIZE) -> Array:
    """Return `actions` as finite float32 numbers in [-1, 1], shape (slots, size): NaN is 0, infinity a bound.

    Raises PlayerError when they are not numbers of that shape.
    """
    try:
        array = np.array(actions, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise PlayerError(f"actions must be numbers of shape ({slots}, {size}): {error}") from error
    if array.shape != (slots, size):
        raise PlayerError(f"actions must have shape ({slots}, {size}), not {array.shape}")
    np.nan_to_num(array, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(array, -1.0, 1.0, out=array)


def playing_rows(obs: Array) -> NDArray[np.intp]:
    """Return the slots of `obs` (slots, features) that hold a finite observation."""
    return np.flatnonzero(np.isfinite(obs).all(axis=1))


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


class DreamerPlayer:
    """A dreamer in every slot: one table of latent states, row by row the memory of one round."""

    def __init__(self, agent: Dreamer, name: str, *, deterministic: bool = True) -> None:
        self.name = name
        self.deterministic = deterministic
        self._agent = agent
        self._state: State = {}
        self._is_fresh: Flags = np.zeros(0, dtype=np.bool_)

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""
        with torch.inference_mode():
            self._state = self._agent.initial_state(slots)
        self._is_fresh = np.ones(slots, dtype=np.bool_)

    def memory(self) -> State:
        """Return a copy of what all slots remember, and which of them start anew, as CPU tensors by name."""
        fresh = torch.from_numpy(self._is_fresh.copy())
        return {"is_fresh": fresh, **{key: table.clone().cpu() for key, table in self._state.items()}}

    def remember(self, memory: State) -> None:
        """Take over what `memory` of an equal player returned."""
        tables = {key: table.clone() for key, table in memory.items()}
        self._is_fresh = tables.pop("is_fresh").numpy()
        self._state = {key: table.to(self._agent.device) for key, table in tables.items()}

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4), always finite and in [-1, 1], for observations (slots, 18).

        A slot whose observation is not finite gets zeros, and its state waits for the next one. A slot whose
        state itself broke starts anew at its next step, so that one bad number cannot spoil a whole round.
        """
        if obs.shape[1] != self._agent.obs_size:
            wanted = self._agent.obs_size
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
        device = self._agent.device
        index = torch.from_numpy(rows).to(device)
        state = self._state if everywhere else {key: table[index] for key, table in self._state.items()}
        is_first = torch.from_numpy(self._is_fresh[rows]).to(device)
        state, action = self._agent.act(
            state, torch.from_numpy(obs).to(device), is_first, deterministic=self.deterministic
        )
        is_sound = _finite_rows(state)
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


def _finite_rows(state: State) -> Tensor:
    """Return which rows (batch,) of a state are finite; a sum is finite only if its terms are."""
    return torch.isfinite(torch.stack([table.flatten(1).sum(dim=1) for table in state.values()])).all(dim=0)


class GuardedPlayer:
    """A user's own class: its mistakes become one sentence, its idle slots see zeros instead of NaN."""

    def __init__(self, player: Any, name: str) -> None:
        self.name = name
        self._player = player
        self._slots = 0

    def reset(self, slots: int) -> None:
        """Forget everything and be ready for `slots` rounds at once."""
        self._slots = slots
        with self._explained("reset"):
            self._player.reset(slots)

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return the class's actions (slots, 4), made finite and clipped to [-1, 1].

        Raises PlayerError when the class raises or returns something else than numbers of that shape.
        """
        with self._explained("act"):
            return clean_actions(self._player.act(np.nan_to_num(obs), is_first.copy()), self._slots)

    @contextlib.contextmanager
    def _explained(self, method: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise PlayerError(f"player {self.name} failed in {method}(): {_summary(error)}") from error


def make_player(spec: str, *, seed: int, deterministic: bool = True, keep_mode: bool = True) -> Player:
    """Return the player that `spec` names: "weak", "strong", "random", "sparring:NAME", a checkpoint or "module:Class".

    A checkpoint is a path, or "champion" for the shipped agent. Raises PlayerError (unknown name, a class that
    cannot be used) and dreamer.errors.CheckpointError.
    """
    if spec in ("weak", "strong"):
        return BasicPlayer(weak=spec == "weak", seed=seed, keep_mode=keep_mode)
    if spec == "random":
        return RandomPlayer(seed)
    if spec.startswith("sparring:"):
        from competitor.players.sparring import load_partner

        return load_partner(spec.removeprefix("sparring:"))
    if _names_checkpoint(spec):
        return _load_dreamer(spec, seed=seed, deterministic=deterministic)
    if ":" in spec:
        return GuardedPlayer(_load_class(spec), spec)
    raise PlayerError(
        f"unknown player '{spec}': choose one of weak, strong, random, {CHAMPION} (the shipped agent), "
        "sparring:NAME (a sparring partner), the path of a checkpoint, or module:Class"
    )


def checkpoint_path(spec: str) -> Path:
    """Return the file of the checkpoint that `spec` names: the shipped one for "champion", else the path."""
    return shipped(f"checkpoints/{CHAMPION}.safetensors") if spec == CHAMPION else Path(spec)


def _names_checkpoint(spec: str) -> bool:
    path = Path(spec)
    looks_like_one = path.suffix == ".safetensors" or (len(path.parts) > 1 and ":" not in spec)
    return spec == CHAMPION or looks_like_one or path.is_file() or Path(f"{spec}.safetensors").is_file()


def _load_dreamer(spec: str, *, seed: int, deterministic: bool) -> DreamerPlayer:
    agent, _ = load_checkpoint(checkpoint_path(spec))
    agent.generator.manual_seed(seed)
    return DreamerPlayer(agent, spec, deterministic=deterministic)


def _load_class(spec: str) -> Any:
    """Import and build "module:Class"; the current directory is importable, as for a script started there."""
    module_name, _, class_name = spec.partition(":")
    try:
        with _importable_current_directory():
            module = importlib.import_module(module_name)
        player = getattr(module, class_name)()
    except Exception as error:
        raise PlayerError(f"player {spec} cannot be loaded: {_summary(error)}") from error
    missing = [method for method in ("reset", "act") if not callable(getattr(player, method, None))]
    if missing:
        raise PlayerError(f"player {spec} has no {missing[0]}(): docs/evaluation.md says what it needs")
    return player


@contextlib.contextmanager
def _importable_current_directory() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def _summary(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
