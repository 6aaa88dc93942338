"""Players by what the user calls them: one notation for every command, setting and file.

::

    weak, strong, random    the course's basic opponents, and pure chance
    champion                the shipped agent
    FILE                    a checkpoint, with or without its suffix
    DIRECTORY               a run: its best checkpoint
    module:Class            a class of the user's, see docs/evaluation.md
    sb3:FILE.zip            a policy of stable-baselines3
    sparring:NAME           a sparring partner, see docs/sparring.md
    search:CHECKPOINT       champion, FILE or DIRECTORY, which tries its actions out before it plays, see docs/search.md
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from competitor.config import shipped
from competitor.errors import PlayerError
from competitor.players.baselines import PREFIX as BASELINES
from competitor.players.baselines import load_baseline
from competitor.players.dreamer import Acting, DreamerPlayer, SampledDreamer
from competitor.players.foreign import load_class, source_of
from competitor.players.player import Player
from competitor.players.scripted import BasicPlayer, RandomPlayer
from competitor.players.search import PREFIX as SEARCH
from competitor.players.search import Searcher, goal_of
from competitor.players.sparring import PREFIX as SPARRING
from competitor.players.sparring import load_partner, partner_path
from competitor.players.sparring import read_card as read_partner_card
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.errors import CheckpointError

Kind = Literal["basic", "random", "checkpoint", "class", "baseline", "partner", "search"]

AGENTS = ("checkpoint", "search")
"""Kinds of players that have a checkpoint."""
BASIC = ("weak", "strong")
RANDOM = "random"
CHAMPION = "champion"
BEST_OF_RUN = Path("checkpoints/best")
SUFFIXES = (".safetensors", ".json")


def make_player(spec: str, *, seed: int, deterministic: bool = True, keep_mode: bool = True) -> Player:
    """Return the player that `spec` names, see the top of this module.

    seed: of its chance. deterministic: the policy's most likely actions instead of samples. keep_mode: whether
    the rink lets a player hold the puck.

    Raises PlayerError (no such player, or one that cannot play), PackageError (its package is not installed) and
    dreamer.errors.CheckpointError.
    """
    kind = kind_of(spec)
    if kind == "basic":
        return BasicPlayer(weak=spec == "weak", seed=seed, keep_mode=keep_mode)
    if kind == "random":
        return RandomPlayer(seed)
    if kind in AGENTS:
        agent, acting, _ = load_acting(spec)
        agent.generator.manual_seed(seed)
        return (DreamerPlayer if deterministic else SampledDreamer)(agent, spec, acting=acting)
    if kind == "baseline":
        return load_baseline(spec, seed=seed, deterministic=deterministic)
    if kind == "partner":
        return load_partner(spec.removeprefix(SPARRING))
    return load_class(spec)


def kind_of(spec: str) -> Kind:
    """Return what `spec` names, without loading it; raises PlayerError when it names nothing."""
    if spec in BASIC:
        return "basic"
    if spec == RANDOM:
        return "random"
    if spec.startswith(BASELINES):
        return "baseline"
    if spec.startswith(SPARRING):
        return "partner"
    if spec.startswith(SEARCH):
        name = spec.removeprefix(SEARCH)
        if kind_of(name) != "checkpoint":
            raise PlayerError(f"{name} cannot search, as it has no world model: {SEARCH} is for checkpoints and runs")
        return "search"
    if _names_checkpoint(spec):
        return "checkpoint"
    if ":" in spec:
        return "class"
    raise PlayerError(
        f"unknown player '{spec}': choose one of weak, strong, random, {CHAMPION} (the shipped agent), "
        "sparring:NAME (a sparring partner), the path of a checkpoint or of a run, search: before one of those, "
        "module:Class, or sb3:FILE.zip"
    )


def checkpoint_path(spec: str) -> Path:
    """Return the checkpoint that `spec` names: the shipped one for "champion", a run's best one, or the path itself.

    Raises dreamer.errors.CheckpointError for a run that has no best one yet, and for a file or player of another kind.
    """
    path = Path(spec)
    if spec == CHAMPION:
        return shipped(f"checkpoints/{CHAMPION}.safetensors")
    if is_run(spec):
        return _best_of(path)
    weights = path if path.suffix == ".safetensors" else Path(f"{spec}.safetensors")
    has_weights = os.path.isfile(weights)
    if os.path.isfile(path) and path.suffix not in SUFFIXES and not has_weights:
        hint = f"; a policy of stable-baselines3 is {BASELINES}{spec}" if path.suffix == ".zip" else ""
        raise CheckpointError(f"{spec} is no checkpoint: those are NAME.safetensors with a card NAME.json{hint}")
    if os.path.isdir(path) and not has_weights:
        raise CheckpointError(f"the folder {path} is no run, which would have its checkpoints in {BEST_OF_RUN.parent}/")
    if not has_weights and (spec in (*BASIC, RANDOM) or spec.startswith((BASELINES, SPARRING, SEARCH))):
        raise CheckpointError(f"{spec} is a player without a checkpoint: give {CHAMPION}, a checkpoint or a run")
    if has_weights and _is_partner(weights):
        raise CheckpointError(f"{spec} is a sparring partner and no checkpoint: as a player it is {SPARRING}{weights}")
    return path


def _is_partner(weights: Path) -> bool:
    with suppress(CheckpointError):
        return bool(read_partner_card(weights))
    return False


def searching(spec: str) -> str:
    """Return what the checkpoint `spec` is called when it searches."""
    return spec if spec.startswith(SEARCH) else SEARCH + spec


def agent_path(spec: str) -> Path:
    """Return the checkpoint of a player of a kind in AGENTS, whether it searches or not; see `checkpoint_path`."""
    return checkpoint_path(spec.removeprefix(SEARCH))


def _best_of(run: Path) -> Path:
    best = run / BEST_OF_RUN
    if not any(best.parent.glob(f"{best.name}*")):
        latest = best.with_name("latest")
        raise CheckpointError(f"the run {run} has no best checkpoint yet: its newest one is {latest}")
    return best


def fingerprint(spec: str) -> str:
    """Return the sha256 of the file that makes the player `spec`, or of its name if it has no file of its own.

    For a checkpoint take the digest on its card. Raises PlayerError when the file cannot be read.
    """
    file = _file_of(spec)
    try:
        return hashlib.sha256(spec.encode() if file is None else file.read_bytes()).hexdigest()
    except OSError as error:
        raise PlayerError(f"player {spec} cannot be read: {file}: {error.strerror}") from error


def short_name(spec: str) -> str:
    """Return a name for the player `spec` without folders, suffixes and modules: "mine" for "sb3:zips/mine.zip"."""
    path = Path(spec.rpartition(":")[2])
    return path.stem if path.suffix in (".safetensors", ".zip") else path.name


def _file_of(spec: str) -> Path | None:
    kind = kind_of(spec)
    if kind == "baseline":
        return Path(spec.removeprefix(BASELINES))
    if kind == "partner":
        return partner_path(spec.removeprefix(SPARRING))
    return source_of(spec) if kind == "class" else None


def is_run(spec: str) -> bool:
    return os.path.isdir(Path(spec) / BEST_OF_RUN.parent)


def _names_checkpoint(spec: str) -> bool:
    path = Path(spec)
    looks_like_one = path.suffix == ".safetensors" or (len(path.parts) > 1 and ":" not in spec)
    exists = os.path.isfile(path) or is_run(spec) or os.path.isfile(f"{spec}.safetensors")
    return spec == CHAMPION or looks_like_one or (bool(spec) and exists)


def load_acting(spec: str) -> tuple[Dreamer, Acting, dict[str, Any]]:
    """Return the agent of a checkpoint, or of one that searches, who decides with it, and its card.

    Raises PlayerError for an agent that cannot search, and CheckpointError.
    """
    agent, card = load_checkpoint(agent_path(spec))
    if not spec.startswith(SEARCH):
        return agent, agent, card
    return agent, Searcher(agent, spec, goal_of(card)), card
