"""The door to sbx-rl (stable-baselines3's algorithms in JAX, by its makers; extra `sparring`)."""

import os
from pathlib import Path
from typing import Any

# One thread: more only get into the way of other processes. JAX reads this when it is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import flax.serialization
import gymnasium
import jax
import numpy as np
import sbx
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger

from competitor.sparring.recipes import Recipe
from dreamer.files import atomic_write_bytes

Array = NDArray[np.float32]
Layer = tuple[Array, Array]

WEIGHTS = "learner.msgpack"
STATES = ("actor_state", "qf_state", "qf1_state", "qf2_state", "vf_state")
"""Where sbx-rl's policies keep weights and optimisers; each algorithm has some of them."""


class _Spaces(gymnasium.Env[Array, Array]):
    """sbx-rl reads the shapes from an environment; nobody plays here."""

    observation_space = spaces.Box(-5.0, 5.0, (18,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)


def make_model(recipe: Recipe, *, policy: dict[str, Any] | None = None, **settings: Any) -> Any:
    """An sbx-rl model of the recipe's algorithm with two hidden layers of 256; `policy`: what else its policy takes."""
    model = getattr(sbx, recipe.algorithm)(
        "MlpPolicy", _Spaces(), seed=recipe.seed, gamma=recipe.discount,
        policy_kwargs={"net_arch": [256, 256], **(policy or {})}, **settings,
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    return model


class SbxLearner:
    """What all learners with an sbx-rl model share: weights and optimisers, saved and read."""

    def __init__(self, recipe: Recipe, model: Any) -> None:
        self.recipe, self.model = recipe, model
        self.updates = 0

    def numbers(self) -> dict[str, float]:
        values = self.model.logger.name_to_value
        return {key.removeprefix("train/"): float(value) for key, value in values.items()}

    def save(self, directory: Path) -> None:
        whole = {"updates": self.updates, **self._parts()}
        atomic_write_bytes(directory / WEIGHTS, flax.serialization.to_bytes(whole))

    def load(self, directory: Path, *, weights_only: bool = False) -> None:
        """Take over what `save` wrote; the count of updates only together with everything else."""
        data = (directory / WEIGHTS).read_bytes()
        parts = flax.serialization.from_bytes({"updates": 0, **self._parts()}, data)
        updates = int(parts.pop("updates"))
        for name, value in jax.tree.map(jax.numpy.asarray, parts).items():
            setattr(self.model.policy if name in STATES else self.model, name, value)
        if not weights_only:
            self.updates = self.model._n_updates = updates

    def _parts(self) -> dict[str, Any]:
        policy = self.model.policy
        parts = {name: getattr(policy, name) for name in STATES if hasattr(policy, name)}
        if hasattr(self.model, "ent_coef_state"):
            parts["ent_coef_state"] = self.model.ent_coef_state
        return parts | {"key": self.model.key}


def dense_layers(tree: dict[str, Any]) -> list[Layer]:
    """The dense layers of a flax module in their order, as (weight (outputs, inputs), bias (outputs,))."""
    names = sorted((name for name in tree if name.startswith("Dense_")), key=lambda name: int(name[6:]))
    return [(np.ascontiguousarray(tree[name]["kernel"].T), tree[name]["bias"].copy()) for name in names]
