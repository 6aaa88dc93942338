"""Rounds as plain values for <rink-viewer>; static/rink-viewer.js says what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from competitor.play.match_file import is_match_file, read_match
from competitor.play.recording import load_recording
from competitor.viewer.frames import match_rounds, round_json


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
    return {"names": [match.checkpoint, match.opponent or "opponent"], "rounds": match_rounds(match)}
