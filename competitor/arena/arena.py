"""The arena put together: store, lobby, house bots, both protocols and the web page, in one event loop."""

import asyncio
import contextlib
import errno
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from competitor.arena.bots import make_bots, open_bot_accounts
from competitor.arena.comprl_server import ComprlServer
from competitor.arena.live import Broadcast
from competitor.arena.lobby import Lobby
from competitor.arena.logins import Logins
from competitor.arena.recorder import Announce
from competitor.arena.recordings import Recordings
from competitor.arena.registration import Registration
from competitor.arena.site import Site
from competitor.arena.store import Store
from competitor.arena.web import add_pages, limited
from competitor.arena.websocket_server import WebSocketServer
from competitor.config import ArenaConfig
from competitor.errors import AddressError, CompetitorError, PortError, StorageError
from competitor.system import code_version, sole_writer
from competitor.wire.connections import Connections, most_connections
from competitor.wire.listener import HttpLog, Listener
from competitor.wire.names import one_line

DATABASE = "arena.sqlite"
MATCHES = "matches"
MOST_BODY_BYTES = 8192  # of a request: the registration has the only form
CLOSE_WITHIN_S = 1.0
IDLE_HTTP_S = 15.0
"""Until a request has come in whole: for the first one, and after each. The page asks anew every 5 s."""
TOO_LATE_S = 5.0  # after the deadline of a login the connection is closed, whatever else it does
LOOK_S, RETRY_S = 1.0, 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArenaOptions:
    """What the command's options say. host: an address of this machine; ports: 0 is any; bots: see `make_bots`.

    threads: of torch; registration_key: with it players open accounts themselves.
    """

    host: str
    comprl_port: int
    http_port: int
    bots: tuple[str, ...]
    threads: int = 1
    registration_key: str | None = None


