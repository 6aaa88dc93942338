"""Takes connections in, a few at a time and only as many as the process may have.

asyncio's own server accepts whatever waits before anybody can refuse it, and when descriptors run out it prints a
traceback for each; so the accepting is done here and only the listening sockets are asyncio's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from competitor.wire.connections import Connections, CountedConnection
from competitor.wire.dial import keep_alive

log = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 8
WAITING = 128  # connections that the system keeps for us until they are accepted
PAUSE_S = 1.0

Factory = Callable[[], asyncio.Protocol]


class Listener:
    """An open port. `open` makes one, `close` ends it; connections that stand are not its matter."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Factory, connections: Connections, idle_s: float):
        self.port = int(sockets[0].getsockname()[1])
        self._sockets, self._factory, self._connections, self._idle_s = sockets, factory, connections, idle_s
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_closed = False
        for each in sockets:
            each.setblocking(False)
            each.listen(WAITING)
            self._listen(each)

    @classmethod
    async def open(cls, host: str, port: int, factory: Factory, connections: Connections, *, idle_s: float) -> Listener:
        """Listen on all addresses of `host`; port 0: any free one.

        factory: makes the protocol of a new connection. idle_s: seconds that a connection has for its login or its
        next request. Raises OSError and UnicodeError.
        """
        server = await asyncio.get_running_loop().create_server(factory, host, port, start_serving=False)
        try:
            return cls([each.dup() for each in server.sockets], factory, connections, idle_s)
        finally:
            server.close()

    def close(self) -> None:
        """Take nobody in any more."""
        self._is_closed = True
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()

    def _listen(self, listening: socket.socket) -> None:
        if not self._is_closed:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, (address, *_) = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor or no memory: those who wait go on waiting
                log.warning("nobody can be let in for now: %s", error.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE_S, self._listen, listening)
                return
            self._take_in(accepted, str(address))

    def _take_in(self, accepted: socket.socket, address: str) -> None:
        connection = CountedConnection(self._factory(), address, self._connections, self._idle_s)
        if not self._connections.admit(connection):
            log.warning("a connection from %s is refused: there are too many", address)
            accepted.close()
            return
        task = self._loop.create_task(self._serve(accepted, connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _serve(self, accepted: socket.socket, connection: CountedConnection) -> None:
        try:
            accepted.setblocking(False)
            keep_alive(accepted)
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # it has gone again already
            self._connections.closed(connection)
            accepted.close()


class HttpLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's logger for a server of ours: what a client does wrong, and is answered with 4xx, is no traceback.

    mistakes: the level at which it is said, in one line.
    """

    def __init__(self, logger: logging.Logger, mistakes: int) -> None:
        super().__init__(logger)
        self._mistakes = mistakes

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, a client's mistake as one line."""
        if isinstance(kwargs.get("exc_info"), HttpProcessingError | RequestPayloadError):
            level, msg = self._mistakes, f"a request that is no HTTP{' from %s' if args else ''}"
            del kwargs["exc_info"]
        super().log(level, msg, *args, **kwargs)
