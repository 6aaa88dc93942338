"""The commands `league ...`: run a population, see how it stands, measure how much of an agent can be exploited."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from competitor.errors import EXIT_INTERRUPTED, ConfigError
from competitor.options import (
    CONFIG,
    FOLDER,
    JSON,
    MOST_SEED,
    ROUNDS,
    SET,
    Command,
    Minutes,
    also_written,
    json_text,
    written,
)
from competitor.screen import counter, print_line, say
from competitor.sparring.commands import has_sbx, need_sbx
from competitor.system import command_line, is_held, sole_writer, stopping_on_signals, use_threads

if TYPE_CHECKING:
    from competitor.config import Config
    from competitor.population.book import Book

ALWAYS = ("training.minutes=0", f"training.environment_steps={10**15}")
"""The population's clock ends a turn, nothing else."""


class _RunUnlessNamed(click.Group):
    """`league DIR` is `league run DIR`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` in front of arguments that name no command."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, list(args) if named or not args else ["run", *args])


@click.group("league", cls=_RunUnlessNamed)
def league() -> None:
    """A population: a main agent and exploiters of it that train side by side and feed each other.

    `league DIR` is short for `league run DIR`.

    \b
    Examples:
      cli.py league leagues/first --start-from champion
      cli.py league status leagues/first
      cli.py league exploit champion --minutes 30
    """


@league.command("run")
@click.argument("directory", type=FOLDER)
@CONFIG
@click.option("--preset", help="Settings of all trainings.  [default: default]")
@SET
@click.option("--start-from", "source", metavar="CHECKPOINT", help="The main agent and first champion, to begin with.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Trainings at once; one of them is the main agent's.  [default: the processor's cores]",
)
@click.option("--minutes", type=Minutes(), default=0.0, help="Stop after so many minutes.")
@click.option(
    "--turn",
    type=Minutes(is_open=True),
    default=15.0,
    show_default=True,
    help="Minutes that a learner trains at a time.",
)
@click.option(
    "--life",
    type=Minutes(is_open=True),
    default=120.0,
    show_default=True,
    help="Minutes until an exploiter begins again.",
)
@click.option("--rounds", type=ROUNDS, default=100, show_default=True, help="Rounds of an exploiter's examination.")
@click.option("--ray", metavar="ADDRESS", help="Train on this Ray cluster; local: one of this machine alone.")
def run(
    directory: Path,
    config_path: Path | None,
    preset: str | None,
    overrides: tuple[str, ...],
    source: str | None,
    workers: int | None,
    minutes: float,
    turn: float,
    life: float,
    rounds: int,
    ray: str | None,
) -> int:
    """Run the population in DIRECTORY, or go on with it. Ctrl-C saves everything and stops.

    \b
    Examples:
      cli.py league leagues/first --start-from champion
      cli.py league leagues/first --minutes 600
    """
    from competitor.config import load_config
    from competitor.population.book import Book
    from competitor.population.cluster import RayWorkers
    from competitor.population.population import Population
    from competitor.population.roles import CONFIG
    from competitor.population.workers import Workers

    count = workers or os.cpu_count() or 1
    begins = None
    if not Book.exists(directory):
        begins = load_config(config_path, "default" if preset is None else preset, (*overrides, *ALWAYS), training=True)
        _make_room(directory, begins, source)
    use_threads(1)
    with sole_writer(directory, f"the population {directory}"):
        if begins is not None and not Book.exists(directory):
            with written(directory):
                _begin(directory, begins, source)
        elif any(value is not None for value in (config_path, preset, source, *overrides)):
            raise click.UsageError(f"{directory} has its own settings: drop --config, --preset, --set and --start-from")
        config = load_config(directory / CONFIG, training=True)
        with counter("rounds") as shown:
            population = Population(
                Path(os.path.realpath(directory)),
                Book.read(directory),
                Workers(count) if ray is None else RayWorkers(ray, count),
                listed=config.league.shares,
                keep_mode=config.rink.keep_mode,
                rounds=rounds,
                turn_minutes=turn,
                life_minutes=life,
                sac=has_sbx(),
                clock=time.monotonic,
                say=lambda line: say(f"{datetime.now():%H:%M:%S}  {line}"),
                count=shown,
            )
            say(f"running {directory} on {count} workers (Ctrl-C saves and stops)")
            with stopping_on_signals(population.stop) as signals:
                population.run(minutes=minutes)
    say(f"{directory} has ended; continue with: {command_line('league', directory)}")
    return EXIT_INTERRUPTED if signals else 0


def _make_room(directory: Path, settings: Config, source: str | None) -> None:
    """Make the directory of a new population; a mistake is said before there is one.

    What a population that was killed while it began has left is written again.
    """
    from competitor.population.book import NEWEST
    from competitor.population.roles import CONFIG
    from competitor.train.opening import read_start

    if source is not None:
        read_start(source, settings)
    left = {".lock", CONFIG, "members", NEWEST, NEWEST.replace(".safetensors", ".json")}
    if directory.exists() and any(path.name not in left for path in directory.iterdir() if path.suffix != ".tmp"):
        raise ConfigError(f"{directory} is not empty and holds no population: take another directory")
    directory.mkdir(parents=True, exist_ok=True)


def _begin(directory: Path, settings: Config, source: str | None) -> None:
    """Make a new population; its book is written last, without it the directory is none."""
    from competitor.evaluate.card import weights_of
    from competitor.population.book import NEWEST, Book, Learner, Member
    from competitor.population.roles import CONFIG, freeze
    from dreamer.files import atomic_write_text

    atomic_write_text(directory / CONFIG, settings.to_toml())
    book = Book(learners=[Learner(name="main", role="main")])
    if source is not None:
        for place in ("members/start.safetensors", NEWEST):
            freeze(weights_of(source), directory / place)
        book.enter(Member(name="start", role="main", player="members/start.safetensors"))
        book.champion = book.learners[0].begins_from = "start"
    book.write(directory)


@league.command("status", cls=Command)
@click.argument("directory", type=FOLDER)
@JSON
def status(directory: Path, json_path: Path | None) -> None:
    """Show who is in the population of DIRECTORY, their ratings and points, and how exploitable the champion is.

    \b
    Examples:
      cli.py league status leagues/first
      cli.py league status leagues/first --json status.json
    """
    from competitor.evaluate.card import summaries
    from competitor.population.book import Book
    from competitor.population.report import print_book

    book = Book.read(directory)
    running, card = is_held(directory), _card(directory, book)
    measured = {"is_running": running, "exploitability": card.get("exploitability"), "gauntlet": card.get("gauntlet")}
    state = book.model_dump(mode="json") | measured
    with also_written(json_path, json_text(state)):
        print_book(book, is_running=running, measured=summaries(card))


def _card(directory: Path, book: Book) -> dict[str, Any]:
    """The champion's model card, empty without one."""
    from dreamer.checkpoint import read_card
    from dreamer.errors import CheckpointError

    champion = book.member(book.champion)
    with suppress(CheckpointError):
        return {} if champion is None else read_card(directory / champion.player)
    return {}


