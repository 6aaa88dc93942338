"""The command `arena`. Heavy imports stand inside it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
from click.core import ParameterSource

from competitor.arena.account_commands import accounts
from competitor.options import CONFIG, FILE, FOLDER, PORT, SET
from competitor.system import STOP_SIGNALS


@click.group(invoke_without_command=True)
@click.option("--directory", type=FOLDER, default=Path("arena"), show_default=True, help="Keeps accounts and results.")
@click.option("--user", "users", multiple=True, metavar="NAME", help="Make an account; its token is shown once.")
@click.option("--accounts-only", is_flag=True, help="Only make the accounts; a running arena knows them at once.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, this machine only]")
@click.option("--comprl-port", type=PORT, help="Port of the course's protocol, 0: any.  [default: 65335]")
@click.option("--http-port", type=PORT, help="Port of web page and WebSocket, 0: any.  [default: 8080]")
@click.option("--bots", help="House bots, separated by commas.  [default: weak,strong,champion]")
@click.option("--registration-key-file", type=FILE, help="Players open accounts themselves with the key in this file.")
@CONFIG
@SET
@click.pass_context
def arena(
    context: click.Context,
    directory: Path,
    users: tuple[str, ...],
    accounts_only: bool,
    host: str | None,
    comprl_port: int | None,
    http_port: int | None,
    bots: str | None,
    registration_key_file: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Run a tournament server to practise in, on this machine. Ctrl-C closes it.

    House bots: players as in evaluate, or NAME=PLAYER; --bots "" for none.

    \b
    Examples:
      cli.py arena --user me
      cli.py arena --user ada --user bob --accounts-only
      cli.py arena accounts add class.csv
      cli.py arena --host 0.0.0.0 --bots strong,mine=runs/first/checkpoints/latest
    """
    context.obj = directory
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if accounts_only and not users:
        raise click.UsageError("--accounts-only needs at least one --user")
    with contextlib.nullcontext() if accounts_only else _closing_at_once():
        from competitor.arena.console import add_accounts, bot_list, run_arena
        from competitor.arena.registration import read_key
        from competitor.config import as_overrides, load_config

        ports = {"arena.comprl_port": comprl_port, "arena.http_port": http_port}
        overrides += as_overrides({"arena.host": host, "arena.bots": bot_list(bots), **ports})
        config = load_config(config_path, overrides=overrides)
        if accounts_only:
            add_accounts(directory, users, click.echo)
        else:
            key = None if registration_key_file is None else read_key(registration_key_file)
            run_arena(directory, config.arena, users, click.echo, threads=config.run.threads, registration_key=key)


arena.add_command(accounts)


def _refuse_options(context: click.Context) -> None:
    """Those of the server mean nothing to `arena accounts`."""
    for name in context.params:
        if name != "directory" and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError("of the options before `accounts` only --directory has a meaning for accounts")


@contextlib.contextmanager
def _closing_at_once() -> Iterator[None]:
    """Within the block a signal closes the arena like later ones do; before it is open there is nothing to keep."""

    def close(number: int, frame: FrameType | None) -> None:
        os.write(1, b"arena closed\n")
        os._exit(0)

    before = {number: signal.signal(number, close) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
