"""Checkpoints: weights and a card that says what they are, in one safetensors file. Nothing is ever unpickled.

The card is JSON in the file's metadata: format version, model settings, sizes, a digest of the weights, and what the
caller wants to tell (preset, counters, code version, measured results). One rename puts both in place. ``NAME.json``
beside it is a copy for readers, written after it, that nothing here reads; in format version 1 it was the card itself.

Whatever is read is checked before anything is allocated for it, and weights that are not finite are refused.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dreamer.agent import DEVIATION_HEAD, Dreamer
from dreamer.behavior import Behavior
from dreamer.config import DreamerConfig, OptimizerConfig, ReplayConfig, Section
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write_bytes, atomic_write_text
from dreamer.former import FormerSettingError, drop_former, name_kind
from dreamer.optimizer import Learner
from dreamer.strict import first_problem
from dreamer.update import Updater
from dreamer.world_model import WorldModel

FORMAT_VERSION = 2
READABLE = (1, 2)
FORMAT = "hockey-dreamer"
MOST_HEADER_BYTES = 4 * 2**20  # of a safetensors file: names, shapes and the card take some ten thousand
LEARNING: dict[str, type[Section]] = {"optimizer": OptimizerConfig, "replay": ReplayConfig}
Count = Annotated[int, Field(ge=0, le=2**53)]


class Card(BaseModel):
    """What a card must hold; callers add what they like."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    obs_size: Annotated[int, Field(ge=1, le=4096)]
    action_size: Annotated[int, Field(ge=1, le=256)]
    updates: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    config: DreamerConfig


class Counters(BaseModel):
    """What training.json holds."""

    model_config = ConfigDict(strict=True)

    updates: Count
    device: str = "cpu"
    world: Count
    behavior: Count


def save_checkpoint(path: Path, agent: Dreamer, card: dict[str, Any]) -> None:
    """Write the weights of ``agent`` and its card to ``path`` (.safetensors, and a copy of the card as .json).

    Raises:
        CheckpointError: the files cannot be written; an older checkpoint of that name stays as it was.
    """
    weights, copy = _paths(path)
    tensors = _contiguous(agent.state_dict())
    about = {
        "format": FORMAT,
        "obs_size": agent.obs_size,
        "action_size": agent.action_size,
        "updates": agent.updates,
        **card,
        "format_version": FORMAT_VERSION,
        "sha256": _digest(tensors),
        "config": agent.config.model_dump(by_alias=True),
    }
    text = json.dumps(about, indent=2)
    data = save(tensors, {"card": text, "card_sha256": hashlib.sha256(text.encode()).hexdigest()})
    try:
        atomic_write_bytes(weights, data)
        atomic_write_text(copy, text + "\n")
    except OSError as error:
        raise CheckpointError(f"cannot write the checkpoint {weights}: {error.strerror or error}") from error


def load_checkpoint(path: Path) -> tuple[Dreamer, dict[str, Any]]:
    """Read a checkpoint: (agent, card). ``path`` may leave out its suffix.

    Raises:
        CheckpointError: a file is missing, damaged, foreign, or of a format this version does not understand.
    """
    weights, _ = _paths(path)
    card = read_card(path)
    checked = _checked(card, weights)
    data = _read(weights)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{weights} is damaged: it is no whole safetensors file") from error
    digest = hashlib.sha256(data).hexdigest() if card["format_version"] == 1 else _digest(tensors)
    if digest != checked.sha256:
        raise CheckpointError(f"{weights} is damaged or does not belong to its card: the digests differ")
    _check_weights(tensors, checked, weights)
    agent = Dreamer(checked.config, checked.obs_size, checked.action_size)
    agent.load_weights(tensors)
    agent.updates = checked.updates
    return agent, card


def read_card(path: Path) -> dict[str, Any]:
    """The card of a checkpoint, checked; raises CheckpointError like ``load_checkpoint``."""
    weights, beside = _paths(path)
    metadata = _metadata(weights, beside)
    where = weights if "card" in metadata else beside
    if "card" not in metadata and not os.path.lexists(beside):
        raise CheckpointError(
            f"{weights} is damaged or no {FORMAT} checkpoint: it holds no card, and none lies beside it"
        )
    text = metadata["card"].encode() if "card" in metadata else _read(beside)
    if "card" in metadata and hashlib.sha256(text).hexdigest() != metadata.get("card_sha256"):
        raise CheckpointError(f"{weights} is damaged: the digest of its card differs")
    try:
        card = from_json(text)
    except ValueError as error:
        raise CheckpointError(f"the card {where} is not JSON: it is damaged or foreign") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f"{where} is not the card of a {FORMAT} checkpoint")
    version = card.get("format_version")
    if type(version) is not int or version not in READABLE:
        raise CheckpointError(f"{where} has format version {version!r:.40}; this version reads 1 and 2")
    _checked(card, weights)
    return card


def _metadata(weights: Path, beside: Path) -> dict[str, str]:
    """What stands in the header of a safetensors file beside its tensors; nothing if it is damaged or foreign."""
    try:
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = from_json(file.read(size)) if size <= MOST_HEADER_BYTES else None
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(beside):
            raise CheckpointError(f"there is no checkpoint {weights}") from error
        raise CheckpointError(f"cannot read {weights}: {error.strerror or error}") from error
    except ValueError:
        header = None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return (
        {key: value for key, value in metadata.items() if isinstance(value, str)} if isinstance(metadata, dict) else {}
    )


