"""One file per match: everything it was, as it was, and its rounds as experience in the replay's format.

A compressed .npz without pickle. T steps in R rounds; E of the rounds can be learned from, with N steps in all.

=========== ================== =====================================================================
received    float64 (T, 18)    observations exactly as they came, NaN included
sent        float64 (T, 4)     actions exactly as they were sent
is_first    bool (T,)          a round starts here
source      uint8 (T,)         who decided: a competitor.engine.session.Source
latency_ms  float32 (T,)       from a message's arrival to its answer
opponent_sent float64 (T, 4)   the opponent's actions, in files of the arena only
obs         float32 (N + E, 18) the replay's episodes one after the other, each with a last observation more
action      float32 (N, 4)     taken in the observations before it
info        float64 (N, 4)     closeness, touch, direction, winner after each action
steps       int64 (E,)         actions of each episode
terminal    bool (E,)          it ended with a goal
about       text               JSON, see About
=========== ================== =====================================================================

obs, action, steps and terminal are what EpisodeBuffer.save writes; the rewards follow from info and the weights
of whoever learns from it. The last observation of a round played to its end was sent to nobody: it is what the
rink says follows from the last action if the opponent does nothing (see outcomes.LastStep). A round that was
cut short, whose result is unknown, or with an observation that no rink can have sent, ends as an episode with
the last good observation and without a goal.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from competitor.errors import RecordingError
from competitor.play.finished_match import FinishedMatch, MatchFacts
from competitor.play.npz import SUFFIX, check_array, names_in, packed, read_about, read_arrays
from competitor.play.outcomes import PlayedRound, plausible
from competitor.rink.observation import info_of_view

FORMAT_VERSION = 1
PATTERN = f"[0-9]*T[0-9]*Z-*{SUFFIX}"
LONGEST_ID = 48

# Array in the file: field of FinishedMatch, type, shape of a row.
TRACE: dict[str, tuple[str, type, tuple[int, ...]]] = {
    "received": ("obs", np.float64, (18,)),
    "sent": ("actions", np.float64, (4,)),
    "is_first": ("is_first", np.bool_, ()),
    "source": ("source", np.uint8, ()),
    "latency_ms": ("latency_ms", np.float32, ()),
}
OPPONENT = "opponent_sent"
EPISODES = ("obs", "action", "info", "steps", "terminal")


@dataclass(frozen=True, kw_only=True)
class About(MatchFacts):
    """What a file says of its match: the facts, and how its rounds ended."""

    kind: Literal["match"] = "match"
    format_version: int = FORMAT_VERSION
    code_version: str
    results: list[int | None]  # +1, 0, -1 per round begun; None: not known, or cut short


_ABOUT = TypeAdapter(About)
FACTS = tuple(field.name for field in fields(MatchFacts))


@dataclass(frozen=True)
class View:
    """A round as its player lived through it: what Episode is, with the rink's infos in place of the rewards."""

    obs: NDArray[np.float32]
    action: NDArray[np.float32]
    info: NDArray[np.float64]
    terminal: bool


def file_name(match: FinishedMatch) -> str:
    """Return the file's name: it sorts by time, and is the same whenever the same match is written.

    Two daemons in one directory may play each other: what each of them saw tells their files apart.
    """
    ended = datetime.fromtimestamp(match.ended_at, UTC)
    seen = hashlib.sha256(match.obs.tobytes() + match.actions.tobytes() + match.connection.encode())
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", match.match_id)[:LONGEST_ID].strip("_") or "match"
    return f"{ended:%Y%m%dT%H%M%SZ}-{plain}-{seen.hexdigest()[:8]}{SUFFIX}"


def match_bytes(match: FinishedMatch, rounds: Sequence[PlayedRound], code_version: str) -> bytes:
    """Return the content of the file for a match with these rounds (outcomes.rounds_of)."""
    facts = {name: getattr(match, name) for name in FACTS}
    about = About(**facts, code_version=code_version, results=[played.result for played in rounds])
    trace: dict[str, Any] = {name: np.asarray(getattr(match, field), kind) for name, (field, kind, _) in TRACE.items()}
    if match.opponent_actions is not None:
        trace[OPPONENT] = match.opponent_actions
    views = [_view(match, played) for played in rounds]
    text = np.array(_ABOUT.dump_json(about).decode())
    return packed({**trace, **_joined([view for view in views if view]), "about": text})


