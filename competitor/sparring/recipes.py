"""How a sparring partner is made: the table in recipes.toml, a user's own table over it, and single changes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from competitor.config import read_toml
from competitor.errors import ConfigError
from dreamer.strict import Strict, first_problem

TABLE = Path(__file__).with_name("recipes.toml")
DEFAULT = "default"
SELF, POOL = "self", "pool"

Share = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Array = NDArray[np.float32]
OWN_X, PUCK_X, PUCK_VX, PUCK_VY, OWN_KEEP = 0, 12, 14, 15, 16


class Reward(Strict):
    """Weights of what happens in a frame, summed up to its reward: they make a partner's style, beside the algorithm.

    recipes.toml says what each one weighs.
    """

    goal: float
    conceded: float
    closeness: float
    touch: float
    direction: float
    possession: float
    bank: float
    forward: float
    hurry: float = 0.0  # the first recipes had none

    def of(self, obs: Array, info: NDArray[np.float64]) -> Array:
        """Rewards (steps,) of one player's view of a round: obs (steps + 1, 18), info (steps, 4)."""
        seen = obs[1:].astype(np.float64)
        holds = seen[:, OWN_KEEP] > 0
        shot_flies = (seen[:, PUCK_VX] > 0) & (seen[:, PUCK_X] > 0) & ~holds
        total: NDArray[np.float64] = info @ np.array([self.closeness, self.touch, self.direction, 0.0])
        total += self.possession * holds
        total += self.bank * shot_flies * np.abs(seen[:, PUCK_VY])
        total += self.forward * seen[:, OWN_X] - self.hurry
        winner = info[-1, 3]
        total[-1] += self.goal * max(winner, 0.0) + self.conceded * min(winner, 0.0)
        return total.astype(np.float32)


class Recipe(Strict):
    """One partner's recipe; recipes.toml says what each setting means."""

    style: str = Field(min_length=1)
    held_out: bool
    algorithm: Literal["SAC", "TQC", "TD3", "CrossQ", "PPO"]
    seed: int = Field(ge=0, lt=2**31)
    discount: float = Field(gt=0.0, lt=1.0)
    repeat: int = Field(ge=1, le=25)
    steps: int = Field(ge=1, le=50)
    frames_per_update: int = Field(ge=1, le=10**6)
    updates: int = Field(ge=1, le=10**12)
    rinks: int = Field(ge=1, le=4096)
    begins_from: str
    opponents: dict[str, Share]
    reward: Reward

    @model_validator(mode="after")
    def _someone_to_play(self) -> Recipe:
        if not any(share for kind, share in self.opponents.items() if kind != POOL):
            raise ValueError("opponents need a share above 0 for somebody beside the pool, which is empty at first")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The opponents that are met at all."""
        return {kind: share for kind, share in self.opponents.items() if share > 0.0}

    @property
    def named(self) -> list[str]:
        """The opponents that are players of their own, not the learner's present or past self."""
        return [kind for kind in self.shares if kind not in (SELF, POOL)]

    def to_toml(self) -> str:
        """The recipe as TOML text that `read_recipe` reads back equal."""
        return tomli_w.dumps(self.model_dump())


def recipe_names(file: Path | None = None) -> list[str]:
    """Names of all recipes, in the order of the tables. Raises ConfigError."""
    return [name for name in _tables(file) if name != DEFAULT]


def load_recipe(name: str, file: Path | None = None, changes: Sequence[str] = ()) -> Recipe:
    """The recipe `name`; `file` is laid over the shipped table, `changes` are texts `key=value` over both.

    Raises ConfigError with one line that says what is wrong and where.
    """
    tables = _tables(file)
    if name == DEFAULT or name not in tables:
        known = ", ".join(other for other in tables if other != DEFAULT)
        raise ConfigError(f"there is no recipe {name}; there are: {known}")
    values = _over(tables[DEFAULT], tables[name])
    for change in changes:
        values = _over(values, _parsed(change))
    return _validated(values, f"recipe {name}")


def read_recipe(path: Path) -> Recipe:
    """The recipe that a run was made by. Raises ConfigError."""
    return _validated(read_toml(path), str(path))


def _validated(values: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error)}") from None


def _tables(file: Path | None) -> dict[str, dict[str, Any]]:
    tables = read_toml(TABLE)
    if file is not None:
        tables = _over(tables, read_toml(file))
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {name} stands outside of a recipe's table [NAME]")
    return tables


def _parsed(change: str) -> dict[str, Any]:
    """`key=value` or `table.key=value` as nested tables; a value that is no TOML is taken as text."""
    key, equals, value = change.partition("=")
    for text in (value.strip(), f'"{value.strip()}"') if equals else ():
        try:
            return tomllib.loads(f"{key.strip()} = {text}")
        except (ValueError, RecursionError):
            continue
    raise ConfigError(f"--set {change}: expected key=value, for example discount=0.98 or reward.goal=5.0")


def _over(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, those of `above` over those of `base`; a whole number stands for a float where one was."""
    merged = dict(base)
    for key, value in above.items():
        before = merged.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            merged[key] = _over(before, value)
        else:
            merged[key] = float(value) if isinstance(before, float) and type(value) is int else value
    return merged
