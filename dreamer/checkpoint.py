"""Checkpoints: weights as safetensors beside a JSON card. Nothing is ever unpickled.

``NAME.safetensors`` holds tensors only; ``NAME.json`` says what they are: format version, model settings, sizes, a
digest of the weights, and what the caller wants to tell (preset, counters, code version, measured results).

Both are switched by one rename, that of the weights: the new card waits beside them as ``.NAME.next.json`` and is
found there by its digest of the weights if the process ended before it got its name.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write, atomic_write_text

FORMAT_VERSION = 1
FORMAT = "hockey-dreamer"


def save_checkpoint(path: Path, agent: Dreamer, card: dict[str, Any]) -> None:
    """Write the weights of ``agent`` and its card to ``path`` (.safetensors and .json), each whole or not at all.

    Raises:
        CheckpointError: the files cannot be written; an older checkpoint of that name stays as it was.
    """
    weights, card_path = _paths(path)
    data = save(_contiguous(agent.state_dict()))
    about = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "obs_size": agent.obs_size,
        "action_size": agent.action_size,
        "updates": agent.updates,
        "sha256": hashlib.sha256(data).hexdigest(),
        **card,
        "config": agent.config.model_dump(by_alias=True),
    }
    try:
        atomic_write_text(_next_card(card_path), json.dumps(about, indent=2) + "\n")
        atomic_write(weights, lambda file: file.write(data))
        _next_card(card_path).replace(card_path)
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {weights}: {error.strerror or error}") from error


def load_checkpoint(path: Path) -> tuple[Dreamer, dict[str, Any]]:
    """Read a checkpoint: (agent, card). ``path`` may leave out its suffix.

    Raises:
        CheckpointError: a file is missing, damaged, foreign, or of a format this version does not understand.
    """
    weights, _ = _paths(path)
    card = read_card(path)
    config = _config(card, weights)
    data = _read(weights)
    if hashlib.sha256(data).hexdigest() != card.get("sha256"):
        raise CheckpointError(f"{weights} is damaged or does not belong to its card: the digests differ")
    agent = Dreamer(config, card["obs_size"], card["action_size"])
    try:
        agent.load_state_dict(load(data))
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"the weights in {weights} do not fit the model that its card describes") from error
    agent.updates = card["updates"]
    return agent, card


def read_card(path: Path) -> dict[str, Any]:
    """The card of a checkpoint, checked; raises CheckpointError like ``load_checkpoint``."""
    weights, card_path = _paths(path)
    if not weights.exists() and not card_path.exists():
        raise CheckpointError(f"there is no checkpoint {weights}")
    try:
        card = json.loads(_card_text(weights, card_path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the card {card_path} is not JSON: it is damaged or foreign") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f"{card_path} is not the card of a {FORMAT} checkpoint")
    if card.get("format_version") != FORMAT_VERSION:
        version = card.get("format_version")
        raise CheckpointError(f"{card_path} has format version {version}; this version reads {FORMAT_VERSION}")
    return card


def save_training_state(directory: Path, agent: Dreamer) -> None:
    """Write everything beyond the weights that the next update depends on; raises CheckpointError."""
    tensors = {f"context.{key}": value for key, value in (agent.context or {}).items()}
    tensors["generator.acting"] = agent.generator.get_state()
    tensors["generator.learning"] = agent.learning_generator.get_state()
    tensors["generator.dreaming"] = agent.dreaming_generator.get_state()
    for name, learner in _learners(agent).items():
        tensors |= {f"{name}.{key}": value for key, value in learner.state_tensors().items()}
    counters: dict[str, Any] = {"updates": agent.updates, "device": agent.device.type}
    counters |= {name: learner.steps for name, learner in _learners(agent).items()}
    try:
        data = save(_contiguous(tensors))
        atomic_write(directory / "training.safetensors", lambda file: file.write(data))
        atomic_write_text(directory / "training.json", json.dumps(counters))
    except OSError as error:
        raise CheckpointError(f"cannot write the training state to {directory}: {error.strerror or error}") from error


def load_training_state(directory: Path, agent: Dreamer) -> None:
    """Continue where ``save_training_state`` stopped: the next update is the one it would have made.

    An agent on another kind of device goes on with other chance: states of generators do not carry over.

    Raises:
        CheckpointError: files are missing, damaged, or of another model.
    """
    try:
        tensors = load(_read(directory / "training.safetensors"))
        counters = _counters(directory / "training.json", ["updates", *_learners(agent)])
        context = {key.removeprefix("context."): value for key, value in tensors.items() if key.startswith("context.")}
        agent.context = {key: value.to(agent.device) for key, value in context.items()} or None
        if counters.get("device", "cpu") == agent.device.type:
            agent.generator.set_state(tensors["generator.acting"])
            agent.learning_generator.set_state(tensors["generator.learning"])
            if "generator.dreaming" in tensors:  # states saved before version 0.2 have none
                agent.dreaming_generator.set_state(tensors["generator.dreaming"])
        else:
            _begin_anew(agent, counters["updates"])
        for name, learner in _learners(agent).items():
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            learner.load_state_tensors(own, counters[name])
        agent.updates = counters["updates"]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:  # too deep JSON is a RuntimeError
        raise CheckpointError(f"the training state in {directory} is damaged or of another model: {error}") from error


def _counters(file: Path, names: list[str]) -> dict[str, Any]:
    """The counters in ``file``, which has to hold those of ``names``; raises ValueError where they are none."""
    counters = json.loads(_read(file))
    found = [counters.get(name) for name in names] if isinstance(counters, dict) else [None]
    if not all(type(count) is int and 0 <= count < 2**53 for count in found):
        raise ValueError(f"{file.name} does not hold the numbers {', '.join(names)}")
    return dict(counters)


def _begin_anew(agent: Dreamer, updates: int) -> None:
    """Seed the generators by the updates made, so that no chance is met twice."""
    for place, generator in enumerate((agent.generator, agent.learning_generator, agent.dreaming_generator)):
        generator.manual_seed(3 * updates + place)


def _learners(agent: Dreamer) -> dict[str, Any]:
    return {"world": agent.world_learner, "behavior": agent.behavior_learner}


def _paths(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def _next_card(card: Path) -> Path:
    return card.with_name(f".{card.stem}.next.json")


def _card_text(weights: Path, card: Path) -> bytes:
    """The card, or the one that waits beside it if the weights are already those that it describes."""
    try:
        waiting = _next_card(card).read_bytes()
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError:
        return _read(card)
    return waiting if digest.encode() in waiting else _read(card)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _config(card: dict[str, Any], weights: Path) -> DreamerConfig:
    try:
        sizes = [int(card[key]) for key in ("obs_size", "action_size", "updates")]
        assert min(sizes[:2]) > 0
        return DreamerConfig.model_validate(card["config"])
    except (KeyError, TypeError, ValueError, AssertionError, ValidationError) as error:
        raise CheckpointError(f"the card of {weights} describes a model that this version does not know") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: files are the same whatever the device."""
    return {key: torch.clone(value.detach()).contiguous().cpu() for key, value in tensors.items()}
