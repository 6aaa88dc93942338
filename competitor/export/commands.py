"""The command `export`. Heavy imports stand inside it."""

import keyword
import os
import sys
from pathlib import Path

import click

from competitor.errors import CompetitorError
from competitor.options import JSON, Command, ResultFile, also_written, json_text, written
from competitor.screen import Table, counter, print_line, print_table
from competitor.system import code_version

MOST_DIFFERING = 0.01
"""Of the steps: a latent class that flips in the last digit makes a few, a wrong operation makes all."""


@click.command(cls=Command)
@click.argument("checkpoint")
@click.option(
    "--numpy", "numpy_path", type=ResultFile(".py"), help="Python code that needs NumPy alone; weights beside."
)
@click.option("--onnx", "onnx_path", type=ResultFile(".onnx"), help="For onnxruntime and other programs (extra onnx).")
@click.option("--rounds", type=click.IntRange(1, 1000), default=4, show_default=True, help="To compare over.")
@JSON
def export(
    checkpoint: str, numpy_path: Path | None, onnx_path: Path | None, rounds: int, json_path: Path | None
) -> None:
    """Write a step of play with its state for programs without torch, and compare it with the agent over whole rounds.

    CHECKPOINT: champion (the shipped agent), a checkpoint, or a run (its best). The step takes the likeliest action.

    \b
    Examples:
      cli.py export champion --numpy champion_numpy.py
      cli.py export runs/first --onnx first.onnx --rounds 20
    """
    if numpy_path is None and onnx_path is None:
        raise click.UsageError("say what to write: --numpy FILE.py, --onnx FILE.onnx, or both")
    if numpy_path is not None:
        _check_numpy(numpy_path, json_path)
    from competitor.export import numpy_code, onnx_file
    from competitor.export.step import CLOSE, Step, compare, play_to_compare
    from competitor.players import checkpoint_path
    from dreamer.checkpoint import load_checkpoint

    if onnx_path is not None:
        onnx_file.need_onnx()
    agent, card = load_checkpoint(checkpoint_path(checkpoint))
    step = Step(agent)
    runs = {}
    if sys.stderr.isatty():
        click.echo("tracing a step of play takes some seconds", err=True)
    if numpy_path is not None:
        about = {"name": checkpoint, "digest": str(card["sha256"]), "version": code_version()}
        with written(numpy_path):
            runs[str(numpy_path)] = numpy_code.write_numpy(step, numpy_path, about)
    if onnx_path is not None:
        with written(onnx_path):
            runs[str(onnx_path)] = onnx_file.write_onnx(step, onnx_path)
    with counter("rounds") as count:
        played = play_to_compare(agent, rounds, count)
    results = {path: compare(run, agent, played) for path, run in runs.items()}
    columns = ("file", "rounds", "steps", "largest difference", f"above {CLOSE:g}")
    rows = [
        [path, str(one.rounds), f"{one.steps:,}", f"{one.largest:.1e}", str(one.differing)]
        for path, one in results.items()
    ]
    with also_written(json_path, json_text(results)):
        print_table(Table(columns, rows, f"actions of {checkpoint}, exported and original"))
    for path, one in results.items():
        if one.differing > MOST_DIFFERING * one.steps:
            raise CompetitorError(
                f"{path} does not play like {checkpoint}: {one.differing} of {one.steps} steps differ"
            )
    print_line(f"written: {', '.join(results)}")


def _check_numpy(path: Path, json_path: Path | None) -> None:
    """Raise UsageError for a module that nobody could import, and where somebody else's files would be lost."""
    from competitor.export.numpy_code import BEGINNING
    from competitor.players.foreign import OUR_NAMES

    name, weights = path.stem, path.with_suffix(".npz")
    taken = name in (*sys.stdlib_module_names, "numpy", *OUR_NAMES)
    if not name.isidentifier() or keyword.iskeyword(name) or taken or path.suffix != ".py":
        raise click.UsageError(f"--numpy {path}: Python cannot import a file of this name; take another one")
    is_ours = os.path.isfile(path) and path.read_bytes().startswith(BEGINNING.encode())
    there = [] if is_ours else [str(file) for file in (path, weights) if os.path.lexists(file)]
    if there or weights == json_path:
        lost = " and ".join(there) or weights
        raise click.UsageError(f"--numpy {path}: {lost} would be lost, as its weights lie beside it: take another name")
