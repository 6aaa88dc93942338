"""Policies that stable-baselines3 saved, as players: "sb3:FILE.zip".

Nothing in such a file is unpickled: pickles of strangers run what they like. The sizes and settings are read from
the JSON in the archive, the weights as tensors only, and the policy is built anew from them by the library itself.
What normalised the observations (VecNormalize) is a pickle beside it; of it numbers and arrays are read, and
everything else is replaced by an object that does nothing.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from competitor.errors import PlayerError, needing
from competitor.players.foreign import explained
from competitor.players.player import ACTION_SIZE, Array, Flags, clean_actions, playing_rows

PREFIX = "sb3:"
POLICIES = {
    "stable_baselines3.common.policies": "ActorCriticPolicy",  # PPO, A2C
    "stable_baselines3.sac.policies": "SACPolicy",
    "stable_baselines3.td3.policies": "TD3Policy",  # DDPG as well
    "sb3_contrib.tqc.policies": "TQCPolicy",
}
ON_POLICY = "stable_baselines3.common.policies"
IGNORED_SETTINGS = frozenset({"optimizer_class", "optimizer_kwargs", "features_extractor_kwargs"})
ARRAY_PARTS = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"})
MOST_BYTES = 512 * 2**20
"""A policy for 18 numbers has a few megabytes; an archive that would unpack to more is none."""


class BaselinePlayer:
    """A policy of stable-baselines3 in every slot; it remembers nothing."""

    def __init__(self, policy: Any, normalise: Normaliser | None, name: str, *, seed: int, deterministic: bool) -> None:
        self.name = name
        self.policy, self._normalise, self.deterministic = policy, normalise, deterministic
        self._chance = torch.Generator().manual_seed(seed).get_state()
        self._slots = 0

    def reset(self, slots: int) -> None:
        self._slots = slots

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return actions (slots, 4), finite and in [-1, 1], for observations (slots, 18).

        Raises PlayerError for observations of another size than the policy was trained with.
        """
        size = self.policy.observation_space.shape[0]
        if obs.shape[1] != size:
            raise PlayerError(f"{self.name} plays with {size} observations, the rink has {obs.shape[1]}")
        actions = np.zeros((self._slots, ACTION_SIZE), dtype=np.float32)
        rows = playing_rows(obs)
        if rows.size:
            chosen = self._predict(obs[rows])
            actions[rows, : chosen.shape[1]] = clean_actions(chosen, *chosen.shape)
        return actions

    def _predict(self, obs: Array) -> Array:
        seen = obs if self._normalise is None else self._normalise(obs)
        with torch.random.fork_rng(devices=[]), explained(f"player {self.name} failed"):
            torch.set_rng_state(self._chance)  # the library draws from torch's global generator
            chosen: Array = self.policy.predict(seen, deterministic=self.deterministic)[0]
            self._chance = torch.get_rng_state()
        return chosen


class Normaliser:
    """What VecNormalize does to observations: (obs - mean) / deviation, clipped."""

    def __init__(self, mean: Any, variance: Any, epsilon: Any, clip: Any, size: int) -> None:
        """mean, variance: (size,). Raises ValueError for other shapes or numbers that are not finite."""
        self._mean, self._variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
        self._epsilon, self._clip = float(epsilon), float(clip)
        if self._mean.shape != (size,) or self._variance.shape != (size,):
            raise ValueError(f"it normalises observations of shape {self._mean.shape}, the policy takes {size}")
        if not np.isfinite([self._mean, self._variance]).all() or (self._variance + self._epsilon <= 0).any():
            raise ValueError("its numbers are not finite or its variances negative")

    def __call__(self, obs: Array) -> Array:
        """Return obs (n, size) normalised, as float32."""
        scaled = (obs - self._mean) / np.sqrt(self._variance + self._epsilon)
        return np.clip(scaled, -self._clip, self._clip).astype(np.float32)


def load_baseline(spec: str, *, seed: int, deterministic: bool) -> BaselinePlayer:
    """Return the player of "sb3:FILE.zip".

    Raises PackageError when the library is not installed, PlayerError for a file that is missing, damaged, or of a
    policy that cannot play here.
    """
    _package("stable_baselines3")
    path = Path(spec.removeprefix(PREFIX))
    settings, weights = _read(spec, path)
    module = _mapping(settings.get("policy_class")).get("__module__")
    if module not in POLICIES:
        raise PlayerError(f"player {spec} is of a kind that is not known here ({module}): TD3, SAC, PPO and TQC are")
    package = _package(str(module))
    with explained(f"player {spec} cannot be loaded"):
        policy = _build(getattr(package, POLICIES[module]), settings, weights, on_policy=module == ON_POLICY)
    normalise = _normaliser(spec, path, policy.observation_space.shape[0])
    return BaselinePlayer(policy, normalise, spec, seed=seed, deterministic=deterministic)


