"""What the command `arena` does and says: accounts with their tokens, where to look, how to connect."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shutil
import socket
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from competitor.arena.accounts import TOKENS, Account, open_accounts
from competitor.arena.arena import DATABASE, Arena
from competitor.arena.log_lines import log_lines
from competitor.arena.running import keep_open
from competitor.arena.store import Store
from competitor.config import ArenaConfig

FEW_CONNECTIONS = 64

Say = Callable[[str], None]


def add_accounts(directory: Path, users: Sequence[str], say: Say) -> None:
    """Make accounts in the database of an arena, whether it runs or not, and say their tokens."""
    say = fitting(say)
    with contextlib.closing(Store(directory / DATABASE)) as store:
        _say_accounts(open_accounts(store, directory, users), say)


def run_arena(directory: Path, config: ArenaConfig, users: Sequence[str], say: Say, *, threads: int) -> None:
    """Run an arena with accounts for `users` until a signal ends it; a line for every match goes to `say`."""
    say = fitting(say)

    def announce(line: str) -> None:
        say(f"{datetime.now():%H:%M:%S} {line}")

    def opened(arena: Arena) -> None:
        _say_accounts(open_accounts(arena.store, directory, users), say)
        for warning in filter(None, (exposure(config.host), scarcity(arena.connections.most))):
            say(f"warning: {warning}")
        for line in _directions(arena, users):
            say(line)

    with log_lines(announce) as lines:
        keep_open(Arena(directory, config, threads=threads, announce=announce), opened, lines)
    say(f"arena closed; accounts and results are kept in {directory}")


def fitting(say: Say) -> Say:
    """`say` for lines of any length: broken between words where the terminal ends; in a pipe as they are.

    Never raises OSError: the terminal may be gone, the matches go on.
    """

    def say_fitting(line: str) -> None:
        columns = shutil.get_terminal_size((0, 0)).columns
        with contextlib.suppress(OSError):
            say(line if len(line) <= columns or not columns else _broken(line, columns))

    return say_fitting


def _broken(line: str, columns: int) -> str:
    what, colon, command = line.partition(": python ")
    if not colon:
        return textwrap.fill(line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    # A command can be copied from several lines when each but the last ends in a backslash.
    words = textwrap.wrap("python " + command, columns - 4, break_long_words=False, break_on_hyphens=False)
    return f"{what}:\n  " + " \\\n  ".join(words)


def scarcity(connections: int) -> str | None:
    """A warning when the process may have few connections, else None."""
    if connections >= FEW_CONNECTIONS:
        return None
    return f"there is room for {connections} connections only: raise `ulimit -n` for more"


def bot_list(text: str | None) -> str | None:
    """The value of the setting arena.bots for the option --bots, names separated by commas."""
    return None if text is None else json.dumps([name.strip() for name in text.split(",") if name.strip()])


def exposure(host: str) -> str | None:
    """A warning when `host` lets others than this machine in, else None."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return None
    if host == "localhost":
        return None
    return (
        f"listening on {host}, for everybody who can reach this machine, without encryption: "
        "the arena is a practice hall for a class, not an internet service"
    )


def _say_accounts(accounts: Sequence[Account], say: Say) -> None:
    for account in accounts:
        if account.token is None:
            say(f"account {account.name} is there already, its token in {account.file}")
        else:
            say(f"account {account.name}: token {account.token}, shown only now and kept in {account.file}")


def _directions(arena: Arena, users: Sequence[str]) -> list[str]:
    """Where the arena is and how to get in."""
    host = _reachable(arena.config.host)
    name = users[0] if users else "NAME"
    token_file = arena.directory / TOKENS / name
    server = f"comprl://{host}:{arena.comprl_port}"
    lines = [
        f"leaderboard and matches: http://{host}:{arena.http_port}/",
        f"house bots: {', '.join(arena.config.bots) or 'none'}",
        f"connect with: python cli.py compete champion --server {server} --token-file {token_file}",
        f"over WebSocket: --server ws://{host}:{arena.http_port}",
    ]
    if not users:
        lines.append("an account for NAME: python cli.py arena --user NAME --accounts-only")
    return [*lines, "the arena is open (Ctrl-C closes it)"]


def _reachable(host: str) -> str:
    """By which name others find an arena that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host
