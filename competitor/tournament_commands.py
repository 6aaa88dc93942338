"""The commands around tournaments: `compete`, `status`, `matches` and `arena`. `cli.py` takes them in.

Like there, heavy imports stand inside the commands.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from competitor.errors import EXIT_INTERRUPTED
from competitor.options import CONFIG, FILE, FOLDER, PORT, SET


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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
