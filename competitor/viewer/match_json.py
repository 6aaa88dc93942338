"""Rounds as plain values for <rink-viewer>; static/rink-viewer.js says what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.play.match_file import is_match_file, read_match
from competitor.play.outcomes import rounds_of
from competitor.play.recording import load_recording

SHOWN = np.array([0, 1, 2, 6, 7, 8, 12, 13, 16, 17])
"""Where a view (18,) holds a frame: both rackets' x, y and angle, the puck, and how long each player may hold it."""
DECIMALS = 3
"""A thousandth of a unit is a sixteenth of a pixel."""
Rows = list[list[float]]
Floats = NDArray[np.floating[Any]]


def frames_of(views: Floats) -> Rows:
    """The frames (steps, 10) of the left player's views (steps, 18), or (steps, 16) without keep mode."""
    held = np.zeros((len(views), 18 - views.shape[1]))
    frames: Rows = rounded(np.hstack((views, held))[:, SHOWN])
    return frames


def rounded(numbers: Floats) -> Any:
    """Numbers of any shape as nested lists short enough to be sent; what is not finite is 0."""
    return np.round(np.nan_to_num(numbers.astype(np.float64), posinf=0.0, neginf=0.0), DECIMALS).tolist()


def round_json(
    views: Floats, actions: tuple[Floats | None, Floats | None], winner: int | None, score: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """A round as the viewer takes it.

    views (steps + 1, 18) of the left player; actions (steps, 4) of the left and the right player, each in its own
    frame, None: not known; winner: 1 left, -1 right, 0 a draw, None: not known; score: before the round.
    """
    shown = [None if each is None else rounded(each) for each in actions]
    return {"frames": frames_of(views), "actions": shown, "winner": winner, "score": list(score)}


def match_json(path: Path) -> dict[str, Any]:
    """The match or the round in a file as the viewer takes it; raises RecordingError when it cannot be read."""
    return _of_match(path) if is_match_file(path) else _of_recording(path)


def _of_recording(path: Path) -> dict[str, Any]:
    recording = load_recording(path)
    about, played = recording.about, recording.round
    names = [about.player, about.opponent]
    return {
        "names": names if about.side == 0 else names[::-1],
        "rounds": [round_json(played.obs[0], (played.actions[0], played.actions[1]), played.winner)],
    }


def _of_match(path: Path) -> dict[str, Any]:
    """The own side plays left, whatever the server called it: nobody sent the other one's view."""
    match, _ = read_match(path)
    rounds, score = [], (0, 0)
    for played in rounds_of(match):
        rows = slice(played.first, played.first + played.steps)
        last = match.obs[rows][-1:] if played.final is None else played.final[None]
        views = np.vstack((match.obs[rows], last))
        rounds.append(round_json(views, (match.actions[rows], None), played.result, score))
        score = (score[0] + (played.result == 1), score[1] + (played.result == -1))
    return {"names": [match.checkpoint, match.opponent or "opponent"], "rounds": rounds}
