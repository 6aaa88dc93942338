"""The wire of the comprl competition server: AMP over plain TCP, one match at a time on each connection.

===================  ====================================================================  ==================
module               holds                                                                 lives as long as
===================  ====================================================================  ==================
`comprl`             ComprlWire: all connections, one reactor; Reconnector: one            the daemon
                     connection through all its losses
`comprl_dial`        from a host name to an open TCP connection                            an attempt
`comprl_connection`  ComprlConnection: boxes, login, silence, closing                      a connection
`comprl_player`      ComprlPlayer: the answer to every request                             a connection
`comprl_commands`    the protocol's commands; the arena speaks them too
`own_reactor`        a Twisted reactor that is not the global one                          the daemon
===================  ====================================================================  ==================

Dialling again is our own, not ClientService's: that one takes a connection for a success as soon as TCP stands, keeps
why an attempt failed to itself, and cannot tell the last attempt from the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from competitor.daemon.comprl_connection import ComprlConnection
from competitor.daemon.comprl_player import Shared
from competitor.daemon.logs import CONSOLE, Redaction
from competitor.daemon.telemetry import Telemetry
from competitor.errors import CompetitorError, LoginError, ProtocolVersionError, UnreachableError
from competitor.wire.backoff import STEADY_S, Retries
from competitor.wire.comprl_commands import LOGIN_FAILED, PROTOCOL_VERSION, WRONG_VERSION
from competitor.wire.comprl_dial import DialError, dial
from competitor.wire.names import one_line
from competitor.wire.own_reactor import Clock, OwnReactor, Timer, log_to_standard_library

if TYPE_CHECKING:  # brings the engine and its rink
    from competitor.daemon.tournament import Tournament

CHECK_EVERY_S = 1.0

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class ComprlWire:
    """Plays on a comprl server over `connections` connections at once (a `competitor.daemon.supervisor.Wire`)."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        tournament: Tournament,
        *,
        connections: int = 1,
        retries: Callable[[], Retries],
        telemetry: Telemetry,
        reactor: OwnReactor | None = None,
        clock: Clock | None = None,
    ) -> None:
        """retries: makes those of one connection; the last one that fails ends the wire. token: fit to be sent, as
        `read_token` returns it.

        Without a `reactor` one is made and closed by `run`. `clock` is for the timers, the reactor's if None.
        """
        self.address = one_line(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")  # for messages
        self._host, self._port = host, port
        self._token = token.encode()
        self._redact = Redaction(token)
        self._tournament = tournament
        self._connections = connections
        self._retries = retries
        self._telemetry = telemetry
        self._given_reactor = reactor
        self._given_clock = clock
        self._reactor: OwnReactor | None = None
        self._reconnectors: list[Reconnector] = []
        self._is_finishing = self._is_leaving = False
        self._error: CompetitorError | None = None

    def run(self) -> None:
        """Play in the calling thread until nothing is left to play; once.

        Raises LoginError or ProtocolVersionError when the server refuses the login, UnreachableError after
        `attempts`. Matches in play on other connections are played to their end first.
        """
        log_to_standard_library()
        if self._given_reactor is not None:
            self._run_in(self._given_reactor)
        else:
            with closing(OwnReactor()) as reactor:
                self._run_in(reactor)
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """From any thread: no new match; who waits in the queue closes at once, who plays after the match."""
        self._is_finishing = True
        if self._reactor is not None:
            self._reactor.callFromThread(self._stop)

    def leave(self) -> None:
        """From any thread: close everything now."""
        self._is_leaving = True
        if self._reactor is not None:
            self._reactor.callFromThread(self._stop)

    # What the connections need; everything from here on belongs to the reactor's thread.

    def dial(self, factory: Factory) -> Deferred[IProtocol]:
        """Connect to the server."""
        return dial(self._running, self._clock, self._host, self._port, factory)

    @property
    def is_reachable(self) -> bool:
        """Whether any connection stands: then a single one that fails is no reason to give up."""
        return any(reconnector.is_online for reconnector in self._reconnectors)

    def end_with(self, error: CompetitorError) -> None:
        """End the wire because of `error`; matches in play go on to their end."""
        self._error = self._error or error
        self.finish()

    def gone(self, reconnector: Reconnector) -> None:
        """Leave a connection out that will not come again, and stop after the last one."""
        self._reconnectors.remove(reconnector)
        if not self._reconnectors:
            self._running.stop()

    @property
    def _running(self) -> OwnReactor:
        assert self._reactor is not None, "there is no reactor before run()"
        return self._reactor

    @property
    def _clock(self) -> Clock:
        return self._given_clock or self._running

    def _run_in(self, reactor: OwnReactor) -> None:
        self._reactor = reactor
        reactor.callWhenRunning(self._start)
        reactor.run(installSignalHandlers=False)

    def _start(self) -> None:
        if self._is_finishing or self._is_leaving:
            self._running.stop()
            return
        shared = Shared(self._token, self._redact, self._tournament, self._clock, self._running.call_together)
        self._reconnectors = [
            Reconnector(f"comprl-{number}", self, shared, self._retries(), self._telemetry)
            for number in range(1, self._connections + 1)
        ]
        for reconnector in list(self._reconnectors):
            reconnector.dial()
        self._check()

    def _stop(self) -> None:
        for reconnector in list(self._reconnectors):
            reconnector.leave() if self._is_leaving else reconnector.finish()

    def _check(self) -> None:
        self._clock.callLater(CHECK_EVERY_S, self._check)
        for reconnector in self._reconnectors:
            reconnector.check_stuck()


class Reconnector(Factory):
    """One of a wire's connections, through all its losses. All methods belong to the reactor's thread."""

    noisy = False

    def __init__(self, name: str, wire: ComprlWire, shared: Shared, retries: Retries, telemetry: Telemetry) -> None:
        self.name = name
        self._wire = wire
        self._shared = shared
        self._retries = retries
        self._telemetry = telemetry
        self._was_online = False
        self._is_stopping = False
        self._attempt: Deferred[None] | None = None
        self._connection: ComprlConnection | None = None
        self._waiting: Timer | None = None
        self._steady: Timer | None = None

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
        self._retries.logged_in()
        self._steady = self._shared.clock.callLater(STEADY_S, self.useful)
        if self._was_online:
            self._telemetry.reconnected()
        console.info("%s: %s %s", self.name, "back at" if self._was_online else "logged in at", self._wire.address)
        self._was_online = True

    def useful(self) -> None:
        """The connection led to something."""
        self._retries.useful()

    def on_error(self, text: str) -> bool:
        """The server sent this Error; return whether it ends everything."""
        refusal = self._refusal(text)
        log.log(logging.ERROR if refusal is None else logging.INFO, "%s: the server says: %s", self.name, text)
        if refusal is not None:
            self._wire.end_with(refusal)
        return refusal is not None

    def lost(self, connection: ComprlConnection) -> None:
        """The connection has ended."""
        self._connection = None
        if self._steady is not None and self._steady.active():
            self._steady.cancel()
        if self._is_stopping or connection.is_done:
            log.info("%s: closed: %s", self.name, connection.reason)
            self._wire.gone(self)
        else:
            self._dial_later(connection.reason, is_last=not connection.has_logged_in and self._retries.failed())

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
            if not failure.check(DialError):
                log.error("%s: an error in this program: %s", self.name, failure.getTraceback())
            self._dial_later(one_line(failure.getErrorMessage()), is_last=self._retries.failed())

    def _dial_later(self, reason: str, *, is_last: bool) -> None:
        if is_last and not self._wire.is_reachable:
            self._give_up(reason)
            return
        wait_s = self._retries.next_s()
        log.warning("%s: %s: %s; trying again in %.1f s", self.name, self._wire.address, reason, wait_s)
        self._waiting = self._shared.clock.callLater(wait_s, self.dial)

    def _give_up(self, reason: str) -> None:
        attempts = f"{self._retries.failures} attempts" if self._retries.failures > 1 else "one attempt"
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
