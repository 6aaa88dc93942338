"""Finished matches to keep: recorded ones of the course's server, and ones played here with all known."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.play.finished_match import FinishedMatch

DATA = Path(__file__).parents[2] / "data" / "comprl_rounds_public.npz"
NOON = 1_795_434_000.0  # 2026-11-23 11:40 UTC


@cache
def recorded() -> dict[str, NDArray[Any]]:
    """The recorded games: 12, seen by both players."""
    with np.load(DATA) as file:
        return dict(file)


def views() -> list[tuple[str, str]]:
    """All recorded games and players."""
    return [(str(game), player) for game in recorded()["games"] for player in ("p1", "p2")]


def finished(obs: NDArray[Any], actions: NDArray[Any], firsts: list[int], **changes: Any) -> FinishedMatch:
    """A match of these observations (T, 18), actions (T, 4) and round starts; `changes` are fields of it."""
    steps = len(obs)
    is_first = np.zeros(steps, bool)
    is_first[firsts] = True
    fields: dict[str, Any] = {
        "match_id": "80ff9509-8e70-4670-8d79-fc3da5b19fd4",
        "wire": "comprl",
        "server": "comprl://127.0.0.1:65335",
        "connection": "connection 1",
        "opponent": None,
        "started_at": NOON,
        "ended_at": NOON + 20.5,
        "own": 0,
        "other": 0,
        "rounds": 4,
        "ending": "played",
        "reason": "",
        "checkpoint": "champion",
        "digest": "ab" * 32,
        "rating": None,
        "obs": np.array(obs, np.float64),
        "actions": np.array(actions, np.float64),
        "is_first": is_first,
        "source": np.zeros(steps, np.uint8),
        "latency_ms": np.linspace(1.0, 3.0, steps, dtype=np.float32),
    }
    return FinishedMatch(**fields | changes)


def recorded_match(game: str = "m007", player: str = "p1", **changes: Any) -> FinishedMatch:
    """A recorded game as that player finished it. Its actions were not recorded: these are made up."""
    data = recorded()
    obs, (_, own, other) = data[f"{game}_{player}_obs"], data[f"{game}_end_{player}"]
    actions = np.random.default_rng(7).uniform(-1.0, 1.0, (len(obs), 4))
    score = {"own": int(own), "other": int(other)}
    return finished(obs, actions, data[f"{game}_starts"].tolist(), **score | changes)


def numbered_match(number: int, **changes: Any) -> FinishedMatch:
    """A short recorded game with a match id, an end and observations of its own."""
    match = recorded_match(**{"match_id": f"match-{number}", "ended_at": NOON + 60.0 * number} | changes)
    match.obs[0, 12] += number * 1e-6
    return match


def rewrite(path: Path, **changes: Any) -> None:
    """Change arrays of a file, or with about_... what it says of its match or round."""
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    for key, value in changes.items():
        (about if key.startswith("about_") else arrays)[key.removeprefix("about_")] = value
    if "about" not in changes:
        arrays["about"] = np.array(json.dumps(about))
    with path.open("wb") as file:
        np.savez(file, **arrays)
