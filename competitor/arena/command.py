"""What the command `arena` does and says: accounts with their tokens, where to look, how to connect."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from competitor.arena.accounts import TOKENS, Account, open_accounts
from competitor.arena.arena import BOOK, Arena
from competitor.arena.running import keep_open
from competitor.arena.store import Store
from competitor.config import ArenaConfig

Say = Callable[[str], None]


def add_accounts(directory: Path, users: Sequence[str], say: Say) -> None:
    """Make accounts in the book of an arena, whether it runs or not, and tell their tokens."""
    with contextlib.closing(Store(directory / BOOK)) as store:
        _tell_accounts(open_accounts(store, directory, users), say)


def run_arena(directory: Path, config: ArenaConfig, users: Sequence[str], say: Say, *, threads: int) -> None:
    """Run an arena with accounts for `users` until SIGINT or SIGTERM; a line for every match goes to `say`."""

    def announce(line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone, the matches go on
            say(f"{datetime.now():%H:%M:%S} {line}")

    def opened(arena: Arena) -> None:
        _tell_accounts(open_accounts(arena.store, directory, users), say)
        if warning := exposure(config.host):
            say(f"warning: {warning}")
        for line in _directions(arena, users):
            say(line)

    keep_open(Arena(directory, config, threads=threads, announce=announce), opened)
    say(f"arena closed; accounts and results are kept in {directory}")


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


def _tell_accounts(accounts: Sequence[Account], say: Say) -> None:
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
