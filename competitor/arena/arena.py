"""The arena put together: book, hall, house bots, both protocols and the web page, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from aiohttp import web

from competitor.arena.bots import make_bots
from competitor.arena.comprl_server import ComprlServer
from competitor.arena.hall import Hall
from competitor.arena.house import House, enrol
from competitor.arena.rating import Rating
from competitor.arena.store import PLAYED, Entry, MatchResult, Standing, Store
from competitor.arena.view import Running
from competitor.arena.web import add_pages
from competitor.arena.websocket_server import WebSocketServer
from competitor.config import ArenaConfig
from competitor.errors import AddressError, PortError
from competitor.system import code_version

BOOK = "arena.sqlite"
CLOSE_WITHIN_S = 1.0
Announce = Callable[[str], None]


class Arena:
    """A local tournament server; `start` and `stop` it once each, from one event loop.

    directory: where its book lies, made if it is not there. seed: of all chance, None: another one each time.
    announce: hears a line for every match that ends, from any thread.
    """

    def __init__(
        self,
        directory: Path,
        config: ArenaConfig,
        *,
        seed: int | None = None,
        threads: int = 1,
        announce: Announce = lambda line: None,
    ) -> None:
        self.directory, self.config = directory, config
        self.comprl_port = self.http_port = 0
        self.store: Store
        self._hall: Hall
        self._seed, self._threads, self._announce = seed, threads, announce
        self._open = AsyncExitStack()

    async def start(self) -> None:
        """Open the doors; afterwards `comprl_port` and `http_port` say where.

        Raises PortError, AddressError (the host), CheckpointError, ConfigError (a bot's name), StorageError and
        RecordingError (the book); then nothing runs.
        """
        async with AsyncExitStack() as stack:
            bots = await asyncio.to_thread(make_bots, self.config.bots, seed=self._seed, threads=self._threads)
            self.store = Store(self.directory / BOOK)
            stack.callback(self.store.close)
            enrol(bots, self.store)
            house = House(bots)
            await asyncio.to_thread(house.start)
            stack.push_async_callback(asyncio.to_thread, house.stop)
            self._hall = self._open_hall(stack)
            await self._listen(self._hall, stack)
            house.enter(self._hall)
            self._open = stack.pop_all()

    async def stop(self) -> None:
        """Close the doors as the real server does: connections end without a word, matches in play do not count."""
        # The hall first: otherwise a match would be booked as the disconnect of whoever happens to be dropped first.
        await self._hall.close()
        await self._open.aclose()

    def _open_hall(self, stack: AsyncExitStack) -> Hall:
        book = AnnouncingBook(self.store, self._announce)
        # The hall names matches by chance as well: a seed alone would give them the names of those before a restart.
        chance = random.Random(None if self._seed is None else f"{self._seed} {self.store.match_count()}")
        hall = Hall(book, rounds=self.config.rounds, tick_s=self.config.tick_s, random=chance)
        stack.push_async_callback(hall.close)
        stack.push_async_callback(_cancel, asyncio.create_task(hall.run()))
        return hall

    async def _listen(self, hall: Hall, stack: AsyncExitStack) -> None:
        """Open both ports; the web page tells the comprl port, so that one comes first."""
        host, config = self.config.host, self.config
        comprl = ComprlServer(hall, self.store, deadline_s=config.deadline_s)
        stack.push_async_callback(comprl.close)
        with _explained(host, config.comprl_port, "--comprl-port"):
            self.comprl_port = await comprl.start(host, config.comprl_port)
        websocket = WebSocketServer(hall, self.store, deadline_s=config.deadline_s)
        app = web.Application()
        websocket.add_to(app)
        add_pages(app, HallView(hall, self.store, self.comprl_port), code_version())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(websocket.close)
        with _explained(host, config.http_port, "--http-port"):
            await web.TCPSite(runner, host, config.http_port).start()
        self.http_port = runner.addresses[0][1]


class AnnouncingBook:
    """The store, with a line for the person who watches the arena's terminal."""

    def __init__(self, store: Store, announce: Announce) -> None:
        self._store, self._announce = store, announce

    def save(self, result: MatchResult) -> tuple[Rating, Rating]:
        """Write the match down, then tell of it."""
        after = self._store.save(result)
        self._announce(match_line(result, after))
        return after

    def rating(self, name: str) -> Rating:
        """What is believed of the account's strength."""
        return self._store.rating(name)


def match_line(result: MatchResult, after: tuple[Rating, Rating]) -> str:
    """A finished match in one line."""
    (first, second), (own, other) = result.users, result.scores
    score = f"{first} {own} : {other} {second}"
    if result.ending == PLAYED:
        return f"{score}; ratings {after[0].shown:.2f} and {after[1].shown:.2f}"
    return f"{score}; broken off, not rated: {' '.join(filter(None, (result.left_by, result.ending)))}"


class HallView:
    """What goes on in the hall, for the web page."""

    def __init__(self, hall: Hall, store: Store, comprl_port: int) -> None:
        self.comprl_port = comprl_port
        self._hall, self._store = hall, store
        self._opened_at = time.monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def uptime_s(self) -> float:
        """Seconds since the arena opened."""
        return time.monotonic() - self._opened_at

    def leaderboard(self) -> list[Standing]:
        """Everybody who has finished a match, the best first."""
        return self._store.leaderboard()

    def running(self) -> list[Running]:
        """Matches in play, the oldest first."""
        now = self.now()
        return [
            Running(str(match.match_id), match.users, game.scores, game.round, game.rounds, now - match.started_at)
            for match in self._hall.matches
            for game in [match.game]
        ]

    def waiting(self) -> int:
        """How many connections of players wait for a match."""
        return sum(not seat.is_bot for seat in self._hall.waiting)

    def recent(self, count: int) -> list[Entry]:
        """The last matches, the newest first."""
        return self._store.recent(count)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextmanager
def _explained(host: str, port: int, option: str) -> Iterator[None]:
    """What a refused port or address means for the user."""
    try:
        yield
    except UnicodeError as error:
        raise AddressError(f"the arena cannot listen on {host}: that is no host name") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"port {port} on {host} is in use, perhaps by another arena: stop it, or choose another with {option}"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PortError(f"port {port} may not be used: choose one above 1023 with {option}") from error
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise AddressError(
            f"the arena cannot listen on {host}: {reason}; --host takes an address of this machine"
        ) from error
