"""Rounds as files: everything a round was, replayable bit for bit and readable as experience.

One round is one compressed .npz, written without pickle:

========= ======================= ================================================================
obs       float32 (2, T + 1, 18)  both players' views, the last one after the last action
actions   float32 (2, T, 4)       both players' actions, each in its own frame
info      float64 (2, T, 4)       closeness, touch, direction, winner after each action, by player
about     text                    JSON: format version, seed, one_starting, mode, side, names, ...
========= ======================= ================================================================
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import AliasChoices, Field

from competitor.config import RewardWeights
from competitor.errors import RecordingError
from competitor.play.match_file import View, is_match_file, read_views
from competitor.play.npz import SUFFIX, check_array, packed, read_about, read_arrays
from competitor.play.outcomes import plausible
from competitor.play.rounds import Round, RoundSetup
from competitor.rink import Mode, RinkBatch, make_rink
from competitor.rink.constants import MOST_STEPS
from dreamer.files import atomic_write_bytes
from dreamer.replay import Episode
from dreamer.strict import Strict

ModeName = Literal["NORMAL", "TRAIN_SHOOTING", "TRAIN_DEFENSE"]
Side = Literal[0, 1]
Result = Literal[-1, 0, 1]

FORMAT_VERSION = 1
KINDS = {"obs": np.float32, "actions": np.float32, "info": np.float64}
OUTCOMES = {1: "won", 0: "drawn", -1: "lost"}
LONGEST_NAME = 80
"""Of one of the two names in that of a file, which a file system lets have 255 bytes."""
LARGEST_INFO = 10.0
"""What a rink says of one step lies within 1, or 3 for the closeness."""


class About(Strict):
    """What a recording says of its round. side: where `player` played, 0: left. result: +1 when it won."""

    format_version: int
    player: str
    opponent: str
    number: int = Field(ge=0)
    seed: int = Field(ge=0)
    one_starting: bool
    mode: ModeName
    side: Side = Field(validation_alias=AliasChoices("side", "seat"))  # older files say "seat"
    engine: str
    keep_mode: bool
    result: Result
    steps: int = Field(ge=1)


@dataclass(frozen=True)
class Recording:
    """A recorded round as it was played, and what is known about it."""

    about: About
    round: Round


def record_round(directory: Path, played: Round, *, number: int, player: str, engine: str, keep_mode: bool) -> Path:
    """Write `played` to a file of its own in `directory` and return its path; the file is whole or absent.

    Another round that has this name already stays, and this one's has a number more.
    Raises OSError when the disk is full or the directory cannot be written.
    """
    setup = played.setup
    about = About(
        format_version=FORMAT_VERSION,
        player=_utf8(player),
        opponent=_utf8(setup.opponent),
        number=number,
        seed=setup.seed,
        one_starting=setup.one_starting,
        mode=cast(ModeName, setup.mode.name),
        side=cast(Side, setup.side),
        engine=engine,
        keep_mode=keep_mode,
        result=cast(Result, played.result),
        steps=played.steps,
    )
    # Of the player only the last part: a directory is usually its own. Opponents have to differ.
    names = f"{_plain(Path(player).name)}-{_plain(setup.opponent)}"
    arrays = {name: getattr(played, name) for name in KINDS}
    content = packed({**arrays, "about": np.array(about.model_dump_json())})
    path = _place(directory / f"{names}-{number:05d}-{OUTCOMES[played.result]}", content)
    atomic_write_bytes(path, content)
    return path


def _place(stem: Path, content: bytes) -> Path:
    """The first file of this name that is not there, or holds this very round."""
    path = stem.parent / f"{stem.name}{SUFFIX}"
    for again in count(2):
        if not path.exists() or path.read_bytes() == content:
            break
        path = stem.parent / f"{stem.name}-{again}{SUFFIX}"
    return path


def load_recording(path: Path) -> Recording:
    """Read a recorded round.

    Raises RecordingError when the file is missing, damaged, of another format or another version.
    """
    if is_match_file(path):
        raise RecordingError(f"{path} is a match on a server, known from one side only: it cannot be played again")
    arrays = read_arrays(path, (*KINDS, "about"))
    about = read_about(path, arrays["about"], About, FORMAT_VERSION)
    setup = RoundSetup(about.one_starting, about.seed, Mode[about.mode], about.side, about.opponent)
    played = Round(setup, arrays["obs"], arrays["actions"], arrays["info"])
    features, numbers = (18, 4) if about.keep_mode else (16, 3)
    shapes = (about.steps + 1, features), (about.steps, numbers), (about.steps, 4)
    for (name, kind), shape in zip(KINDS.items(), shapes, strict=True):
        check_array(path, name, arrays[name], kind, (2, *shape))
    return Recording(about, played)


def recordings_in(directory: Path) -> list[Path]:
    """Return the recorded rounds in `directory`, in the order of their names; RecordingError without any."""
    paths = sorted(directory.glob(f"*{SUFFIX}")) if os.path.isdir(directory) else []
    if not paths:
        raise RecordingError(f"there are no recorded rounds in {directory}")
    return paths


def load_episodes(directory: Path, weights: RewardWeights) -> Iterator[Episode]:
    """Yield what was recorded in `directory`, to learn from, in the order of the files' names.

    Of a round of `evaluate --record` both players' views, of a tournament's match the own view of each round.
    Actions are clipped, as a rink does. Raises RecordingError when there is nothing, or a file cannot be read or holds
    what no rink can have sent.
    """
    for path in recordings_in(directory):
        for seen in _views(path):
            _check_learnable(path, seen)
            actions = np.clip(seen.action, -1.0, 1.0)
            yield Episode(seen.obs, actions, weights.rewards(seen.info), seen.terminal, own=False)


def _views(path: Path) -> Iterator[View]:
    if is_match_file(path):
        for seen in read_views(path):  # a goal is an end, and the clock's draw
            yield replace(seen, terminal=seen.terminal or len(seen.action) == MOST_STEPS)
        return
    played = load_recording(path).round
    yield from (View(played.obs[i], played.actions[i], played.info[i], played.is_decided) for i in (0, 1))


def _check_learnable(path: Path, seen: View) -> None:
    """Raise RecordingError for what would spoil a training: it takes its scales from all that it replays."""
    if len(seen.action) > MOST_STEPS:
        raise RecordingError(f"{path} is damaged: a round has {len(seen.action)} steps, the clock allows {MOST_STEPS}")
    if not plausible(seen.obs).all() or np.abs(seen.info).max() > LARGEST_INFO or abs(seen.info[-1, 3]) not in (0, 1):
        raise RecordingError(f"{path} is damaged: it holds numbers that no rink can have sent")


@dataclass(frozen=True)
class Verification:
    """Whether a recording replays: identical, or `difference` says where it first does not."""

    identical: bool
    steps: int
    difference: str = ""


def verify_recording(path: Path, engine: str = "builtin") -> Verification:
    """Play the recorded actions again and compare every observation and info bit for bit.

    Raises RecordingError when the file cannot be read, EngineError when the engine is not installed.
    """
    recording = load_recording(path)
    about, played = recording.about, recording.round
    rink = RinkBatch(1, engine=engine, keep_mode=about.keep_mode)
    rink.reset(0, one_starting=about.one_starting, seed=about.seed, mode=played.setup.mode)
    if not np.array_equal(rink.obs[:, 0], played.obs[:, 0]):
        return Verification(False, 0, "the start of the round differs")
    for step in range(about.steps):
        rink.step(played.actions[:, step].reshape(1, -1))
        difference = _difference(rink, played, step)
        if difference:
            return Verification(False, step, f"step {step + 1} of {about.steps}: {difference}")
    return Verification(True, about.steps)


def _difference(rink: RinkBatch, played: Round, step: int) -> str:
    if not np.array_equal(rink.obs[:, 0], played.obs[:, step + 1]):
        return "the observations differ"
    if not np.array_equal(rink.info[:, 0], played.info[:, step]):
        return "the infos differ"
    if bool(rink.done[0]) != (step == played.steps - 1):
        return "the round ends at another step"
    return ""


def play_back(recording: Recording, engine: str = "builtin") -> Iterator[Any]:
    """Yield the rink (a HockeyEnv) at the start of the recorded round and after every step.

    Raises EngineError when the engine is not installed.
    """
    about, played = recording.about, recording.round
    rink = make_rink(engine, about.keep_mode, played.setup.mode)
    rink.reset(one_starting=about.one_starting, seed=about.seed)
    try:
        yield rink
        for actions in played.actions.swapaxes(0, 1):
            rink.step(actions.reshape(-1))
            yield rink
    finally:
        rink.close()


def _utf8(name: str) -> str:
    """Return `name` as JSON may hold it: a path need not be valid UTF-8."""
    return name.encode(errors="replace").decode()


def _plain(name: str) -> str:
    """Return `name` without what a file name should not hold; its digest tells apart what is cut, or not of ASCII."""
    name = name.removesuffix(".safetensors")
    plain = re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("._") or "player"
    if len(plain) <= LONGEST_NAME and name.isascii():
        return plain
    return f"{plain[-LONGEST_NAME:]}_{zlib.crc32(os.fsencode(name)):08x}"
