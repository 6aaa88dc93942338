"""Kinds of values and options that several commands of the command line share."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PORT = click.IntRange(0, 65_535)
CONFIG = click.option("--config", "config_path", type=FILE, help="A file laid over the shipped config.toml.")
SET = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting.")
SEED = click.option("--seed", type=click.IntRange(min=0), help="Seed of all random choices.")
ENGINE = click.option("--engine", type=click.Choice(["builtin", "hockey"]), help="Which rink to play on.")
