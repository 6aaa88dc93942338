"""The commands `sparring ...`: make sparring partners and see who there is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from competitor.errors import EXIT_INTERRUPTED, needing
from competitor.options import FILE, FOLDER, MOST_ROUNDS, MOST_SEED, Minutes, ResultFolder, plain_name

if TYPE_CHECKING:
    from competitor.sparring.actor import Learner
    from competitor.sparring.run import Run

RUNS = Path("runs") / "sparring"
RECIPES = click.option("--recipes", "file", type=FILE, help="A table of recipes laid over the shipped one.")


@click.group()
def sparring() -> None:
    """Sparring partners: small agents of other styles to train and test against.

    \b
    Examples:
      cli.py sparring list
      cli.py sparring train striker --minutes 20
    """


@sparring.command("train")
@click.argument("recipe", required=False)
@RECIPES
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: reward.goal=5, ...")
@click.option("--run", "name", callback=plain_name, help="Name of the run in runs/sparring/.  [default: the recipe's]")
@click.option("--resume", type=FOLDER, metavar="RUN", help="Continue this run.")
@click.option("--begin-from", type=FOLDER, metavar="RUN", help="Begin with the weights of this run.")
@click.option("--minutes", type=Minutes(), default=0.0, help="Stop after so many minutes.")
def train(
    recipe: str | None,
    file: Path | None,
    changes: tuple[str, ...],
    name: str | None,
    resume: Path | None,
    begin_from: Path | None,
    minutes: float,
) -> int:
    """Train the partner of a RECIPE. Ctrl-C saves everything and stops.

    \b
    Examples:
      cli.py sparring train striker --minutes 20
      cli.py sparring train --resume runs/sparring/striker
      cli.py sparring train hasty --run mine --set discount=0.98 --set reward.direction=20
      cli.py sparring train exploiter --begin-from runs/sparring/veteran
    """
    if (recipe is None) == (resume is None):
        raise click.UsageError("give a RECIPE to begin, or --resume RUN to continue")
    if resume is not None and (file or changes or name or begin_from):
        raise click.UsageError("--resume uses the run's own recipe: drop --recipes, --set, --run and --begin-from")
    need_sbx("training sparring partners")
    import tomli_w

    from competitor.players import make_player
    from competitor.sparring.recipes import load_recipe
    from competitor.sparring.run import Run

    if resume is not None:
        return _train(Run.open(resume), minutes, is_new=False)
    assert recipe is not None
    begun_from = (tomli_w.dumps({"begins_from": os.path.realpath(begin_from)}),) if begin_from else ()
    run = Run(RUNS / (name or recipe), load_recipe(recipe, file, (*changes, *begun_from)))
    run.source()  # mistakes are said before there is a directory
    for opponent in run.recipe.named:
        make_player(opponent, seed=0)
    return _train(run, minutes, is_new=True)


def _train(run: Run, minutes: float, *, is_new: bool) -> int:
    from competitor.screen import say
    from competitor.sparring.run import held
    from competitor.sparring.trainer import Trainer
    from competitor.system import command_line, stopping_on_signals, use_threads

    use_threads(1)
    with held(run.path):
        if is_new:
            run.create(run.path, run.recipe)
        say(f"preparing {run.path}: {run.recipe.style}")
        trainer = Trainer(run, _make_learner(run), clock=time.monotonic, say=say)
        with stopping_on_signals(trainer.stop) as signals:
            say("training (Ctrl-C saves and stops)")
            trainer.train(minutes=minutes)
    if trainer.finished:
        say(f"finished after {trainer.learner.updates:,} updates: see {command_line('sparring', 'export', run.path)}")
    else:
        say(f"continue with: {command_line('sparring', 'train', '--resume', run.path)}")
    return EXIT_INTERRUPTED if signals else 0


def _make_learner(run: Run) -> Learner:
    import numpy as np

    if run.recipe.algorithm == "PPO":
        from competitor.sparring.sbx_rollouts import RolloutLearner

        return RolloutLearner(run.recipe)
    from competitor.sparring.sbx_replay import ReplayLearner

    return ReplayLearner(run.recipe, np.random.default_rng(run.recipe.seed))


def has_sbx() -> bool:
    return importlib.util.find_spec("sbx") is not None


def need_sbx(what: str) -> None:
    """Raise PackageError where `what` cannot be done because sbx-rl cannot be loaded."""
    with needing(what, "sparring"):
        importlib.import_module("competitor.sparring.sbx_model")  # sets what JAX has to know before it is loaded


@sparring.command("recipes")
@RECIPES
def show_recipes(file: Path | None) -> None:
    """List the recipes.

    \b
    Example:
      cli.py sparring recipes
    """
    from competitor.sparring.recipes import load_recipe, recipe_names
    from competitor.sparring.tables import print_recipes

    print_recipes({name: load_recipe(name, file) for name in recipe_names(file)})


@sparring.command("export")
@click.argument("run_path", metavar="RUN", type=FOLDER)
@click.option("--policy", type=click.Choice(["best", "latest"]), default="best", show_default=True)
@click.option("--to", type=ResultFolder(), default=Path("checkpoints/sparring"), show_default=True, help="Where to.")
@click.option(
    "--rounds", type=click.IntRange(2, MOST_ROUNDS), default=200, show_default=True, help="Rounds per opponent."
)
@click.option("--seed", type=click.IntRange(0, MOST_SEED), default=1, show_default=True, help="Seed of the rounds.")
def export(run_path: Path, policy: str, to: Path, rounds: int, seed: int) -> None:
    """Measure what a RUN has learned and write it as a partner, weights and card.

    \b
    Example:
      cli.py sparring export runs/sparring/striker
    """
    from competitor.screen import counter
    from competitor.sparring import partner
    from competitor.sparring.run import Run
    from competitor.sparring.tables import print_partners

    with counter("rounds") as count:
        path, card = partner.export(Run.open(run_path), policy, to, rounds=rounds, seed=seed, count=count)
    click.echo(f"written to {path}")
    print_partners([card])


@sparring.command("list")
def show_partners() -> None:
    """List the partners that ship, and how they play.

    \b
    Example:
      cli.py sparring list
    """
    from competitor.players.sparring import partner_names, partner_path, read_card
    from competitor.sparring.tables import print_partners

    print_partners([read_card(partner_path(name)) for name in partner_names()])
