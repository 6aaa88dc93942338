"""Files and rounds as <rink-viewer> takes them, with what an agent thinks of them; see static/rink-viewer.js."""

from pathlib import Path

from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import is_match_file, read_match
from competitor.play.recording import load_recording
from competitor.play.rounds import Round
from competitor.viewer.frames import Floats, Json, frames_of, match_rounds, round_json, rounded, views_of
from competitor.viewer.mind import Mind, called, mind_of
from competitor.wire.names import shown_name


def match_json(path: Path, mind: Mind | None = None) -> Json:
    """The match or the round in a file as the viewer takes it, with what `mind` thinks of it.

    mind: None: that of whoever played, where it is still there. Raises RecordingError when the file cannot be read, or
    was played on a rink that the mind does not know.
    """
    if is_match_file(path):
        match, _ = read_match(path)
        return match_shown(match, mind or mind_of(match.checkpoint, match.digest))
    recording = load_recording(path)
    about = recording.about
    return round_shown(recording.round, called(about.player), mind or mind_of(about.player) or mind_of(about.opponent))


def round_shown(played: Round, player: str, mind: Mind | None = None) -> Json:
    """A round that `player` played, as the viewer takes it."""
    side, opponent = played.setup.side, called(played.setup.opponent)
    shown = round_json(played.obs[0], (played.actions[0], played.actions[1]), played.winner)
    if mind is not None:
        place = 1 - side if player != mind.name == opponent else side
        shown["mind"] = mind_json(mind, played.obs[place], played.actions[place], place)
    return {"names": [player, opponent] if side == 0 else [opponent, player], "rounds": [shown]}


def match_shown(match: FinishedMatch, mind: Mind | None = None) -> Json:
    """A match as the viewer takes it. The own side is left, whatever the server called it."""
    rounds = match_rounds(match)
    if mind is not None:
        for shown, (rows, views, _) in zip(rounds, views_of(match), strict=True):
            shown["mind"] = mind_json(mind, views, match.actions[rows], 0)
    return {"names": [called(match.checkpoint), shown_name(match.opponent or "opponent")], "rounds": rounds}


def mind_json(mind: Mind, views: Floats, actions: Floats, side: int) -> Json:
    """What `mind` thinks of a round that it sees from `side`."""
    value, dreams = mind.look_on(views, actions)
    steps = [[row[:8] for row in frames_of(dream, side)] for dream in dreams]
    return {"side": side, "value": rounded(value), "dreams": steps}
