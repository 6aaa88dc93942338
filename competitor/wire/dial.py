"""From a host name to an open TCP connection in asyncio's event loop. Both protocols dial alike."""

import asyncio
import contextlib
import os
import socket
import threading
from typing import Any

import aiohappyeyeballs

KEEP_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPALIVE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds and tries after which the system notices that the other side is gone without a word."""
USER_TIMEOUT_MS = 30_000  # the same where something is on its way to the other side: keep-alive does not probe then
NEXT_ADDRESS_AFTER_S = 0.25  # a host's next address is tried beside one that does not answer, as RFC 8305 recommends


class DialError(Exception):
    """This attempt to connect failed, another one may not; the text says why. asked_s: when the server wants it."""

    def __init__(self, text: str, asked_s: float | None = None) -> None:
        super().__init__(text)
        self.asked_s = asked_s


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a connected socket to the first of the host's addresses that answers. Raises DialError."""
    try:
        found = await look_up(host, port)
        opened = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S)
    except socket.gaierror:
        raise DialError("there is no such host, or no network") from None
    except OSError as error:
        raise DialError(os.strerror(error.errno) if error.errno else str(error)) from None
    keep_alive(opened)
    return opened


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Any]:
    """Return what getaddrinfo says of the host. Raises OSError.

    In a thread that nobody waits for: asyncio's own keep a stopping process until they are done.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(found: list[Any] | OSError) -> None:
        if not answer.done():
            answer.set_exception(found) if isinstance(found, OSError) else answer.set_result(found)

    def work() -> None:
        try:
            found: list[Any] | OSError = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found = error if isinstance(error, OSError) else socket.gaierror(str(error))
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name="look-up", daemon=True).start()
    return await answer


def keep_alive(opened: socket.socket) -> None:
    """Have the system notice when the other side is gone without a word."""
    with contextlib.suppress(OSError):  # some systems refuse when it has hung up already
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {**KEEP_ALIVE, "TCP_USER_TIMEOUT": USER_TIMEOUT_MS}.items():
            if hasattr(socket, name):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