def _checked(card: dict[str, Any], weights: Path) -> Card:
    try:
        return Card.model_validate_json(json.dumps({**card, "config": _modern(card.get("config"))}, default=str))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"the card of {weights} describes a model that this version does not know{_first(error)}"
        ) from error


def _modern(config: Any) -> Any:
    """The settings on a card, which may hold anything, as this version names them.

    What steered nothing but its learning, and is no choice any more, does not matter to who plays. Raises
    FormerSettingError.
    """
    if not isinstance(config, dict):
        return config
    given = {name: dict(table) if isinstance(table, dict) else table for name, table in config.items()}
    for name, section in LEARNING.items():
        if isinstance(given.get(name), dict):
            given[name] = {key: value for key, value in given[name].items() if key in section.model_fields}
    if isinstance(given.get("model"), dict):
        given["model"] = {"observed": False, "prediction_width": 1, **given["model"]}  # cards up to 0.3 did not tell
    if isinstance(given.get("behavior"), dict):
        given["behavior"] = {"lookahead": 0, "siblings": 1, **given["behavior"]}  # nor did those up to 0.1
    name_kind(given)
    drop_former(given)
    return given


def _first(error: Exception) -> str:
    """Where and what the first mistake is."""
    if isinstance(error, FormerSettingError):
        return f": {error}"
    return f": {first_problem(error)}" if isinstance(error, ValidationError) else ""


def _check_weights(tensors: dict[str, Tensor], card: Card, weights: Path) -> None:
    """Compare with a skeleton of the model, for which no memory is taken; raises CheckpointError."""
    with torch.device("meta"):
        world = WorldModel(card.config, card.obs_size, card.action_size)
        behavior = Behavior(world.dynamics.feature_size, card.action_size, card.config)
    parts = {"world_model": world, "behavior": behavior}
    wanted = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    if not any(key.startswith(DEVIATION_HEAD) for key in tensors):
        wanted = {key: value for key, value in wanted.items() if not key.startswith(DEVIATION_HEAD)}
    described = {key: (value.dtype, value.shape) for key, value in tensors.items()}
    if described != {key: (value.dtype, value.shape) for key, value in wanted.items()}:
        raise CheckpointError(f"the weights in {weights} do not fit the model that its card describes")
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise CheckpointError(f"{weights} cannot be used: some of its weights are not finite")


def _digest(tensors: dict[str, Tensor]) -> str:
    """Of the weights alone, in the order in which safetensors lays them out."""
    return hashlib.sha256(save(tensors)).hexdigest()


def save_training_state(directory: Path, updater: Updater) -> None:
    """Write everything beyond the weights that the next update depends on; raises CheckpointError."""
    agent = updater.agent
    tensors = {f"context.{key}": value for key, value in (updater.context or {}).items()}
    tensors["generator.acting"] = agent.generator.get_state()
    tensors["generator.learning"] = updater.learning_generator.get_state()
    tensors["generator.dreaming"] = updater.dreaming_generator.get_state()
    for name, learner in _learners(updater).items():
        tensors |= {f"{name}.{key}": value for key, value in learner.state_tensors().items()}
    counters: dict[str, Any] = {"updates": agent.updates, "device": agent.device.type}
    counters |= {name: learner.steps for name, learner in _learners(updater).items()}
    try:
        data = save(_contiguous(tensors))
        atomic_write_bytes(directory / "training.safetensors", data)
        atomic_write_text(directory / "training.json", json.dumps(counters))
    except OSError as error:
        raise CheckpointError(f"cannot write the training state to {directory}: {error.strerror or error}") from error


def load_training_state(directory: Path, updater: Updater) -> None:
    """Continue where ``save_training_state`` stopped: the next update is the one it would have made.

    An agent on another kind of device goes on with other chance: states of generators do not carry over.

    Raises:
        CheckpointError: files are missing, damaged, or of another model.
    """
    agent = updater.agent
    try:
        tensors = load(_read(directory / "training.safetensors"))
        counters = Counters.model_validate_json(_read(directory / "training.json"))
        context = {key.removeprefix("context."): value for key, value in tensors.items() if key.startswith("context.")}
        updater.context = {key: value.to(agent.device) for key, value in context.items()} or None
        if counters.device == agent.device.type:
            agent.generator.set_state(tensors["generator.acting"])
            updater.learning_generator.set_state(tensors["generator.learning"])
            if "generator.dreaming" in tensors:  # states saved before version 0.2 have none
                updater.dreaming_generator.set_state(tensors["generator.dreaming"])
        else:
            _begin_anew(updater, counters.updates)
        for name, steps in (("world", counters.world), ("behavior", counters.behavior)):
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            _learners(updater)[name].load_state_tensors(own, steps)
        agent.updates = counters.updates
    except (SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        reason = (
            f"training.json{_first(error)}" if isinstance(error, ValidationError) else str(error).partition("\n")[0]
        )
        raise CheckpointError(f"the training state in {directory} is damaged or of another model: {reason}") from error


def _begin_anew(updater: Updater, updates: int) -> None:
    """Seed the generators by the updates made, so that no chance is met twice."""
    for place, generator in enumerate(
        (updater.agent.generator, updater.learning_generator, updater.dreaming_generator)
    ):
        generator.manual_seed(3 * updates + place)


def _learners(updater: Updater) -> dict[str, Learner]:
    return {"world": updater.world_learner, "behavior": updater.behavior_learner}


def _paths(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.parent / f"{stem.name}.safetensors", stem.parent / f"{stem.name}.json"  # a path may have no name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU: files are the same whatever the device."""
    return {key: torch.clone(value.detach()).contiguous().cpu() for key, value in tensors.items()}
