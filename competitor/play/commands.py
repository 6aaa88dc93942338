"""The command `replay`. Heavy imports stand inside it."""

from __future__ import annotations

from pathlib import Path

import click

from competitor.errors import RecordingError
from competitor.options import ENGINE, FILE, ResultFile, written
from competitor.screen import print_line


@click.command()
@click.argument("recording", metavar="FILE", type=FILE)
@click.option("--gif", type=ResultFile(".gif"), help="Draw the round into this animation.")
@click.option("--window", is_flag=True, help="Show the round in a window.")
@ENGINE
def replay(recording: Path, gif: Path | None, window: bool, engine: str | None) -> None:
    """Play a recorded round again and check that it goes exactly as recorded.

    \b
    Examples:
      cli.py replay rounds/champion-weak-00000-won.npz
      cli.py replay rounds/champion-weak-00000-won.npz --gif round.gif
    """
    from competitor.play.recording import load_recording, play_back, verify_recording, write_gif
    from competitor.rink.rendering import load_pillow, load_pygame

    if gif or window:
        load_pygame()
    if gif:
        load_pillow()
    round_ = load_recording(recording)
    about = round_.about
    engine = engine or about.engine
    checked = verify_recording(recording, engine)
    if not checked.identical:
        raise RecordingError(f"{recording} does not replay on the engine {engine}: {checked.difference}")
    result = {1: "won", 0: "drew", -1: "lost"}[about.result]
    print_line(f"{about.player} {result} against {about.opponent} in {about.steps} steps; replays exactly")
    if gif:
        with written(gif):
            frames = write_gif(round_, gif)
        print_line(f"{gif}: {frames} frames")
    if window:
        for rink in play_back(round_, engine):
            rink.render("human")
