"""Keeps one connection to a comprl server open: dials, and dials again after every loss, until told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from competitor.daemon.comprl_connection import ComprlConnection
from competitor.daemon.comprl_player import Surroundings
from competitor.daemon.logs import CONSOLE
from competitor.errors import CompetitorError, LoginError, ProtocolVersionError, UnreachableError
from competitor.wire.backoff import Backoff
from competitor.wire.comprl_commands import LOGIN_FAILED, PROTOCOL_VERSION, WRONG_VERSION
from competitor.wire.comprl_dial import DialError
from competitor.wire.messages import plain
from competitor.wire.own_reactor import Timer

if TYPE_CHECKING:
    from competitor.daemon.telemetry import Telemetry

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class Switchboard(Protocol):
    """What a caller needs of the wire that it belongs to."""

    address: str

    def dial(self, factory: Factory) -> Deferred[IProtocol]: ...
    def may_give_up(self, failures: int) -> bool: ...
    def end_with(self, error: CompetitorError) -> None: ...
    def gone(self, caller: Caller) -> None: ...


class Caller(Factory):
    """One of a wire's connections, through all its losses. All methods belong to the reactor's thread."""

    noisy = False

    def __init__(
        self, name: str, wire: Switchboard, surroundings: Surroundings, backoff: Backoff, telemetry: Telemetry
    ) -> None:
        self.name = name
        self._wire = wire
        self._shared = surroundings
        self._backoff = backoff
        self._telemetry = telemetry
        self._failures = 0  # in a row
        self._was_online = False
        self._is_stopping = False
        self._attempt: Deferred[None] | None = None
        self._connection: ComprlConnection | None = None
        self._waiting: Timer | None = None

    @property
    def is_online(self) -> bool:
        """Whether the connection stands and the login was accepted."""
        return self._connection is not None and self._connection.has_logged_in

    def dial(self) -> None:
        """Try to connect."""
        self._waiting = None
        self._attempt = self._wire.dial(self).addCallbacks(self._connected, self._failed)

    def finish(self) -> None:
        """Play a match in progress to its end, then be gone for good."""
        self._stop(ComprlConnection.retire)

    def leave(self) -> None:
        """Be gone for good as soon as possible."""
        self._stop(lambda connection: connection.hang_up("leaving"))

    def check_stuck(self) -> None:
        """Break off a match that has had no news for too long."""
        if self._connection is not None:
            self._connection.check_stuck()

    def buildProtocol(self, addr: IAddress | None) -> ComprlConnection:
        """Called by Twisted when the TCP connection stands."""
        self._connection = ComprlConnection(self, self._shared)
        return self._connection

    def logged_in(self) -> None:
        """The connection's login was accepted."""
        self._failures = 0
        self._backoff.reset()
        if self._was_online:
            self._telemetry.reconnected()
        console.info("%s: %s %s", self.name, "back at" if self._was_online else "logged in at", self._wire.address)
        self._was_online = True

    def told_error(self, text: str) -> bool:
        """The server sent this Error; return whether it ends everything."""
        refusal = self._refusal(text)
        log.log(logging.ERROR if refusal is None else logging.INFO, "%s: the server says: %s", self.name, text)
        if refusal is not None:
            self._wire.end_with(refusal)
        return refusal is not None

    def lost(self, connection: ComprlConnection) -> None:
        """The connection has ended."""
        self._connection = None
        if self._is_stopping or connection.is_done:
            log.info("%s: closed: %s", self.name, connection.reason)
            self._wire.gone(self)
        else:
            self._failures += not connection.has_logged_in
            self._dial_later(connection.reason)

    def _stop(self, close: Callable[[ComprlConnection], None]) -> None:
        self._is_stopping = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            self._wire.gone(self)
        elif self._connection is not None:
            close(self._connection)
        elif self._attempt is not None:
            self._attempt.cancel()

    def _connected(self, protocol: IProtocol) -> None:
        self._attempt = None

    def _failed(self, failure: Failure) -> None:
        self._attempt = None
        if self._is_stopping:
            self._wire.gone(self)
        else:
            self._failures += 1
            if not failure.check(DialError):
                log.error("%s: an error in this program: %s", self.name, failure.getTraceback())
            self._dial_later(plain(failure.getErrorMessage()))

    def _dial_later(self, reason: str) -> None:
        if self._wire.may_give_up(self._failures):
            self._give_up(reason)
            return
        wait_s = self._backoff.next_s()
        log.warning("%s: %s: %s; trying again in %.1f s", self.name, self._wire.address, reason, wait_s)
        self._waiting = self._shared.clock.callLater(wait_s, self.dial)

    def _give_up(self, reason: str) -> None:
        attempts = f"{self._failures} attempts" if self._failures > 1 else "one attempt"
        text = f"no connection to {self._wire.address} after {attempts}: {reason}; is the address right?"
        self._wire.end_with(UnreachableError(text))
        self._wire.gone(self)

    def _refusal(self, text: str) -> CompetitorError | None:
        """The fatal error that the server's text means, or None."""
        address = self._wire.address
        if text == LOGIN_FAILED:
            return LoginError(f"{address} does not accept the token; ask whoever runs the server for yours")
        if text == WRONG_VERSION:
            need = f"does not speak version {PROTOCOL_VERSION} of the comprl protocol"
            return ProtocolVersionError(f"{address} {need}; look for a newer version of this program")
        return None
