"""The command line of hockey-dreamer. It parses, builds and calls; the work is done in `competitor`.

Heavy imports stand inside the commands, so that help and mistakes in the command line answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from competitor.errors import EXIT_INTERRUPTED, exit_code, message
from competitor.interrupts import raise_interrupt, stopping_on_signals
from competitor.version import code_version

if TYPE_CHECKING:
    from competitor.config import Config
    from competitor.cross_table import CrossTable
    from competitor.evaluation import EvaluationReport

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PORT = click.IntRange(0, 65_535)
RUNS = Path("runs")
CONFIG = click.option("--config", "config_path", type=FILE, help="A file laid over the shipped config.toml.")
SET = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting.")
SEED = click.option("--seed", type=click.IntRange(min=0), help="Seed of all random choices.")
ENGINE = click.option("--engine", type=click.Choice(["builtin", "hockey"]), help="Which rink to play on.")


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"hockey-dreamer {code_version()}")
        context.exit()


@click.group(name="hockey-dreamer", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, callback=_show_version, help="Show the version.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def cli() -> None:
    """An agent that learns laser hockey by dreaming (DreamerV3): train it, evaluate it, compete with it."""


@cli.command()
@CONFIG
@click.option("--preset", help="Settings to start from: default, seed, debug, ...  [default: default]")
@SET
@SEED
@ENGINE
@click.option("--run", "name", help="Name of the new run in runs/.  [default: date, time and preset]")
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
      cli.py train --set training.rinks=16 --set league.past=0.5
      cli.py train --resume runs/first --replay records/
    """
    if resume is not None and (config_path or preset or name):
        raise click.UsageError("--resume uses the run's own settings: drop --config, --preset and --run")
    from competitor.config import as_overrides, load_config
    from competitor.progress import make_display
    from competitor.rink import make_rink
    from competitor.run import default_name
    from competitor.selfplay import Trainer

    overrides += as_overrides({"run.seed": seed, "rink.engine": engine, "training.minutes": minutes})
    if resume is not None:
        trainer = Trainer.resume(resume, overrides, records=records)
    else:
        chosen = preset or "default"
        config = load_config(config_path, chosen, overrides)
        make_rink(config.rink.engine).close()  # a missing engine is told before a run directory exists
        path = RUNS / (name or default_name(chosen, datetime.now()))
        trainer = Trainer.start(config, path, preset=chosen, records=records)
    click.echo(f"{'continuing' if resume else 'training'} {trainer.run.path} (Ctrl-C saves and stops)")
    click.echo(trainer.placement.line)
    if records:
        steps = sum(len(episode.action) for episode in trainer.recorded)
        click.echo(f"{len(trainer.recorded):,} views of recorded rounds ({steps:,} steps) go into the replay")
    with stopping_on_signals(trainer.stop) as signals, make_display() as display:
        outcome = trainer.train(display)
    ended = "interrupted" if signals else "finished"
    click.echo(f"{ended} after {outcome.environment_steps:,} environment steps, {outcome.updates:,} updates")
    click.echo(f"all is saved in {outcome.run}; continue with: {outcome.resume_command}")
    return EXIT_INTERRUPTED if signals else 0


