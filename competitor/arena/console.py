"""What the command `arena` prints on a terminal of any width: tokens of accounts, where to look, how to connect."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from competitor.arena.accounts import TOKENS, OpenedAccount, open_accounts
from competitor.arena.arena import Arena, ArenaOptions
from competitor.arena.log_lines import log_lines
from competitor.arena.running import keep_open
from competitor.config import ArenaConfig
from competitor.errors import plain
from competitor.screen import OUTPUT_LOST, make_console, wrapped
from competitor.system import command_line

FEW_CONNECTIONS = 64
COMMAND = ": $ "
"""Between words and a command that a user can copy."""

Say = Callable[[str], None]


def run_arena(
    directory: Path,
    config: ArenaConfig,
    options: ArenaOptions,
    users: Sequence[str],
    say: Say,
    *,
    threads: int,
    registration_key: str | None = None,
) -> None:
    """Run an arena with accounts for `users` until a signal ends it; a line for every match goes to `say`."""
    say = fitting(say)

    def announce(line: str) -> None:
        say(f"{datetime.now():%H:%M:%S} {line}")

    def opened(arena: Arena) -> None:
        _say_accounts(open_accounts(arena.store, directory, users), say)
        for warning in filter(None, (exposure(options.host), scarcity(arena.connections.most))):
            say(f"warning: {warning}")
        for line in _directions(arena, users):
            say(line)

    with log_lines(announce):
        arena = Arena(directory, config, options, threads=threads, announce=announce, registration_key=registration_key)
        keep_open(arena, opened)
    say(f"arena closed; accounts and results are kept in {directory}")


def fitting(say: Say) -> Say:
    """`say` for lines of any length: broken between words where the terminal ends, in a pipe as they are.

    Never raises because nobody reads any more: the matches go on.
    """

    def say_fitting(line: str) -> None:
        with contextlib.suppress(*OUTPUT_LOST):
            say(broken(plain(line), make_console().width))

    return say_fitting


def broken(line: str, width: int) -> str:
    """`line` in as many as `width` needs. A command at its end, after ": $ ", can be copied from all of them."""
    what, has_command, command = line.partition(COMMAND)
    if not has_command:
        return "\n  ".join(wrapped(line, width))
    if len(what) + len(": ") + len(command) <= width:
        return f"{what}: {command}"
    return f"{what}:\n  " + " \\\n  ".join(wrapped(command, width - 4))


def scarcity(connections: int) -> str | None:
    """A warning when the process may have few connections, else None."""
    if connections >= FEW_CONNECTIONS:
        return None
    return f"there is room for {connections} connections only: raise `ulimit -n` for more"


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


def _say_accounts(accounts: Sequence[OpenedAccount], say: Say) -> None:
    for account in accounts:
        if account.token is None:
            say(f"account {account.name} is there already, its token in {account.file}")
        else:
            say(f"account {account.name}: token {account.token}, shown only now and kept in {account.file}")


def _directions(arena: Arena, users: Sequence[str]) -> list[str]:
    """Where the arena is and how to get in."""
    host = _reachable(arena.options.host)
    name = users[0] if users else "NAME"
    server = f"comprl://{host}:{arena.comprl_port}"
    compete = ("compete", "champion", "--server", server, "--token-file", arena.directory / TOKENS / name)
    lines = [
        f"leaderboard and matches: http://{host}:{arena.http_port}/",
        f"house bots: {', '.join(arena.options.bots) or 'none'}",
        f"connect with{COMMAND}{command_line(*compete)}",
        f"over WebSocket: --server ws://{host}:{arena.http_port}",
    ]
    if not users:
        where = () if arena.directory == Path("arena") else ("--directory", arena.directory)
        lines.append(f"an account for NAME{COMMAND}{command_line('arena', 'accounts', 'add', 'NAME', *where)}")
    if arena.registration_key is not None:
        lines.append(f"players open accounts themselves: http://{host}:{arena.http_port}/register")
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
