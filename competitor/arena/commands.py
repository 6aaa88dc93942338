"""The command `arena`. Heavy imports stand inside it."""

from pathlib import Path

import click
from click.core import ParameterSource

from competitor.arena.account_commands import accounts
from competitor.options import CONFIG, FILE, FOLDER, PORT, SET
from competitor.system import STOP_SIGNALS, ending_at_once


@click.group(invoke_without_command=True)
@click.option("--directory", type=FOLDER, default=Path("arena"), show_default=True, help="Keeps accounts and results.")
@click.option("--user", "users", multiple=True, metavar="NAME", help="Make an account; its token is shown once.")
@click.option("--host", default="127.0.0.1", show_default="127.0.0.1, this machine only", help="Address to listen on.")
@click.option("--comprl-port", type=PORT, default=65_335, show_default=True, help="Of the course's protocol, 0: any.")
@click.option("--http-port", type=PORT, default=8080, show_default=True, help="Of web page and WebSocket, 0: any.")
@click.option("--bots", default="weak,strong,champion", show_default=True, help="House bots, separated by commas.")
@click.option("--registration-key-file", type=FILE, help="Players open accounts themselves with the key in this file.")
@CONFIG
@SET
@click.pass_context
def arena(
    context: click.Context,
    directory: Path,
    users: tuple[str, ...],
    host: str,
    comprl_port: int,
    http_port: int,
    bots: str,
    registration_key_file: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Run a tournament server to practise in, on this machine. Ctrl-C closes it.

    House bots: players as in evaluate, or NAME=PLAYER; --bots "" for none.

    \b
    Examples:
      cli.py arena --user me
      cli.py arena accounts add ada bob class.csv
      cli.py arena --host 0.0.0.0 --bots strong,mine=runs/first/checkpoints/latest
    """
    context.obj = directory
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    with ending_at_once(STOP_SIGNALS, b"arena closed\n"):
        from competitor.arena.arena import ArenaOptions
        from competitor.arena.console import run_arena
        from competitor.arena.registration import read_key
        from competitor.config import load_config

        config = load_config(config_path, overrides=overrides)
        key = None if registration_key_file is None else read_key(registration_key_file)
        names = tuple(name.strip() for name in bots.split(",") if name.strip())
        options = ArenaOptions(host, comprl_port, http_port, names, config.run.threads, key)
        run_arena(directory, config.arena, options, users, click.echo)


arena.add_command(accounts)


def _refuse_options(context: click.Context) -> None:
    """Those of the server mean nothing to `arena accounts`."""
    for name in context.params:
        if name != "directory" and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError("of the options before `accounts` only --directory has a meaning for accounts")