@league.command("exploit", cls=Command)
@click.argument("checkpoint")
@click.option(
    "--minutes", type=Minutes(is_open=True), default=30.0, show_default=True, help="Of one core, to learn in."
)
@click.option("--rounds", type=ROUNDS, default=200, show_default=True, help="Rounds that measure it at the end.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), default=1, show_default=True, help="Of all its chance.")
@JSON
@click.option("--card", "on_card", is_flag=True, help="Write the result on CHECKPOINT's card.")
def exploit(checkpoint: str, minutes: float, rounds: int, seed: int, json_path: Path | None, on_card: bool) -> int:
    """Measure how exploitable CHECKPOINT is: the points that a fresh SAC agent takes from it after so many minutes.

    It learns from nothing, against CHECKPOINT alone; minutes are processor time. Its run stays in runs/sparring.

    \b
    Examples:
      cli.py league exploit champion --minutes 30 --json exploit.json
      cli.py league exploit leagues/first/members/main-8 --card
    """
    need_sbx("training an exploiter")
    from competitor.evaluate.card import can_be_carded, write_on_card
    from competitor.sparring.exploit import measure_exploitability

    if on_card:
        can_be_carded(checkpoint)
    use_threads(1)
    run_path = Path("runs") / "sparring" / f"exploiter-{datetime.now():%Y%m%d-%H%M%S}"
    with counter("rounds") as count:
        result, was_stopped = measure_exploitability(
            checkpoint, run_path, minutes=minutes, rounds=rounds, seed=seed, say=say, count=count
        )
    with also_written(json_path, json_text(result)):
        print_line(result.line)
    if on_card and not was_stopped:
        write_on_card(checkpoint, lambda card: {"exploitability": asdict(result)})
    return EXIT_INTERRUPTED if was_stopped else 0