def _view(match: FinishedMatch, played: PlayedRound) -> View | None:
    """Return the part of a round that can be learned from, None when that has no step."""
    rows = slice(played.first, played.first + played.steps)
    obs, action = match.obs[rows], match.actions[rows].astype(np.float32)
    good = int(np.argmin(np.append(plausible(obs), False)))
    winner = 0
    if good == played.steps and played.result is not None and played.final is not None:
        obs, winner = np.vstack((obs, played.final)), played.result
    else:
        obs, action = obs[:good], action[: max(0, good - 1)]
    if not len(action):
        return None
    seen = obs.astype(np.float32)
    info = np.array([info_of_view(view, 0) for view in seen[1:].tolist()])
    info[-1, 3] = winner
    return View(seen, action, info, terminal=winner != 0)


def _joined(views: Sequence[View]) -> dict[str, NDArray[Any]]:
    return {
        "obs": np.concatenate([np.zeros((0, 18), np.float32), *(view.obs for view in views)]),
        "action": np.concatenate([np.zeros((0, 4), np.float32), *(view.action for view in views)]),
        "info": np.concatenate([np.zeros((0, 4)), *(view.info for view in views)]),
        "steps": np.array([len(view.action) for view in views], np.int64),
        "terminal": np.array([view.terminal for view in views], np.bool_),
    }


def is_match_file(path: Path) -> bool:
    """Return whether a file holds a match, not a round of `evaluate --record`; RecordingError when damaged."""
    return "received" in names_in(path)


def read_match(path: Path) -> tuple[FinishedMatch, About]:
    """Return the match in a file exactly as it was kept, and what else the file says of it.

    Raises RecordingError when the file is missing, damaged, of another kind or of another version.
    """
    has_opponent = OPPONENT in names_in(path)
    arrays = read_arrays(path, (*TRACE, "about", *([OPPONENT] if has_opponent else [])))
    about = read_about(path, arrays["about"], About, FORMAT_VERSION)
    steps = arrays["received"].shape[:1]
    for name, (_, kind, row) in TRACE.items():
        check_array(path, name, arrays[name], kind, (*steps, *row), finite=name == "sent")
    values: dict[str, Any] = {field: arrays[name] for name, (field, _, _) in TRACE.items()}
    if has_opponent:
        check_array(path, OPPONENT, arrays[OPPONENT], np.float64, (*steps, 4))
        values["opponent_actions"] = arrays[OPPONENT]
    return FinishedMatch(**values, **{name: getattr(about, name) for name in FACTS}), about


def read_views(path: Path) -> Iterator[View]:
    """Yield the rounds in a file that can be learned from; raises RecordingError like read_match."""
    arrays = read_arrays(path, (*EPISODES, "about"))
    read_about(path, arrays["about"], About, FORMAT_VERSION)
    steps = arrays["steps"]
    check_array(path, "steps", steps, np.int64, steps.shape[:1])
    if (steps < 1).any():
        raise RecordingError(f"{path} is damaged: it has a round without steps")
    total, episodes = sum(steps.tolist()), len(steps)  # of integers that cannot run over
    check_array(path, "obs", arrays["obs"], np.float32, (total + episodes, 18))
    check_array(path, "action", arrays["action"], np.float32, (total, 4))
    check_array(path, "info", arrays["info"], np.float64, (total, 4))
    check_array(path, "terminal", arrays["terminal"], np.bool_, (episodes,))
    for index, end in enumerate(np.cumsum(steps).tolist()):
        start = end - int(steps[index])
        obs = arrays["obs"][start + index : end + index + 1]
        yield View(obs, arrays["action"][start:end], arrays["info"][start:end], bool(arrays["terminal"][index]))
