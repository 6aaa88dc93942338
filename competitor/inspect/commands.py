"""The commands `inspect` and `info`. Heavy imports stand inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from competitor.options import FOLDER, JSON, MOST_SEED, Command, ResultFile, also_written, json_text, written
from competitor.screen import counter, print_line
from competitor.system import use_threads

if TYPE_CHECKING:
    from competitor.inspect.examples import DreamExamples
    from competitor.inspect.inspection import Inspection


@click.command(cls=Command)
@click.argument("checkpoint")
@click.option("--rounds", "directory", type=FOLDER, help="Judge by the rounds recorded here, not by fresh ones.")
@JSON
@click.option("--png", type=ResultFile(".png"), help="Draw a few rounds beside their dreams into this picture.")
@click.option("--gif", type=ResultFile(".gif"), help="Draw them into this animation.")
@click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=1, show_default=True, help="Seed of rounds and dreams."
)
def inspect(
    checkpoint: str, directory: Path | None, json_path: Path | None, png: Path | None, gif: Path | None, seed: int
) -> None:
    """Measure how well a checkpoint dreams, on rounds that it has not learned from.

    docs/inspect.md tells what the numbers mean.

    \b
    Examples:
      cli.py inspect champion
      cli.py inspect champion --png dream.png --gif dream.gif
      cli.py inspect runs/first/checkpoints/latest --seed 7 --json dream.json
      cli.py inspect champion --rounds records/
    """
    from competitor.config import load_config
    from competitor.inspect.examples import choose_examples
    from competitor.inspect.held_out import play_held_out, read_held_out
    from competitor.inspect.inspection import InspectedAgent, inspect
    from competitor.inspect.rink_axes import need_matplotlib
    from competitor.inspect.tables import print_inspection

    use_threads(load_config().run.threads)
    if png or gif:
        need_matplotlib()
    inspected = InspectedAgent.load(checkpoint)
    with counter("rounds") as count:
        held_out = (
            play_held_out(inspected.agent, inspected.weights, seed, on_round=count)
            if directory is None
            else read_held_out(directory, inspected.agent, inspected.weights)
        )
    with counter("checks") as count:
        inspection = inspect(inspected, held_out, seed=seed, on_part=count)
    with also_written(json_path, json_text(inspection)):
        print_inspection(inspection)
    if png or gif:
        _draw_dreams(inspection, choose_examples(inspected.agent, held_out, seed), png, gif)


def _draw_dreams(inspection: Inspection, drawn: DreamExamples, png: Path | None, gif: Path | None) -> None:
    from competitor.inspect.animation import write_gif
    from competitor.inspect.picture import write_png

    if png:
        with written(png):
            write_png(inspection, drawn, png)
        print_line(f"picture written to {png}")
    if gif:
        with counter("frames") as count, written(gif):
            frames = write_gif(drawn.chosen, gif, count)
        print_line(f"{gif}: {frames} frames")


@click.command()
@click.argument("checkpoint")
def info(checkpoint: str) -> None:
    """Show what a checkpoint is: its model card, checked against the weights.

    \b
    Example:
      cli.py info champion
    """
    from competitor.inspect.card import print_card
    from competitor.players import checkpoint_path
    from dreamer.checkpoint import load_checkpoint

    path = checkpoint_path(checkpoint)
    print_card(path, *load_checkpoint(path))
