"""From a host name to an open TCP connection in a Twisted reactor. It can be cancelled at any moment.

Twisted's own endpoint for host names would look them up in a pool of threads that the reactor waits for when it
stops, and it installs the global reactor.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import IProtocol
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from competitor.wire.own_reactor import Clock

CONNECT_TIMEOUT_S = 10.0
KEEP_ALIVE_S = {"TCP_KEEPIDLE": 20, "TCP_KEEPALIVE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
USER_TIMEOUT_MS = 30_000

_ENDPOINTS: dict[int, type[TCP4ClientEndpoint | TCP6ClientEndpoint]] = {
    socket.AF_INET: TCP4ClientEndpoint,
    socket.AF_INET6: TCP6ClientEndpoint,
}


class DialError(Exception):
    """This attempt to connect failed, another one may not; the text says why."""


def dial(reactor: PosixReactorBase, clock: Clock, host: str, port: int, factory: Factory) -> Deferred[IProtocol]:
    """Connect a protocol of `factory`; fails with DialError, or in another way after `cancel()`."""

    def too_late(result: object, timeout_s: float) -> Failure:
        return Failure(DialError(f"no answer within {timeout_s:g} s"))

    attempt = Deferred.fromCoroutine(_dial(reactor, host, port, factory))
    return attempt.addTimeout(CONNECT_TIMEOUT_S, clock, too_late)  # type: ignore[arg-type]


async def _dial(reactor: PosixReactorBase, host: str, port: int, factory: Factory) -> IProtocol:
    """Try the host's addresses in turn; each has its share of the time."""
    found = await _look_up(reactor, host, port)
    reason = "it has no address"
    for family, _, _, _, address in found:
        endpoint = _ENDPOINTS[family](reactor, address[0], port, CONNECT_TIMEOUT_S / len(found))
        try:
            connected: IProtocol = await endpoint.connect(factory)  # type: ignore[arg-type]
            return connected
        except ConnectTimeoutError:
            reason = "no answer"
        except ConnectError as error:
            reason = os.strerror(error.osError) if error.osError else str(error)
    raise DialError(reason)


def _look_up(reactor: PosixReactorBase, host: str, port: int) -> Deferred[list[Any]]:
    """Ask the system for the host's addresses, in a thread that nobody has to wait for."""
    answer: Deferred[list[Any]] = Deferred()

    def work() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            usable = [entry for entry in found if entry[0] in _ENDPOINTS]
            reactor.callFromThread(answer.callback, usable)
        except (OSError, UnicodeError):
            reactor.callFromThread(answer.errback, DialError("there is no such host, or no network"))

    threading.Thread(target=work, name="look-up", daemon=True).start()
    return answer


def tune(transport: Connection) -> None:
    """Small messages leave at once, and the system notices a server that is gone without a word."""
    with contextlib.suppress(OSError):  # some systems refuse when the server has hung up already
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        opened: socket.socket = transport.getHandle()
        for name, value_s in KEEP_ALIVE_S.items():
            if hasattr(socket, name):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value_s)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # keep-alive does not probe while an answer is on its way
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
