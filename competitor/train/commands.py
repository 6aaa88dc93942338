"""The commands `train`, `runs` and `plot`. Heavy imports stand inside them."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from competitor.errors import EXIT_INTERRUPTED
from competitor.options import (
    CONFIG,
    ENGINE,
    FOLDER,
    JSON,
    MOST_SEED,
    SEED,
    SET,
    Command,
    Minutes,
    ResultFile,
    also_written,
    json_text,
    plain_name,
    written,
)
from competitor.screen import print_line, say
from competitor.system import stopping_on_signals

if TYPE_CHECKING:
    from competitor.train.selfplay import Trainer

RUNS = Path("runs")


def _seed_list(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if any(not re.fullmatch("[0-9]{1,10}", word) or int(word) > MOST_SEED for word in words):
        raise click.BadParameter(f"{text!r} is not a list of seeds from 0 to {MOST_SEED}, such as 1,2,3")
    return tuple(dict.fromkeys(map(int, words)))


@click.command()
@CONFIG
@click.option("--preset", help="Settings to start from: default, seed, debug, ...  [default: default]")
@SET
@SEED
@click.option("--seeds", callback=_seed_list, metavar="1,2,3", help="A run for each seed, one after another.")
@ENGINE
@click.option(
    "--run", "name", callback=plain_name, help="Name of the new run in runs/.  [default: date, time and preset]"
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue this run.")
@click.option("--start-from", metavar="CHECKPOINT", help="Begin the new run with these weights, without a prelude.")
@click.option("--minutes", type=Minutes(), help="Stop after so many minutes.")
@click.option("--replay", "records", multiple=True, type=FOLDER, help="Learn from the rounds recorded here too.")
@click.option("--logger", type=click.Choice(["tensorboard", "wandb"]), help="wandb: Weights & Biases gets it too.")
def train(
    config_path: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    seeds: tuple[int, ...],
    engine: str | None,
    name: str | None,
    resume: Path | None,
    start_from: str | None,
    minutes: float | None,
    records: tuple[Path, ...],
    logger: str | None,
) -> int:
    """Train by self-play. Ctrl-C saves everything and stops.

    \b
    Examples:
      cli.py train --run first --minutes 60
      cli.py train --resume runs/first
      cli.py train --preset debug
      cli.py train --set training.rinks=16 --set league.opponents.champion=0.5
      cli.py train --resume runs/first --replay records/
      cli.py train --run second --start-from runs/first --set optimizer.world_rate=4e-4
      cli.py train --run trial --seeds 1,2,3 --minutes 60
    """
    if resume is not None and (config_path, preset, name, seeds, start_from) != (None, None, None, (), None):
        raise click.UsageError(
            "--resume uses the run's own settings: drop --config, --preset, --run, --seeds and --start-from"
        )
    if seeds and seed is not None:
        raise click.UsageError("give either --seed or --seeds")
    from competitor.config import as_overrides, load_config
    from competitor.rink import make_rink
    from competitor.train.run_directory import check_is_new, default_name
    from competitor.train.selfplay import Trainer
    from competitor.train.wandb_log import need_wandb

    more = {"run.seed": seed, "run.logger": logger, "rink.engine": engine, "training.minutes": minutes}
    overrides += as_overrides(more)
    if resume is not None:
        return _train(Trainer.resume(resume, overrides, records=records), "continuing")
    chosen = "default" if preset is None else preset
    base = default_name(chosen, datetime.now()) if name is None else name
    # All that can be wrong is said before the first run has a directory.
    own = {RUNS / f"{base}-seed-{one}": as_overrides({"run.seed": one}) for one in seeds} or {RUNS / base: ()}
    configs = {path: load_config(config_path, chosen, overrides + more, training=True) for path, more in own.items()}
    for path, config in configs.items():
        check_is_new(path)
        make_rink(config.rink.engine).close()
        if config.run.logger == "wandb":
            need_wandb()
    try:
        for path, config in configs.items():
            trainer = Trainer.start(config, path, preset=chosen, records=records, start_from=start_from)
            if code := _train(trainer, "training"):
                return code
    finally:
        left = [str(config.run.seed) for path, config in configs.items() if not path.exists()]
        if seeds and left:
            say(f"not begun: --seeds {','.join(left)} --run {base}")
    return 0


def _train(trainer: Trainer, what: str) -> int:
    from competitor.train.display import Display

    with trainer, stopping_on_signals(trainer.stop) as signals:
        say(f"{what} {trainer.run.path} (Ctrl-C saves and stops)")
        for line in trainer.notes():
            say(line)
        with Display() as display:
            outcome = trainer.train(display)
        for line in outcome.lines(interrupted=bool(signals)):
            say(line)
    return EXIT_INTERRUPTED if signals else 0


@click.command(cls=Command)
@click.argument("folder", metavar="[DIR]", type=FOLDER, default=RUNS)
@JSON
def runs(folder: Path, json_path: Path | None) -> None:
    """List the runs in DIR: how far they are, how well they play, whether they still train.

    \b
    Examples:
      cli.py runs
      cli.py runs --json runs.json
    """
    from competitor.train.run_list import list_runs, print_runs

    if folder != RUNS and not os.path.isdir(folder):
        raise click.BadParameter(f"there is no folder {folder}")
    found = list_runs(folder)
    with also_written(json_path, json_text({"runs": found})):
        print_runs(found, folder)


@click.command(cls=Command)
@click.argument("paths", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option("--metric", default="score", show_default=True, help="What to draw; as in the run's metrics.jsonl.")
@click.option("--over", type=click.Choice(["steps", "minutes"]), default="steps", show_default=True, help="The x-axis.")
@click.option("--png", type=ResultFile(".png"), help="Draw them into this picture too.")
@JSON
def plot(paths: tuple[Path, ...], metric: str, over: str, png: Path | None, json_path: Path | None) -> None:
    """Draw the learning curves of several runs beside each other.

    \b
    Examples:
      cli.py plot runs/first
      cli.py plot runs/trial-seed-1 runs/trial-seed-2 --over minutes --png curves.png
      cli.py plot runs/first --metric dream/puck_h15
    """
    from competitor.train import curves
    from competitor.train.run_list import is_run

    paths = tuple(dict.fromkeys(paths))
    for path in paths:
        if not is_run(path):
            raise click.BadParameter(f"{path} is not a run: it has no config.toml; `runs` lists what is there")
    if len(paths) > len(curves.MARKS):
        raise click.UsageError(f"more than {len(curves.MARKS)} curves cannot be told apart: {len(paths)} were given")
    if png:
        from competitor.inspect.rink_axes import need_matplotlib

        need_matplotlib()
    drawn = curves.read_curves(paths, metric, over)
    with also_written(json_path, curves.curves_json(drawn, metric, over)):
        curves.print_curves(drawn, metric, over)
    if png:
        with written(png):
            curves.write_png(drawn, metric, over, png)
        print_line(f"picture written to {png}")
