"""From an address to an open WebSocket, with aiohttp: lookup, TCP, TLS, HTTP handshake; what failed is told apart."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp import abc
from yarl import URL

from competitor import __version__
from competitor.errors import CertificateError
from competitor.wire.address import Address
from competitor.wire.backoff import http_date_s, retry_after_s
from competitor.wire.dial import DialError, look_up
from competitor.wire.messages import MOST_BYTES
from competitor.wire.names import one_line

MOST_FRAME_BYTES = 16 * MOST_BYTES  # what is longer ends the connection; up to here it is only passed over
TURNS_TO_CLOSE = 8  # TLS in its handshake takes four
UNAUTHORIZED, SWITCHING = 401, 101
COME_BACK_LATER = (429, 503)
CLOSED = "the server closed the connection without an answer"
CLIENT = f"hockey-dreamer {__version__}"

# OpenSSL's numbers for what can be wrong with a certificate; all others: nobody we trust has signed it.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


class UntrustedError(DialError):
    """The server's certificate cannot be trusted."""


class RefusedError(DialError):
    """The server does not know the token."""


def tls_context(authority: Path | None) -> ssl.SSLContext:
    """Whom to trust: the system's authorities and those in the file `authority`. Raises CertificateError."""
    context = ssl.create_default_context()
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError:
            raise CertificateError(f"{authority} holds no certificates in PEM format") from None
        except OSError as error:
            raise CertificateError(f"the certificates {authority} cannot be read: {error.strerror}") from None
    return context


@asynccontextmanager
async def dialled(
    address: Address,
    token: str,
    *,
    tls: ssl.SSLContext | None,
    redact: Callable[[str], str],
    timeout_s: float,
    close_s: float,
) -> AsyncIterator[aiohttp.ClientWebSocketResponse[Any]]:
    """Connect and log in with the token; the socket and all that belongs to it is closed after the block.

    redact: takes the token out of what the server says. Raises DialError; may be cancelled at any moment.
    """
    sockets = Sockets()
    connector = aiohttp.TCPConnector(resolver=_Resolver(), ssl=tls or False, force_close=True, socket_factory=sockets)
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirection)
    async with (
        _turns_afterwards(sockets),
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session,
    ):
        try:
            async with asyncio.timeout(timeout_s):
                opened = await session.ws_connect(
                    URL(str(address), encoded=True),
                    headers={"Authorization": f"Bearer {token}", "User-Agent": CLIENT.replace(" ", "/")},
                    autoping=False,
                    decode_text=False,
                    max_msg_size=MOST_FRAME_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=close_s),
                )
        except TimeoutError:
            raise DialError(f"no connection within {timeout_s:g} s") from None
        except Exception as error:  # whatever a server's answer provokes in the libraries is its failure, not ours
            raise _explained(address, error, redact) from None
        yield opened


class Sockets:
    """Makes the sockets of a connection and knows them."""

    def __init__(self) -> None:
        self._made: list[socket.socket] = []

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        self._made.append(made)
        return made

    def shut_down(self) -> None:
        """End all: asyncio does not close one whose TLS was given up before its first turn, but reads that it ended."""
        for made in self._made:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def _turns_afterwards(sockets: Sockets) -> AsyncIterator[None]:
    """Let the event loop close what it was asked to close: it takes a few turns, and may end right after the block."""
    try:
        yield
    finally:
        sockets.shut_down()
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)


async def _refuse_redirection(session: object, context: SimpleNamespace, parameters: Any) -> None:
    """A redirection is not followed: it would carry the token to another server."""
    raise DialError(f"HTTP status {parameters.response.status}, a redirection")


def _explained(address: Address, error: Exception, redact: Callable[[str], str]) -> DialError:
    match error:
        case DialError():
            return error
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as problem):
            return UntrustedError(_certificate_problem(address.host, problem))
        case aiohttp.ClientConnectorSSLError():
            reason = getattr(error.os_error, "reason", None) or "connection closed"
            return DialError(f"TLS failed ({reason}); does the server speak TLS?")
        case aiohttp.ClientConnectorError(os_error=socket.gaierror()):
            return DialError(f"there is no host '{one_line(address.host)}', or no network")
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return DialError(os.strerror(number) if number else str(error.os_error) or CLOSED)
        case aiohttp.WSServerHandshakeError(status=status) if status != SWITCHING:
            headers: Mapping[str, str] = error.headers or {}
            asked = headers.get("Retry-After", "") if status in COME_BACK_LATER else ""
            kind = RefusedError if status == UNAUTHORIZED else DialError
            now_s = http_date_s(headers.get("Date", ""))  # by the clock that the server's own date was read from
            return kind(f"HTTP status {status}", retry_after_s(asked, time.time() if now_s is None else now_s))
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            return DialError(CLOSED)
        case aiohttp.ClientOSError():
            return DialError(error.strerror or str(error) or CLOSED)
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error) or type(error).__name__
    said = said.partition("\n")[0]  # below it aiohttp quotes what came, which can be the beginning of the token
    return DialError(f"no WebSocket server: {one_line(said.strip(' :'), redact)}")


def _certificate_problem(host: str, error: ssl.SSLCertVerificationError) -> str:
    begin = f"the certificate of {host}"
    problems = {
        _EXPIRED: f"{begin} has expired; tell whoever runs the server, or set this computer's clock",
        _NOT_YET_VALID: f"{begin} is not valid yet; is this computer's clock right?",
        _OTHER_HOST: f"{begin} is made for another host name; check the address",
        _OTHER_ADDRESS: f"{begin} is made for another address; check the address, or use the host's name",
    }
    unknown = f"{begin} is signed by nobody whom this computer trusts; --ca-file can name the signer's certificate"
    return problems.get(error.verify_code, unknown)


class _Resolver(abc.AbstractResolver):
    """Looks names up in threads that nobody waits for."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        return [
            abc.ResolveResult(hostname=host, host=_numeric(address), port=port, family=kind, proto=protocol, flags=0)
            for kind, _, protocol, _, address in await look_up(host, port, family)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _numeric(address: tuple[Any, ...]) -> str:
    """The address as text, an IPv6 one with the zone that the system found for it."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) == 4 and address[3] and "%" not in host else host
