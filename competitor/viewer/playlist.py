"""What `watch` shows: recordings in a file or a folder, or rounds that a checkpoint plays now."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from competitor.errors import RecordingError
from competitor.play.match_file import is_match_file, read_match
from competitor.play.npz import SUFFIX
from competitor.play.recording import load_recording
from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import CHAMPION, BasicPlayer, DreamerPlayer
from competitor.players.specs import is_run
from competitor.screen import Count, uncounted
from competitor.viewer.frames import Json
from competitor.viewer.match_json import match_json, round_shown
from competitor.viewer.mind import Mind, called
from competitor.wire.names import shown_name

BASIC = ("weak", "strong")
SEED = 1  # of the rounds played now: whoever watches the same checkpoint sees the same ones
PLAYS_SOME = "`watch champion` plays some"
WORDS = {1: "won against", 0: "drew against", -1: "lost to"}


@dataclass(frozen=True)
class Item:
    """One recording to choose: how it is called, and what the viewer takes once it is asked for."""

    title: str
    load: Callable[[], Json]


@dataclass(frozen=True)
class Playlist:
    """All that can be chosen, and a line for the user where something was left out."""

    items: list[Item]
    note: str = ""


def open_playlist(target: Path, agent: str | None = None, on_item: Count = uncounted) -> Playlist:
    """What there is to see at `target`; agent: the checkpoint whose values and dreams are shown, None: the player's.

    Raises RecordingError when there is nothing, CheckpointError for an agent or a run that cannot be used.
    """
    mind = None if agent is None else Mind.load(agent)
    if target.suffix == SUFFIX and not os.path.isdir(target):
        return Playlist([_item(target, mind)])
    if os.path.isdir(target) and not is_run(str(target)):
        return _folder(target, mind, on_item)
    named = target.suffix == ".safetensors" or os.path.isfile(f"{target}.safetensors")
    if named or str(target) == CHAMPION or is_run(str(target)):
        player = Mind.load(str(target))
        return Playlist(_played_now(player, mind or player, on_item))
    kinds = "no recording, folder of them, run or checkpoint"
    raise RecordingError(f"there is nothing to watch at {target}: {kinds}; {PLAYS_SOME}")


def _folder(folder: Path, mind: Mind | None, on_item: Count) -> Playlist:
    """The recordings in a folder and below it: matches first, the newest before the others."""
    paths = [path for path in folder.rglob(f"*{SUFFIX}") if os.path.isfile(path)]
    items: list[tuple[bool, str, Item]] = []
    wrong = []
    for done, path in enumerate(sorted(paths), start=1):
        on_item(done, len(paths))
        try:
            items.append((is_match_file(path), path.name, _item(path, mind)))
        except RecordingError as error:
            wrong.append(str(error))
    if not items:
        raise RecordingError(wrong[0] if wrong else f"there are no recorded rounds in {folder}; {PLAYS_SOME}")
    matches = [item for is_match, _, item in sorted(items, key=lambda one: one[1], reverse=True) if is_match]
    note = f"left out {len(wrong)} of {len(paths)} files, the first: {wrong[0]}" if wrong else ""
    return Playlist([*matches, *(item for is_match, _, item in items if not is_match)], note)


def _item(path: Path, mind: Mind | None) -> Item:
    return Item(_match_title(path) if is_match_file(path) else _round_title(path), partial(match_json, path, mind))


def _match_title(path: Path) -> str:
    match, _ = read_match(path)
    ended = datetime.fromtimestamp(match.ended_at)
    names = f"{called(match.checkpoint)} against {shown_name(match.opponent or '?')}"
    return f"{ended:%Y-%m-%d %H:%M} {names} {match.own}:{match.other}"


def _round_title(path: Path) -> str:
    recording = load_recording(path)
    return f"{_title(recording.round, recording.about.player)} ({recording.about.number})"


def _title(played: Round, player: str) -> str:
    player, opponent = (called(name) for name in (player, played.setup.opponent))
    return f"{player} {WORDS[played.result]} {opponent} in {played.steps} steps"


def _played_now(player: Mind, mind: Mind, on_item: Count) -> list[Item]:
    """Two rounds against each basic opponent, from either side."""
    items = []
    for name in BASIC:
        keep_mode = player.agent.action_size == 4
        opponent = BasicPlayer(weak=name == "weak", keep_mode=keep_mode)
        setups = [RoundSetup(one_starting=True, seed=SEED, side=side) for side in (0, 1)]
        dreamer = DreamerPlayer(player.agent, player.name)
        for played in play_rounds(dreamer, opponent, setups, rinks=len(setups), keep_mode=keep_mode):
            items.append(Item(_title(played, player.name), partial(round_shown, played, player.name, mind)))
            on_item(len(items), len(BASIC) * len(setups))
    return items
