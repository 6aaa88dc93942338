"""The command `replay`. Heavy imports stand inside it."""

from pathlib import Path

import click

from competitor.errors import RecordingError
from competitor.options import ENGINE, FILE
from competitor.screen import print_line


@click.command()
@click.argument("recording", metavar="FILE", type=FILE)
@click.option("--window", is_flag=True, help="Show the round in a window.")
@ENGINE
def replay(recording: Path, window: bool, engine: str | None) -> None:
    """Play a recorded round again and check that it goes exactly as recorded; `watch` shows it.

    \b
    Examples:
      cli.py replay rounds/champion-weak-00000-won.npz
      cli.py replay rounds/champion-weak-00000-won.npz --window
    """
    from competitor.play.recording import load_recording, play_back, verify_recording
    from competitor.rink.rendering import load_pygame

    if window:
        load_pygame()
    round_ = load_recording(recording)
    about = round_.about
    engine = engine or about.engine
    checked = verify_recording(recording, engine)
    if not checked.identical:
        raise RecordingError(f"{recording} does not replay on the engine {engine}: {checked.difference}")
    result = {1: "won", 0: "drew", -1: "lost"}[about.result]
    print_line(f"{about.player} {result} against {about.opponent} in {about.steps} steps; replays exactly")
    if window:
        for rink in play_back(round_, engine):
            rink.render("human")
