"""Sparring partners: small policies of many styles that need nothing but NumPy to play.

A partner is two files: NAME.safetensors, the layers `0.weight` (outputs, inputs), `0.bias` (outputs,), `1.weight`, ...,
and NAME.json, its card. docs/sparring.md says how partners are made.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from competitor.config import shipped
from competitor.errors import PlayerError
from competitor.players.player import ACTION_SIZE, Array, Flags, clean_actions, playing_rows
from competitor.rink.constants import OBSERVATION_SIZE
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write_both
from dreamer.strict import Strict, first_problem

PREFIX = "sparring:"


class PartnerCard(Strict):
    """How a partner is played, how it was made and how it plays.

    activation: of the hidden layers. squash: the last layer's numbers pass through tanh, otherwise they are clipped.
    repeat: frames for which an action is kept. held_out: only ever measured against, never trained against.
    made: recipe, updates, frames and minutes of its training. results: won, drawn and lost rounds by opponent.
    plays: what `competitor.play.style` measures.
    """

    format: Literal[1] = 1
    name: str
    style: str
    held_out: bool
    activation: Literal["relu", "tanh"]
    squash: bool
    repeat: int = Field(ge=1)
    made: dict[str, Any] = {}
    results: dict[str, dict[str, float]] = {}
    plays: dict[str, float | None] = {}


@dataclass(frozen=True)
class SmallPolicy:
    """A stack of layers: an observation (18,) of the rink goes in, an action (4,) comes out.

    weights[i] is (outputs, inputs), biases[i] (outputs,).
    """

    weights: Sequence[Array]
    biases: Sequence[Array]
    tanh_layers: bool
    squash: bool

    def decide(self, obs: Array) -> Array:
        """Actions (n, 4) for observations (n, 18).

        One row at a time: a product of matrices may round a row differently beside other rows.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # absurd observations give absurd numbers, cleaned later
            return np.stack([self.act(row) for row in obs])

    def act(self, obs: Array) -> Array:
        """The action (4,) for one observation (18,)."""
        values = obs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = weight @ values + bias
            values = np.tanh(values) if self.tanh_layers else np.maximum(values, 0.0)
        values = self.weights[-1] @ values + self.biases[-1]
        return np.tanh(values) if self.squash else values

    def tensors(self) -> dict[str, Array]:
        named = {f"{place}.weight": weight for place, weight in enumerate(self.weights)}
        return named | {f"{place}.bias": bias for place, bias in enumerate(self.biases)}


class Deciding(Protocol):
    """What chooses the actions (n, 4) of n slots by their observations (n, 18): a policy, with or without noise."""

    def decide(self, obs: Array) -> Array: ...


class SparringPlayer:
    """A small policy in every slot; a slot remembers only the action that it keeps for `repeat` frames."""

    def __init__(self, policy: Deciding, name: str, *, repeat: int) -> None:
        self.name = name
        self._policy, self._repeat = policy, repeat
        self.reset(0)

    def reset(self, slots: int) -> None:
        self._kept: Array = np.zeros((slots, ACTION_SIZE), np.float32)
        self._frames: NDArray[np.intp] = np.zeros(slots, np.intp)

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4), always finite and in [-1, 1], for observations (slots, 18).

        Raises PlayerError when the rink has no keep mode and thus other observations.
        """
        if obs.shape[1] != OBSERVATION_SIZE:
            raise PlayerError(f"{self.name} plays with {OBSERVATION_SIZE} observations, the rink has {obs.shape[1]}")
        self._frames[is_first] = 0
        rows = playing_rows(obs)
        deciding = rows[self._frames[rows] == 0]
        if deciding.size:
            self._kept[deciding] = clean_actions(self._policy.decide(obs[deciding]), len(deciding))
        self._frames[rows] = (self._frames[rows] + 1) % self._repeat
        actions = np.zeros_like(self._kept)
        actions[rows] = self._kept[rows]
        return actions


def partner_names(*, held_out: bool | None = None) -> list[str]:
    """Names of the partners that ship, sorted; only those that are held out, or are not, if `held_out` is given."""
    names = sorted(path.stem for path in _folder().glob("*.safetensors"))
    return [name for name in names if held_out is None or read_card(partner_path(name)).held_out == held_out]


def partner_path(name: str) -> Path:
    """The file of weights of the partner `name`: one that ships, or the path of another, with or without suffix.

    Raises PlayerError when there is no such partner.
    """
    is_path = name.endswith(".safetensors") or "/" in name or len(Path(name).parts) > 1
    path = Path(name) if is_path else _folder() / name
    path = path if path.suffix == ".safetensors" else path.parent / f"{path.name}.safetensors"
    if not os.path.isfile(path):
        known = ", ".join(found.stem for found in sorted(_folder().glob("*.safetensors"))) or "none"
        raise PlayerError(f"there is no sparring partner {name}; there are: {known}; or give the path of its weights")
    return path


def load_partner(name: str) -> SparringPlayer:
    """The partner that `partner_path` finds. Raises PlayerError, and CheckpointError when its files are damaged."""
    path = partner_path(name)
    policy, card = read_partner(path)
    return SparringPlayer(policy, PREFIX + name, repeat=card.repeat)


def read_partner(path: Path) -> tuple[SmallPolicy, PartnerCard]:
    """The policy and the card in `path` (.safetensors) and beside it. Raises CheckpointError."""
    card = read_card(path)
    try:
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from None
    except KeyError as error:
        raise CheckpointError(f"{path}: weights of the type {error} are not understood, only float32") from None
    weights, biases = _layers(path, tensors)
    return SmallPolicy(weights, biases, tanh_layers=card.activation == "tanh", squash=card.squash), card


def read_card(path: Path) -> PartnerCard:
    """The card beside the weights at `path`. Raises CheckpointError when it is missing or is none."""
    file = path.with_suffix(".json")
    try:
        return PartnerCard.model_validate_json(file.read_bytes(), strict=True)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read, and {path.name} cannot be played without: {error.strerror}"
        ) from None
    except ValidationError as error:
        raise CheckpointError(f"{file} is not the card of a sparring partner: {first_problem(error)}") from None


def write_partner(path: Path, policy: SmallPolicy, card: PartnerCard) -> None:
    """Write the weights to `path` (.safetensors) and the card beside it, both or neither. Raises OSError."""
    text = json.dumps(card.model_dump(), indent=2, allow_nan=False) + "\n"
    atomic_write_both(path, save(policy.tensors()), path.with_suffix(".json"), text)


def _folder() -> Path:
    return shipped("checkpoints/sparring")


def _layers(path: Path, tensors: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
    """The weights and biases in their order, checked to fit on each other."""
    try:
        places = range(len(tensors) // 2)
        weights = [np.ascontiguousarray(tensors[f"{place}.weight"]) for place in places]
        biases = [np.ascontiguousarray(tensors[f"{place}.bias"]) for place in places]
    except KeyError as error:
        raise CheckpointError(f"{path} lacks the tensor {error}") from None
    sizes = [OBSERVATION_SIZE, *(bias.size for bias in biases)]
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    if not weights or sizes[-1] != ACTION_SIZE or [weight.shape for weight in weights] != shapes:
        raise CheckpointError(f"{path}: its layers do not lead from {OBSERVATION_SIZE} numbers to {ACTION_SIZE}")
    if any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise CheckpointError(f"{path}: its weights are not all float32")
    if not all(np.isfinite(tensor).all() for tensor in (*weights, *biases)):
        raise CheckpointError(f"{path}: its weights are not finite")
    return weights, biases