class Arena:
    """A local tournament server; `start` and `stop` it once each, from one event loop.

    directory: where its database lies, made if it is not there. seed: of all chance, None: another one each time.
    tick_s: between two looks for players who can be matched. announce: hears a line for every match that ends.
    """

    def __init__(
        self,
        directory: Path,
        config: ArenaConfig,
        options: ArenaOptions,
        *,
        seed: int | None = None,
        tick_s: float = ArenaConfig.tick_s,
        announce: Announce = lambda line: None,
    ) -> None:
        self.directory, self.config, self.options = directory, config, options
        self.comprl_port = self.http_port = 0
        self.store: Store
        self.connections: Connections
        self._lobby: Lobby
        self._recordings: Recordings
        self._version = code_version()
        self._seed, self._tick_s, self._announce = seed, tick_s, announce
        self._open = AsyncExitStack()

    async def start(self) -> None:
        """Open both ports; afterwards `comprl_port` and `http_port` say where, `connections.most` for how many.

        Raises PortError, AddressError (the host), CheckpointError, ConfigError (a bot's name), BusyError (another
        arena has the directory), StorageError and RecordingError (the database); then nothing runs.
        """
        async with AsyncExitStack() as stack:
            bots = await asyncio.to_thread(make_bots, self.options.bots, seed=self._seed, threads=self.options.threads)
            self.store = self._open_directory(stack)
            open_bot_accounts(bots, self.store)
            for bot in bots:
                await asyncio.to_thread(bot.start)
                stack.push_async_callback(asyncio.to_thread, bot.stop)
            self._lobby = self._open_lobby(stack)
            self.connections = Connections(most_connections())
            await self._listen(self._lobby, stack)
            stack.push_async_callback(_cancel, asyncio.create_task(self._maintain(self._lobby)))
            for bot in bots:
                bot.enter(self._lobby.enter)
            self._open = stack.pop_all()

    async def stop(self) -> None:
        """Close as the real server does: connections end without a word, matches in play do not count.

        Raises StorageError when finished matches could not be written to the end.
        """
        # The lobby first: otherwise a match would count as the disconnect of whoever happens to be dropped first.
        await self._lobby.close()
        await self._open.aclose()
        self._lobby.recorder.check()

    def _open_directory(self, stack: AsyncExitStack) -> Store:
        config = self.config
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(sole_writer(self.directory, f"the arena in {self.directory}"))
            self._recordings = Recordings(
                self.directory / MATCHES,
                most_mib=config.record_mib,
                most_days=config.record_days,
                version=self._version,
            )
        except OSError as error:
            raise StorageError(f"the directory {self.directory} cannot be used: {error.strerror}") from error
        stack.push_async_callback(asyncio.to_thread, self._recordings.close)
        return self._store(stack)

    def _store(self, stack: AsyncExitStack) -> Store:
        store = Store(self.directory / DATABASE)
        stack.callback(store.close)
        return store

    def _open_lobby(self, stack: AsyncExitStack) -> Lobby:
        # The lobby names matches by chance as well: a seed alone would give them the names of those before a restart.
        chance = random.Random(None if self._seed is None else f"{self._seed} {self.store.match_count()}")
        config = self.config
        lobby = Lobby(
            self.store,
            rounds=config.rounds,
            tick_s=self._tick_s,
            random=chance,
            announce=self._announce,
            keep=self._recordings.keep,
        )
        stack.push_async_callback(lobby.close)
        stack.push_async_callback(_cancel, asyncio.create_task(lobby.run()))
        return lobby

    async def _listen(self, lobby: Lobby, stack: AsyncExitStack) -> None:
        """Open both ports; the web page says the comprl port, so that one comes first."""
        deadline_s = self.config.deadline_s
        logins = Logins(self.store, self.connections)
        comprl = ComprlServer(lobby, logins, deadline_s=deadline_s)
        stack.push_async_callback(comprl.close)
        port, idle_s = self.options.comprl_port, deadline_s + TOO_LATE_S
        self.comprl_port = await self._open_port(comprl.connect, port, "--comprl-port", idle_s, stack)
        websocket = WebSocketServer(lobby, logins, deadline_s=deadline_s)
        await self._listen_http(websocket, self._site(lobby, stack), stack)

    async def _listen_http(self, websocket: WebSocketServer, site: Site, stack: AsyncExitStack) -> None:
        def renew(request: web.Request) -> None:
            self.connections.renew(request.transport)

        app = web.Application(middlewares=[limited(renew)], client_max_size=MOST_BODY_BYTES)
        websocket.add_to(app)
        add_pages(app, site, renew)
        runner = web.AppRunner(
            app, access_log=None, logger=HttpLog(log, logging.WARNING), shutdown_timeout=CLOSE_WITHIN_S
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(websocket.close)
        stack.callback(site.broadcast.close)
        assert runner.server is not None
        port = self.options.http_port
        self.http_port = await self._open_port(runner.server, port, "--http-port", IDLE_HTTP_S, stack)

    def _site(self, lobby: Lobby, stack: AsyncExitStack) -> Site:
        broadcast = Broadcast(lobby)
        stack.push_async_callback(_cancel, asyncio.create_task(broadcast.run()))
        key = self.options.registration_key
        registration = None if key is None else Registration(key, self.store)
        store = self._store(stack)  # a connection of its own: no result waits while a page reads
        site = Site(lobby, store, self._recordings, broadcast, self.comprl_port, self._version, registration)
        stack.callback(site.threads.shutdown)
        return site

    async def _open_port(
        self, connect: Callable[[], asyncio.Protocol], port: int, option: str, idle_s: float, stack: AsyncExitStack
    ) -> int:
        with _explained(self.options.host, port, option):
            listener = await Listener.open(self.options.host, port, connect, self.connections, idle_s=idle_s)
        stack.callback(listener.close)
        return listener.port

    async def _maintain(self, lobby: Lobby) -> None:
        """Again and again: close idle connections, write what the disk has refused, cut off who is banned."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            self.connections.close_overdue()
            if looks % round(RETRY_S / LOOK_S) == 0:
                await lobby.recorder.retry()
                with contextlib.suppress(CompetitorError):  # a disk that does not answer now may do so next time
                    for name in await asyncio.to_thread(self.store.banned):
                        self.connections.drop(name)


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
        raise AddressError(f"the arena cannot listen on {one_line(host)}: that is no host name") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"port {port} on {host} is in use, perhaps by another arena: stop it, or choose another with {option}"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PortError(f"port {port} may not be used: choose one above 1023 with {option}") from error
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise AddressError(
            f"the arena cannot listen on {one_line(host)}: {reason}; --host takes an address of this machine"
        ) from error
