"""The roles: the command of a learner's next turn, whom it meets there, and where what it has learned lies."""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from competitor.errors import ResumeError
from competitor.options import written
from competitor.population.book import NEWEST, Book, Kind, Learner, Member
from competitor.population.workers import Turn
from dreamer.files import atomic_write_bytes

CONFIG = "config.toml"
MEMBERS_SHARE = 0.25
"""Of the main agent's rounds, for all members together: as much as for a few of its past selves."""

FLOOR = 0.1
"""Of a member's points in these shares: who is beaten, or has not been measured, is met nevertheless."""


def turn_of(learner: Learner, directory: Path, minutes: float, met: Mapping[str, float]) -> Turn:
    """The next turn of a learner; it begins the run if there is none yet. met: shares of opponents by name.

    Raises ResumeError for a run that has lost its settings.
    """
    arguments = _sac(learner, directory, met) if learner.kind == "sac" else _dreamer(learner, directory, met)
    log = directory / "logs" / f"{learner.name}.log"
    # Rounded up: a turn of 0 minutes would never end.
    return Turn(learner.name, (*arguments, "--minutes", f"{max(minutes, 1e-4):.4f}"), directory, log)


def _dreamer(learner: Learner, directory: Path, met: Mapping[str, float]) -> list[str]:
    run = directory / "runs" / learner.run
    changes = [f"league.opponents.{name}={share}" for name, share in met.items()]
    if (run / CONFIG).is_file():
        begin = ["--resume", f"runs/{learner.run}"]
    elif (run / "state" / "current").is_file():
        raise ResumeError(f"{run} has saves and no {CONFIG}: put that back, or move the folder away")
    else:
        shutil.rmtree(run, ignore_errors=True)  # a kill before the run was one
        begin = ["--config", CONFIG, "--run", learner.run, "--seed", str(_seed(learner))]
        begin += ["--start-from", f"members/{learner.begins_from}"] if learner.begins_from else []
    return ["train", *begin, *_each("--set", changes)]


def _sac(learner: Learner, directory: Path, met: Mapping[str, float]) -> list[str]:
    run = directory / "runs" / "sparring" / learner.run
    if (run / "recipe.toml").is_file():
        return ["sparring", "train", "--resume", f"runs/sparring/{learner.run}"]
    nobody = dict.fromkeys(("weak", "strong", "pool"), 0.0)
    opponents = [f'opponents."{name}"={share}' for name, share in (nobody | dict(met)).items()]
    changes = _each("--set", [f"seed={_seed(learner)}", f"updates={10**9}", *opponents])
    return ["sparring", "train", "striker", "--run", learner.run, *changes]


def begin_again(exploiter: Learner, book: Book, *, sac: bool) -> None:
    """Make the next generation of an exploiter, of the next kind: SAC from nothing, a dreamer from an older self of the
    main agent, a dreamer from nothing.
    """
    exploiter.generation += 1
    exploiter.kind, is_older_self = kind_of(exploiter.generation, sac=sac)
    selves = book.of("main") if is_older_self else []
    exploiter.begins_from = selves[exploiter.generation % len(selves)].name if selves else ""
    exploiter.minutes, exploiter.turns, exploiter.failures = 0.0, 0, 0


def add_exploiters(book: Book, count: int, *, sac: bool) -> None:
    """Let there be `count` exploiters, at least one; their first generations begin in different ways."""
    for number in range(1 + sum(learner.role == "exploiter" for learner in book.learners), max(1, count) + 1):
        exploiter = Learner(name=f"exploiter-{number}", role="exploiter", generation=number - 1)
        begin_again(exploiter, book, sac=sac)
        book.learners.append(exploiter)


def kind_of(generation: int, *, sac: bool) -> tuple[Kind, bool]:
    """The kind of an exploiter's generation, and whether it begins with the weights of an older self."""
    ways: list[tuple[Kind, bool]] = [("sac", False), ("dreamer", True), ("dreamer", False)]
    possible = ways if sac else ways[1:]
    return possible[(generation - 1) % len(possible)]


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _seed(learner: Learner) -> int:
    """Every run has its own chance."""
    return zlib.crc32(learner.run.encode()) % 2**31


def opponents_of(learner: Learner, members: Sequence[Member], listed: Mapping[str, float]) -> dict[str, float]:
    """Whom a learner meets in its next turn.

    An exploiter meets the newest main agent alone. The main agent meets those `listed` in the settings and, with a
    share in all of MEMBERS_SHARE, the members that are met, in proportion to the points that they take from it, with a
    floor under them; the others get 0, since a run remembers them.
    """
    if learner.role == "exploiter":
        alone = dict.fromkeys(listed, 0.0) if learner.kind == "dreamer" else {}
        return {**alone, NEWEST: 1.0}
    others = [member for member in members if member.player not in listed]
    weights = {member.player: max(member.points or 0.0, FLOOR) if member.is_met else 0.0 for member in others}
    whole = MEMBERS_SHARE * sum(listed.values()) / (1.0 - MEMBERS_SHARE)
    total = sum(weights.values()) or 1.0
    return {player: round(whole * weight / total, 4) for player, weight in weights.items()}


def learned(learner: Learner, directory: Path) -> Path | None:
    """The weights (.safetensors) that the last turn left, or None before there are any."""
    if learner.kind == "sac":
        path = directory / "runs" / "sparring" / learner.run / "latest.safetensors"
    else:
        path = directory / "runs" / learner.run / "checkpoints" / "latest.safetensors"
    return path if path.is_file() else None


def freeze(weights: Path, target: Path) -> None:
    """Copy weights and the card beside them to `target` (.safetensors), the weights last. Raises StorageError.

    A checkpoint's weights hold the card themselves and may have none beside them.
    """
    for suffix in (".json", ".safetensors"):
        if not weights.with_suffix(suffix).exists():
            target.with_suffix(suffix).unlink(missing_ok=True)
            continue
        content = weights.with_suffix(suffix).read_bytes()
        with written(target):
            atomic_write_bytes(target.with_suffix(suffix), content)
