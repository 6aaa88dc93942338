"""Connections to a port of ours: how many there may be, and for how long without a login.

Whoever has no account yet may cost little: few bytes, a short time, and a connection only as long as nobody else needs
it. Whoever has logged in is never closed to make room. docs/arena.md has the arena's figures in a table.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable

MOST_CONNECTIONS = 512
"""One core plays no more matches at once than that, and each connection may cost some 100 kB of buffers."""
MOST_PER_ADDRESS = 256  # a class behind one router, many connections each
MOST_PER_ACCOUNT = 64
RESERVED_DESCRIPTORS = 32
"""For the database, token files, and connections that are accepted before those they replace are closed."""
LEAST_CONNECTIONS = 8
PIECE_BYTES = 8192  # read from one connection before all others have their turn


def most_connections() -> int:
    """How many connections the process's descriptors allow besides what it has open already."""
    try:
        import resource  # not on Windows, where sockets are not counted among files

        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = len(os.listdir("/dev/fd"))
    except (ImportError, OSError):
        return MOST_CONNECTIONS
    if allowed == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, allowed - in_use - RESERVED_DESCRIPTORS))


class CountedConnection(asyncio.BufferedProtocol):
    """One connection. Hands everything on to the protocol that serves it, at most PIECE_BYTES at a time.

    inner: the protocol; address: of the other side, without its port; idle_s: how long it may take to log in, or
    between two requests.
    """

    def __init__(self, inner: asyncio.Protocol, address: str, connections: Connections, idle_s: float) -> None:
        self.address, self.idle_s = address, idle_s
        self.user: str | None = None
        self.overdue_at_s = 0.0
        self.transport: asyncio.Transport | None = None
        self._inner = inner
        self._connections = connections
        self._buffer = bytearray(PIECE_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.opened(self, transport)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class Connections:
    """All connections to a server, on whatever ports, and how many there may be.

    most: in all; most_per_address, most_per_account: of them; clock: seconds that never go back.
    """

    def __init__(
        self,
        most: int = MOST_CONNECTIONS,
        *,
        most_per_address: int = MOST_PER_ADDRESS,
        most_per_account: int = MOST_PER_ACCOUNT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        # A quarter stays for others, whatever one address or account takes.
        self._most_per_address = min(most_per_address, max(1, most - most // 4))
        self._most_per_account = min(most_per_account, max(1, most // 2))
        self._clock = clock
        self._open: dict[CountedConnection, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: CountedConnection) -> bool:
        """Count a newcomer; the oldest that has not logged in makes room for it. False if there is none."""
        same = [one for one in self._open if one.address == connection.address]
        if len(same) >= self._most_per_address and not self._drop_one(same):
            return False
        if len(self._open) >= self.most and not self._drop_one(self._of_the_busiest_address()):
            return False
        self._open[connection] = None
        connection.overdue_at_s = self._clock() + connection.idle_s
        return True

    def opened(self, connection: CountedConnection, transport: asyncio.Transport) -> None:
        """The connection stands, or has lost its place already."""
        if connection not in self._open:
            transport.abort()

    def closed(self, connection: CountedConnection) -> None:
        self._open.pop(connection, None)

    def log_in(self, transport: asyncio.BaseTransport | None, user: str) -> bool:
        """The account has opened the connection, which from now on has no time limit; False if it has too many."""
        connection = self._find(transport)
        if connection is None or sum(one.user == user for one in self._open) >= self._most_per_account:
            return False
        connection.user = user
        return True

    def renew(self, transport: asyncio.BaseTransport | None) -> None:
        """A request has come in whole: the time for the next one begins."""
        if (connection := self._find(transport)) is not None:
            connection.overdue_at_s = self._clock() + connection.idle_s

    def close_overdue(self) -> None:
        """Close what has not logged in and whose time is over; call it about once a second."""
        now_s = self._clock()
        for connection in [one for one in self._open if one.user is None and one.overdue_at_s <= now_s]:
            self._drop(connection)

    def drop(self, user: str) -> None:
        """Close all connections of an account."""
        for connection in [one for one in self._open if one.user == user]:
            self._drop(connection)

    def _find(self, transport: asyncio.BaseTransport | None) -> CountedConnection | None:
        return next((one for one in self._open if transport is not None and one.transport is transport), None)

    def _drop_one(self, connections: Iterable[CountedConnection]) -> bool:
        """Close the oldest of them that has not logged in; False if there is none."""
        victim = next((one for one in connections if one.user is None), None)
        if victim is not None:
            self._drop(victim)
        return victim is not None

    def _of_the_busiest_address(self) -> list[CountedConnection]:
        """Those without a login, of the address that has most of them."""
        groups: dict[str, list[CountedConnection]] = {}
        for connection in self._open:
            if connection.user is None:
                groups.setdefault(connection.address, []).append(connection)
        return max(groups.values(), key=len, default=[])

    def _drop(self, connection: CountedConnection) -> None:
        self.closed(connection)
        if connection.transport is not None:
            connection.transport.abort()