def _package(name: str) -> Any:
    with needing("a player of stable-baselines3", "baselines"):
        return importlib.import_module(name)


def _read(spec: str, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the settings and the policy's weights in the archive; raises PlayerError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                raise PlayerError(f"player {spec}: {path} is no policy: it would unpack to more than 512 MB")
            data, policy = archive.read("data"), archive.read("policy.pth")
        settings = json.loads(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that are no weights; what comes of them is said below
            weights = torch.load(io.BytesIO(policy), map_location="cpu", weights_only=True)
    except OSError as error:
        raise PlayerError(f"player {spec} cannot be read: {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, KeyError, ValueError, RecursionError, RuntimeError,
            EOFError, NotImplementedError, pickle.UnpicklingError) as error:  # fmt: skip
        raise PlayerError(f"{path} is damaged, or no file that stable-baselines3 saved with model.save()") from error
    if not isinstance(settings, dict) or not isinstance(weights, dict):
        raise PlayerError(f"{path} is damaged, or no file that stable-baselines3 saved with model.save()")
    return settings, weights


def _build(kind: Any, settings: dict[str, Any], weights: dict[str, torch.Tensor], *, on_policy: bool) -> Any:
    """Build the policy as its algorithm does and give it its weights; raises ValueError and what the library does."""
    (size,) = _shape(settings, "observation_space")
    (actions,) = _shape(settings, "action_space")
    if actions not in (ACTION_SIZE - 1, ACTION_SIZE):
        raise ValueError(f"it gives {actions} numbers as its action, a player has 4 (force x, force y, torque, shoot)")
    arguments = _policy_arguments(_mapping(settings.get("policy_kwargs")))
    if on_policy:
        arguments["use_sde"] = settings.get("use_sde") is True
    spaces = Box(-np.inf, np.inf, (size,), np.float64), Box(-1.0, 1.0, (actions,), np.float32)
    policy = kind(*spaces, lambda progress: 0.0, **arguments)  # a learning rate that nothing is learned with
    policy.load_state_dict(weights)
    policy.set_training_mode(False)
    return policy


def _shape(settings: dict[str, Any], space: str) -> list[int]:
    """Return the shape of a Box; raises ValueError for another kind of space, or more than one axis."""
    shape = _mapping(settings.get(space)).get("_shape")
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int or not 0 < shape[0] < 1000:
        raise ValueError(f"its {space} is not a row of numbers (Box)")
    return shape


def _policy_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the policy was made with, as far as acting depends on it; raises ValueError for unknown classes."""
    arguments: dict[str, Any] = {}
    for key, value in kwargs.items():
        if key.startswith(":") or key in IGNORED_SETTINGS or str(value).endswith("FlattenExtractor'>"):
            continue
        if key == "activation_fn":
            value = _activation(str(value))
        elif isinstance(value, str):
            raise ValueError(f"it was made with {key} = {value}, which only its own program can load")
        arguments[key] = value
    return arguments


def _activation(text: str) -> Any:
    found = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", text)
    if found is None:
        raise ValueError(f"it was made with the activation {text}, which is none of torch's")
    return getattr(torch.nn, found[1])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def normaliser_file(path: Path) -> Path | None:
    """Return the VecNormalize pickle that belongs to the policy at `path`, None if there is none beside it."""
    stem = path.name.removesuffix(".zip")
    steps = re.fullmatch(r"(.+)_(\d+_steps)", stem)  # as CheckpointCallback names both
    names = [f"{stem}.pkl", f"{stem}_vecnormalize.pkl"]
    names += [f"{steps[1]}_vecnormalize_{steps[2]}.pkl"] if steps else []
    names += ["vecnormalize.pkl", "vec_normalize.pkl"]
    return next((file for name in names if os.path.isfile(file := path.with_name(name))), None)


def _normaliser(spec: str, path: Path, size: int) -> Normaliser | None:
    file = normaliser_file(path)
    if file is None:
        return None
    with explained(f"player {spec}: {file} does not say how observations were normalised"):
        saved = vars(_Harmless(io.BytesIO(file.read_bytes())).load())
        if not saved["norm_obs"]:
            return None
        moments = vars(saved["obs_rms"])
        return Normaliser(moments["mean"], moments["var"], saved["epsilon"], saved["clip_obs"], size)


class _Inert:
    """Stands for any object of a pickle: takes everything, does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _Harmless(pickle.Unpickler):
    """Reads a pickle's numbers and arrays; no other class or function of it is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy._core.multiarray", "numpy.core.multiarray", "numpy._core.numeric",
                      "numpy.core.numeric") and name in ARRAY_PARTS:  # fmt: skip
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        return _Inert
