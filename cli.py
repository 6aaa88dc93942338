"""The command line of hockey-dreamer. It parses, builds and calls; the work is done in `competitor`.

The commands around tournaments stand beside their jobs, in `competitor/daemon` and `competitor/arena`, all others
here. Heavy imports stand inside the commands, so that help and mistakes in the command line answer at once.
"""

from __future__ import annotations

import os
import signal
import sys


def _leave(number: int, frame: object) -> None:
    """End at once: while modules are loaded there is nothing to save, and a traceback would tell the user nothing."""
    if COMPETES:  # told to stop, it ends well; see competitor/daemon/supervisor.py
        os.write(1, b"asked to stop: nothing has been played yet\n")
        os._exit(0)
    os.write(2, b"interrupted\n")
    os._exit(130)  # as EXIT_INTERRUPTED; nothing of our own is loaded yet


COMPETES = sys.argv[1:2] == ["compete"]
if __name__ == "__main__" or sys.argv[0].endswith("hockey-dreamer"):  # not where this module is only imported
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background
            signal.signal(number, _leave)
    if COMPETES and hasattr(signal, "SIGHUP"):  # asks the daemon to read its settings anew: it is about to read them
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

import re
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from competitor.arena.commands import arena
from competitor.daemon.commands import compete, matches, status
from competitor.errors import EXIT_INTERRUPTED, StorageError, exit_code, message
from competitor.options import (
    CONFIG,
    ENGINE,
    FILE,
    FOLDER,
    JSON,
    MOST_SEED,
    ROUNDS,
    SEED,
    SET,
    ResultFile,
    ResultFolder,
    also_written,
    written,
)
from competitor.screen import ReaderLeft, open_output, plain, print_line
from competitor.sparring.commands import sparring
from competitor.system import STOP_SIGNALS, code_version, end_quickly, raise_interrupt, stopping_on_signals

if TYPE_CHECKING:
    from competitor.config import Config
    from competitor.evaluate.cross_table import CrossTable
    from competitor.evaluate.evaluation import EvaluationReport
    from competitor.inspect.inspection import Inspection
    from competitor.inspect.scenes import Gallery

RUNS = Path("runs")


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"hockey-dreamer {code_version()}")
        context.exit()


@click.group(name="hockey-dreamer", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, callback=_show_version, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """An agent that learns laser hockey by dreaming (DreamerV3): train it, evaluate it, compete with it."""


for command in (compete, status, matches, arena, sparring):
    cli.add_command(command)


def _plain_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None and (name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name)):
        raise click.BadParameter(f"{name!r} is not a plain name: the run becomes the folder NAME in {RUNS}/")
    return name


@cli.command()
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


