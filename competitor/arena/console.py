"""What the command `arena` prints on a terminal of any width: tokens of accounts, where to look, how to connect."""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from competitor.arena.accounts import TOKENS, OpenedAccount, open_accounts
from competitor.arena.arena import Arena, ArenaOptions
from competitor.config import ArenaConfig
from competitor.errors import plain
from competitor.screen import OUTPUT_LOST, make_console, wrapped
from competitor.system import command_line, ending_at_once, stopped_by_signals
from competitor.wire.budget import Budget, Throttle
from competitor.wire.names import one_line

FEW_CONNECTIONS = 64
EVERY_S = 60.0  # between two lines of a kind
MOST_KINDS = 20  # lines of different kinds in that time; what is beyond them is left out
LONGEST_LINE = 200
COMMAND = ": $ "  # between words and a command that a user can copy

Say = Callable[[str], None]


def run_arena(directory: Path, config: ArenaConfig, options: ArenaOptions, users: Sequence[str], say: Say) -> None:
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
        keep_open(Arena(directory, config, options, announce=announce), opened)
    say(f"arena closed; accounts and results are kept in {directory}")


def keep_open(arena: Arena, opened: Callable[[Arena], None]) -> None:
    """Run `arena` in this thread, the main one, until a signal comes; `opened` is called as soon as it is open.

    SIGINT, SIGTERM and SIGHUP close it, also while it starts. A second SIGINT or SIGTERM, while it closes, ends the
    process at once: a disk that hangs would keep it. Raises what Arena.start and Arena.stop raise.
    """
    asyncio.run(_keep_open(arena, opened))


async def _keep_open(arena: Arena, opened: Callable[[Arena], None]) -> None:
    with stopped_by_signals() as stopping:
        if not await _started(arena, stopping):
            return
        try:
            opened(arena)
            await stopping.wait()
        finally:
            with ending_at_once((signal.SIGINT, signal.SIGTERM), b"arena closed\n"):
                await arena.stop()


async def _started(arena: Arena, stopping: asyncio.Event) -> bool:
    """Start the arena; False if a signal came first, and then nothing runs."""
    starting = asyncio.create_task(arena.start())
    signalled = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    return False


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
    if arena.options.registration_key is not None:
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


class LogLines(logging.Handler):
    """Says one warning of a kind a minute, and with the next one how many were left out."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._throttle, self._all = Throttle(1, EVERY_S), Budget(MOST_KINDS, MOST_KINDS / EVERY_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Say or count a record; its traceback becomes the one line that matters."""
        left_out = self._throttle.let_pass(record)
        if left_out is not None and self._all.spend():
            more = f" (and {left_out:,} more like this one)" if left_out else ""
            self._say(f"{record.levelname.lower()}: {_line(record)}{more}")


@contextmanager
def log_lines(say: Say) -> Iterator[None]:
    """Have all warnings of the process go to `say` within the block."""
    handler = LogLines(say)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _line(record: logging.LogRecord) -> str:
    text = record.getMessage().strip().partition("\n")[0]
    if record.exc_info and (error := record.exc_info[1]) is not None:
        text += f": {type(error).__name__}: {error}"
    return one_line(text)[:LONGEST_LINE]
