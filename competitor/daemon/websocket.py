"""This project's own wire: JSON messages over a WebSocket, many matches at once on one connection.

docs/protocol.md describes the protocol. The parts: wire/messages.py what is said, wire/websocket_dial.py how a
connection comes about, wire/websocket_connection.py how messages travel on it, websocket_play.py what is done with
each of them, reconnecting.py how it is made again, and here: all of them together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from competitor.daemon.reconnecting import ReconnectingWire, Reconnector
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.daemon.websocket_play import NAME, Play
from competitor.errors import CertificateError, LoginError, TokenError
from competitor.wire.address import Address
from competitor.wire.backoff import Retries
from competitor.wire.dial import DialError
from competitor.wire.messages import MOST_MATCHES, Welcome
from competitor.wire.websocket_connection import USUAL, Connection, Timing
from competitor.wire.websocket_dial import RefusedError, UntrustedError, dialled, tls_context

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WebSocketConversation:
    """A connection and what is said on it (a Conversation)."""

    connection: Connection
    said: Play

    async def play(self) -> str | None:
        """Play until the connection is over; what it returns and raises is said at Conversation."""
        reason = "an error"
        try:
            reason = await self.connection.run(self.said)
        finally:
            self.said.gone(reason)
        if not self.said.is_welcome:
            raise DialError(reason)
        return None if self.said.is_spent else reason

    def finish(self) -> None:
        """Take no new match, and close after those in play."""
        self.said.finish()

    def leave(self) -> None:
        """Close now."""
        self.connection.abort("leaving")


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
        telemetry: Telemetry,
        authority: Path | None = None,
        timing: Timing = USUAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """matches: so many at once, at most. authority: a file of certificates to trust besides the system's.

        Raises CertificateError, or TokenError when the token cannot be sent.
        """
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise TokenError("the access token may only hold letters, digits and signs, without spaces")
        super().__init__(str(address), [NAME], retries=retries, telemetry=telemetry)
        self._server, self._token, self._tournament = address, token, tournament
        self._tls = tls_context(authority) if address.scheme == "wss" else None
        self._places = min(matches, MOST_MATCHES)
        self._timing, self._clock = timing, clock

    @asynccontextmanager
    async def connect(self, reconnector: Reconnector) -> AsyncIterator[WebSocketConversation]:
        """Dial and say hello. Raises DialError, LoginError, and CertificateError if the server was never trusted."""
        timing = self._timing
        try:
            async with dialled(
                self._server,
                self._token,
                tls=self._tls,
                redact=self._tournament.redact,
                timeout_s=timing.connect_s,
                close_s=timing.close_s,
            ) as opened:
                connection = Connection(opened, timing, self._clock)
                yield WebSocketConversation(connection, self._play(connection, reconnector))
        except RefusedError:
            raise LoginError(f"{self.address} does not accept the access token; is it complete?") from None
        except UntrustedError as error:
            if reconnector.was_online:
                raise
            raise CertificateError(str(error)) from None

    def _play(self, connection: Connection, reconnector: Reconnector) -> Play:
        def welcomed(welcome: Welcome) -> None:
            log.info("%s s for each answer", welcome.deadline_s)
            reconnector.logged_in(self._tournament.redact(welcome.player) or "a player without a name")

        return Play(
            self._tournament,
            connection,
            places=self._places,
            welcomed=welcomed,
            useful=reconnector.useful,
            timing=self._timing,
            clock=self._clock,
        )