@cli.command()
@click.argument("player", metavar="CHECKPOINT")
@click.option("--against", default="weak,strong", show_default=True, help="Opponents, separated by commas.")
@click.option("--rounds", type=ROUNDS, help="Rounds per opponent.")
@click.option("--sampled", is_flag=True, help="Sample the actions, as in training.")
@click.option("--cross", is_flag=True, help="Everybody plays everybody, rated together.")
@JSON
@click.option("--record", "record_dir", type=ResultFolder(), help="Keep every round as a file in this folder.")
@SEED
@ENGINE
@CONFIG
@SET
def evaluate(
    player: str,
    against: str,
    rounds: int | None,
    sampled: bool,
    cross: bool,
    json_path: Path | None,
    record_dir: Path | None,
    seed: int | None,
    engine: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Play a checkpoint against opponents in paired rounds and show how good it is.

    CHECKPOINT and opponents: a file, a run (its best), champion (the shipped agent), weak, strong, random,
    module:Class, sb3:FILE.zip, sparring:NAME (a sparring partner), or gauntlet (all partners).

    \b
    Examples:
      cli.py evaluate champion
      cli.py evaluate champion --against gauntlet
      cli.py evaluate runs/first/checkpoints/latest.safetensors --rounds 1000 --json result.json
      cli.py evaluate strong --against weak,random --record rounds/
      cli.py evaluate champion --against strong,runs/first/checkpoints/best
    """
    if cross and record_dir:
        raise click.UsageError("--cross keeps no rounds: leave out --record")
    others = [name.strip() for name in against.split(",") if name.strip()]
    if not others or (cross and set(others) == {player}):
        raise click.UsageError("--against needs at least one opponent, --cross one that is not CHECKPOINT itself")
    for name in dict.fromkeys(name for name in others if others.count(name) > 1 or (cross and name == player)):
        click.echo(f"note: {plain(name)} is named more than once and takes part once", err=True)
    from competitor.config import as_overrides, load_config
    from competitor.evaluate.cross_table import CrossTable
    from competitor.evaluate.gauntlet import GAUNTLET, with_gauntlet
    from competitor.evaluate.report import print_cross_table, print_report

    shortcuts = {"evaluation.seed": seed, "rink.engine": engine, "evaluation.rounds": rounds}
    config = load_config(config_path, overrides=overrides + as_overrides(shortcuts))
    how = config.evaluation.model_copy(update={"deterministic": config.evaluation.deterministic and not sampled})
    config = config.model_copy(update={"evaluation": how})
    result = _play(config, player, with_gauntlet(others), cross=cross, record_dir=record_dir)
    if GAUNTLET in others and not isinstance(result, CrossTable):
        result = result.with_gauntlet()
    with also_written(json_path, result.to_json()):
        print_cross_table(result) if isinstance(result, CrossTable) else print_report(result)
    if not isinstance(result, CrossTable) and result.record_error:
        raise StorageError(result.record_error)
    return EXIT_INTERRUPTED if result.partial else 0


def _play(
    config: Config, player: str, others: list[str], *, cross: bool, record_dir: Path | None
) -> CrossTable | EvaluationReport:
    """Make the players and let them play, counting rounds on the screen."""
    from competitor.evaluate.cross_table import cross_table
    from competitor.evaluate.evaluation import evaluate
    from competitor.players import make_player
    from competitor.screen import counter
    from competitor.system import use_threads

    how, rink = config.evaluation, config.rink
    use_threads(config.run.threads)
    judged, *rest = [
        make_player(name, seed=how.seed + place, deterministic=how.deterministic, keep_mode=rink.keep_mode)
        for place, name in enumerate([player, *others])
    ]
    opponents = dict(zip(others, rest, strict=True))
    settings: dict[str, Any] = {**how.model_dump(), **rink.model_dump()}
    with counter("rounds") as count:
        if cross:
            return cross_table({player: judged, **opponents}, on_progress=count, **settings)
        return evaluate(judged, opponents, record_dir=record_dir, on_progress=count, **settings)


@cli.command()
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
    from competitor.errors import RecordingError
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


@cli.command()
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
    from competitor.inspect.held_out import play_held_out, read_held_out
    from competitor.inspect.inspection import Subject, inspect
    from competitor.inspect.report import print_inspection
    from competitor.inspect.rink_axes import need_matplotlib
    from competitor.inspect.scenes import gallery
    from competitor.screen import counter
    from competitor.system import use_threads

    use_threads(load_config().run.threads)
    if png or gif:
        need_matplotlib()
    subject = Subject.load(checkpoint)
    with counter("rounds") as count:
        held_out = (
            play_held_out(subject.agent, subject.weights, seed, on_round=count)
            if directory is None
            else read_held_out(directory, subject.agent, subject.weights)
        )
    with counter("checks") as count:
        inspection = inspect(subject, held_out, seed=seed, on_part=count)
    with also_written(json_path, inspection.to_json()):
        print_inspection(inspection)
    if png or gif:
        _draw_dreams(inspection, gallery(subject.agent, held_out, seed), png, gif)


def _draw_dreams(inspection: Inspection, drawn: Gallery, png: Path | None, gif: Path | None) -> None:
    from competitor.inspect.animation import write_gif
    from competitor.inspect.picture import write_png
    from competitor.screen import counter

    if png:
        with written(png):
            write_png(inspection, drawn, png)
        print_line(f"picture written to {png}")
    if gif:
        with counter("frames") as count, written(gif):
            frames = write_gif(drawn.scenes, gif, count)
        print_line(f"{gif}: {frames} frames")


@cli.command()
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


def main() -> None:
    """Run the command line; ends the process with the exit code that competitor/errors.py documents."""
    # Threads that spin while they wait make updates 20 times slower as soon as another process is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN and not COMPETES:
            signal.signal(number, raise_interrupt)
    end_quickly()
    open_output()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors become one line on stderr."""
    try:
        code = int(cli.main(arguments, standalone_mode=False) or 0)
        sys.stdout.flush()
    except click.ClickException as error:
        error.message = "\n".join(map(plain, error.message.splitlines()))  # type: ignore[misc]
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except ReaderLeft:
        return 0
    except Exception as error:
        found = exit_code(error)
        if found is None or "--debug" in arguments:
            traceback.print_exc()
        else:
            click.echo(f"error: {plain(message(error))}", err=True)
        return found or 1
    return code


if __name__ == "__main__":
    main()
