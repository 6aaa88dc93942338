"""This project's own wire: JSON messages over a WebSocket, many matches at once on one connection.

docs/protocol.md describes the protocol. The parts: wire/messages.py what is said, wire/websocket_dial.py how a
connection comes about, wire/websocket_connection.py how messages travel on it, websocket_play.py what is done with
each of them, reconnecting.py how it is made again, and here: all of them together.
"""

import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from competitor.daemon.reconnecting import ReconnectingWire, Reconnector
from competitor.daemon.tournament import Tournament
from competitor.daemon.websocket_play import NAME, Play
from competitor.errors import CertificateError, LoginError, TokenError
from competitor.wire.address import Address
from competitor.wire.backoff import Retries
from competitor.wire.messages import MOST_MATCHES, Welcome
from competitor.wire.websocket_connection import USUAL, Connection, Timing
from competitor.wire.websocket_dial import RefusedError, UntrustedError, dialled, tls_context

log = logging.getLogger(__name__)


class WebSocketWire(ReconnectingWire):
    """Plays on the server at `address` over one connection."""

    def __init__(
        self,
        address: Address,
        token: str,
        tournament: Tournament,
        *,
        matches: int,
        retries: Callable[[], Retries],
        authority: Path | None = None,
        timing: Timing = USUAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """matches: so many at once, at most. authority: a file of certificates to trust besides the system's.

        Raises CertificateError and TokenError.
        """
        super().__init__(str(address), [NAME], tournament, retries=retries)
        self._tls = checked(address, token, authority)
        self._server, self._token = address, token
        self._places = min(matches, MOST_MATCHES)
        self._timing, self._clock = timing, clock

    @asynccontextmanager
    async def connect(self, reconnector: Reconnector) -> AsyncIterator[Play]:
        """Dial and say hello. Raises DialError, LoginError, and CertificateError if the server was never trusted."""
        timing = self._timing
        try:
            async with dialled(
                self._server,
                self._token,
                tls=self._tls,
                redact=self.tournament.redact,
                timeout_s=timing.connect_s,
                close_s=timing.close_s,
            ) as opened:
                yield self._play(Connection(opened, timing, self._clock), reconnector)
        except RefusedError:
            raise LoginError(f"{self.address} does not accept the access token; is it complete?") from None
        except UntrustedError as error:
            if reconnector.was_online:
                raise
            raise CertificateError(str(error)) from None

    def _play(self, connection: Connection, reconnector: Reconnector) -> Play:
        def welcomed(welcome: Welcome) -> None:
            log.info("%s s for each answer", welcome.deadline_s)
            reconnector.logged_in(welcome.player or "a player without a name")

        return Play(
            self.tournament,
            connection,
            places=self._places,
            welcomed=welcomed,
            useful=reconnector.useful,
            timing=self._timing,
            clock=self._clock,
        )


def checked(address: Address, token: str, authority: Path | None) -> ssl.SSLContext | None:
    """What TLS to the address needs; None where there is none. Raises CertificateError, or TokenError when the token
    cannot be sent.
    """
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise TokenError("the access token may only hold letters, digits and signs, without spaces")
    return tls_context(authority) if address.scheme == "wss" else None