@cli.command()
@click.argument("player", metavar="CHECKPOINT")
@click.option("--against", default="weak,strong", show_default=True, help="Opponents, separated by commas.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds per opponent.")
@click.option("--sampled", is_flag=True, help="Sample the actions, as in training.")
@click.option("--cross", is_flag=True, help="Everybody plays everybody, rated together.")
@click.option("--json", "json_path", type=FILE, help="Write the results here too.")
@click.option("--record", "record_dir", type=FOLDER, help="Keep every round as a file in this folder.")
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

    CHECKPOINT and opponents: a file, champion (the shipped agent), weak, strong, random, or module:Class.

    \b
    Examples:
      cli.py evaluate champion
      cli.py evaluate runs/first/checkpoints/latest.safetensors --rounds 1000 --json result.json
      cli.py evaluate strong --against weak,random --record rounds/
      cli.py evaluate champion --against strong,runs/first/checkpoints/best
    """
    if cross and record_dir:
        raise click.UsageError("--cross keeps no rounds: leave out --record")
    others = [name.strip() for name in against.split(",") if name.strip()]
    if not others or (cross and others == [player]):
        raise click.UsageError("--against needs at least one opponent, --cross one that is not CHECKPOINT itself")
    from competitor.config import as_overrides, load_config
    from competitor.cross_table import CrossTable
    from competitor.report import print_cross_table, print_report
    from dreamer.files import atomic_write_text

    shortcuts = {"evaluation.seed": seed, "rink.engine": engine, "evaluation.rounds": rounds}
    config = load_config(config_path, overrides=overrides + as_overrides(shortcuts))
    how = config.evaluation.model_copy(update={"deterministic": config.evaluation.deterministic and not sampled})
    config = config.model_copy(update={"evaluation": how})
    result = _play(config, player, others, cross=cross, record_dir=record_dir)
    print_cross_table(result) if isinstance(result, CrossTable) else print_report(result)
    if json_path:
        atomic_write_text(json_path, result.to_json())
        click.echo(f"results written to {json_path}")
    return EXIT_INTERRUPTED if result.partial else 0


def _play(
    config: Config, player: str, others: list[str], *, cross: bool, record_dir: Path | None
) -> CrossTable | EvaluationReport:
    """Make the players and let them play, counting rounds on the screen."""
    from competitor.cross_table import cross_table
    from competitor.evaluation import evaluate
    from competitor.players import make_player
    from competitor.round_counter import round_counter
    from competitor.threads import use_threads

    how, rink = config.evaluation, config.rink
    use_threads(config.run.threads)
    judged, *rest = [
        make_player(name, seed=how.seed + place, deterministic=how.deterministic, keep_mode=rink.keep_mode)
        for place, name in enumerate([player, *others])
    ]
    opponents = dict(zip(others, rest, strict=True))
    settings: dict[str, Any] = {**how.model_dump(), **rink.model_dump()}
    with round_counter() as count:
        if cross:
            return cross_table({player: judged, **opponents}, on_progress=count, **settings)
        return evaluate(judged, opponents, record_dir=record_dir, on_progress=count, **settings)


@cli.command()
@click.argument("recording", metavar="FILE", type=FILE)
@click.option("--gif", type=FILE, help="Draw the round into this animation.")
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
    from competitor.recording import load_recording, play_back, verify_recording, write_gif

    round_ = load_recording(recording)
    about = round_.about
    engine = engine or about.engine
    checked = verify_recording(recording, engine)
    if not checked.identical:
        raise RecordingError(f"{recording} does not replay on the engine {engine}: {checked.difference}")
    result = {1: "won", 0: "drew", -1: "lost"}[about.result]
    click.echo(f"{about.player} {result} against {about.opponent} in {about.steps} steps; replays exactly")
    if gif:
        click.echo(f"{gif}: {write_gif(round_, gif)} frames")
    if window:
        for rink in play_back(round_, engine):
            rink.render("human")


@cli.command()
@click.argument("checkpoint")
def info(checkpoint: str) -> None:
    """Show what a checkpoint is: its model card, checked against the weights.

    \b
    Example:
      cli.py info champion
    """
    from competitor.card import print_card
    from competitor.players import checkpoint_path
    from dreamer.checkpoint import load_checkpoint

    path = checkpoint_path(checkpoint)
    print_card(path, *load_checkpoint(path))


@cli.command()
@click.argument("checkpoint", default="champion")
@click.option("--server", metavar="ADDRESS", help="comprl://HOST:PORT, HOST, ws://, wss://.  [env: COMPRL_SERVER_URL]")
@click.option("--token-file", type=FILE, help="Holds the access token.  [otherwise: env COMPRL_ACCESS_TOKEN]")
@click.option("--records", type=FOLDER, default=Path("records"), show_default=True, help="Keeps matches and logs.")
@click.option("--connections", type=click.IntRange(min=1), help="Matches at once.  [default: 1]")
@click.option("--games", type=click.IntRange(min=1), help="Stop after so many finished matches.")
@click.option("--until", metavar="TIME", help="Finish then: 18:00, 2026-11-30T18:00, or 90m, 2h from now.")
@click.option("--http", metavar="[HOST:]PORT", help="Answer /healthz and /metrics there.")
@click.option("--ca-file", type=FILE, help="Certificates to trust besides the system's, for wss://.")
@CONFIG
@SET
def compete(**options: Any) -> int:
    """Play on a tournament server until told to stop; Ctrl-C finishes the matches in play.

    CHECKPOINT: a file, or champion (the shipped agent). docs/compete.md tells everything.

    \b
    Examples:
      cli.py compete --server comprl://comprl.example.org:65335 --token-file token
      cli.py compete runs/first/checkpoints/best --server ws://localhost:8080 --games 10
      cli.py compete --server comprl.example.org --connections 4 --until 18:00 --http 9100
    """
    from competitor.daemon.order import read_order

    try:
        order = read_order(os.environ, datetime.now().astimezone(), **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    from competitor.daemon.compete import compete

    return 0 if compete(order) else EXIT_INTERRUPTED


@cli.command()
@click.argument("directory", metavar="[DIR]", type=FOLDER, default=Path("records"))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(directory: Path, as_json: bool) -> int:
    """Show the daemons that play, by what they last said; exit code 1 if none lives. DIR: their records.

    \b
    Examples:
      cli.py status
      cli.py status records/ --json
    """
    from competitor.daemon.status import observe, print_status, status_json

    daemons = observe(directory)
    click.echo(status_json(daemons)) if as_json else print_status(daemons, directory)
    return 0 if any(daemon.works for daemon in daemons) else 1


@cli.command()
@click.argument("directory", metavar="[DIR]", type=FOLDER, default=Path("records"))
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many matches to show.")
@click.option("--json", "json_path", type=FILE, help="Write them here too, with all that is known of them.")
def matches(directory: Path, last: int, json_path: Path | None) -> None:
    """List the matches played on servers, with the results so far. DIR: their records, if not in records/.

    \b
    Examples:
      cli.py matches
      cli.py matches records/ --last 1000 --json matches.json
    """
    from competitor.daemon.database import last_matches
    from competitor.match_list import matches_json, print_matches
    from dreamer.files import atomic_write_text

    listed = last_matches(directory, last)
    print_matches(listed, directory)
    if json_path:
        atomic_write_text(json_path, matches_json(listed))
        click.echo(f"matches written to {json_path}")


@cli.command()
@click.option("--directory", type=FOLDER, default=Path("arena"), show_default=True, help="Keeps accounts and results.")
@click.option("--user", "users", multiple=True, metavar="NAME", help="Make an account; its token is told once.")
@click.option("--accounts-only", is_flag=True, help="Only make the accounts; a running arena knows them at once.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]")
@click.option("--comprl-port", type=PORT, help="Port of the course's protocol, 0: any.  [default: 65335]")
@click.option("--http-port", type=PORT, help="Port of web page and WebSocket, 0: any.  [default: 8080]")
@click.option("--bots", help="House bots, separated by commas.  [default: weak,strong,champion]")
@CONFIG
@SET
def arena(
    directory: Path,
    users: tuple[str, ...],
    accounts_only: bool,
    host: str | None,
    comprl_port: int | None,
    http_port: int | None,
    bots: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Run a tournament server to practise in, on this machine. Ctrl-C closes it.

    House bots: weak, strong, champion, a checkpoint's path, or NAME=PATH; --bots "" for none.

    \b
    Examples:
      cli.py arena --user me
      cli.py arena --user ada --user bob --accounts-only
      cli.py arena --host 0.0.0.0 --bots strong,mine=runs/first/checkpoints/latest
    """
    if accounts_only and not users:
        raise click.UsageError("--accounts-only needs at least one --user")
    from competitor.arena.command import add_accounts, bot_list, run_arena
    from competitor.config import as_overrides, load_config

    ports = {"arena.comprl_port": comprl_port, "arena.http_port": http_port}
    overrides += as_overrides({"arena.host": host, "arena.bots": bot_list(bots), **ports})
    config = load_config(config_path, overrides=overrides)
    if accounts_only:
        add_accounts(directory, users, click.echo)
        return
    run_arena(directory, config.arena, users, click.echo, threads=config.run.threads)


def main() -> None:
    """Run the command line; ends the process with the exit code that competitor/errors.py documents."""
    # Threads that spin while they wait make updates 20 times slower as soon as another process is busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, raise_interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors become one line on stderr."""
    try:
        return int(cli.main(arguments, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except Exception as error:
        code = exit_code(error)
        if code is None or "--debug" in arguments:
            traceback.print_exc()
        else:
            click.echo(f"error: {message(error)}", err=True)
        return code or 1


if __name__ == "__main__":
    main()
