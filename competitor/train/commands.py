"""The command `train`. Heavy imports stand inside it."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import click

from competitor.errors import EXIT_INTERRUPTED
from competitor.options import CONFIG, ENGINE, FOLDER, SEED, SET
from competitor.system import stopping_on_signals

RUNS = Path("runs")


def _plain_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None and (name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name)):
        raise click.BadParameter(f"{name!r} is not a plain name: the run becomes the folder NAME in {RUNS}/")
    return name


@click.command()
@CONFIG
@click.option("--preset", help="Settings to start from: default, seed, debug, ...  [default: default]")
@SET
@SEED
@ENGINE
@click.option(
    "--run", "name", callback=_plain_name, help="Name of the new run in runs/.  [default: date, time and preset]"
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue this run.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop after so many minutes.")
@click.option("--replay", "records", multiple=True, type=FOLDER, help="Learn from the rounds recorded here too.")
def train(
    config_path: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    engine: str | None,
    name: str | None,
    resume: Path | None,
    minutes: float | None,
    records: tuple[Path, ...],
) -> int:
    """Train by self-play. Ctrl-C saves everything and stops.

    \b
    Examples:
      cli.py train --run first --minutes 60
      cli.py train --resume runs/first
      cli.py train --preset debug
      cli.py train --set training.rinks=16 --set league.opponents.champion=0.5
      cli.py train --resume runs/first --replay records/
    """
    if resume is not None and (config_path, preset, name) != (None, None, None):
        raise click.UsageError("--resume uses the run's own settings: drop --config, --preset and --run")
    from competitor.config import as_overrides, load_config
    from competitor.rink import make_rink
    from competitor.train.display import make_display, say
    from competitor.train.run_directory import default_name
    from competitor.train.selfplay import Trainer

    overrides += as_overrides({"run.seed": seed, "rink.engine": engine, "training.minutes": minutes})
    if resume is not None:
        trainer = Trainer.resume(resume, overrides, records=records, say=say)
    else:
        chosen = "default" if preset is None else preset
        config = load_config(config_path, chosen, overrides)
        make_rink(config.rink.engine).close()  # a missing engine is told before a run directory exists
        path = RUNS / (default_name(chosen, datetime.now()) if name is None else name)
        trainer = Trainer.start(config, path, preset=chosen, records=records, say=say)
    with trainer, stopping_on_signals(trainer.stop) as signals:
        say(f"{'continuing' if resume else 'training'} {trainer.run.path} (Ctrl-C saves and stops)")
        for line in trainer.notes():
            say(line)
        with make_display() as display:
            outcome = trainer.train(display)
        for line in outcome.lines(interrupted=bool(signals)):
            say(line)
    return EXIT_INTERRUPTED if signals else 0
