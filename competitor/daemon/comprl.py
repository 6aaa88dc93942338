"""The wire of the comprl competition server: AMP over plain TCP, one match at a time on each connection.

===================  ====================================================================  ==================
module               holds                                                                 lives as long as
===================  ====================================================================  ==================
`comprl`             ComprlWire: all connections, one reactor                              the daemon
`comprl_caller`      Caller: one connection through all its losses                         the daemon
`comprl_dial`        from a host name to an open TCP connection                            an attempt
`comprl_connection`  ComprlConnection: boxes, login, silence, closing                      a connection
`comprl_player`      ComprlPlayer: the answer to every request                             a connection
`comprl_commands`    the protocol's commands; the arena speaks them too
`own_reactor`        a Twisted reactor that is not the global one                          the daemon
===================  ====================================================================  ==================
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from competitor.daemon.comprl_caller import Caller
from competitor.daemon.comprl_player import Surroundings
from competitor.daemon.logs import Redaction
from competitor.errors import CompetitorError, TokenError
from competitor.wire.backoff import Backoff
from competitor.wire.comprl_dial import dial
from competitor.wire.messages import plain
from competitor.wire.own_reactor import Clock, OwnReactor, log_to_standard_library

if TYPE_CHECKING:
    from competitor.daemon.desk import Desk
    from competitor.daemon.telemetry import Telemetry

CHECK_EVERY_S = 1.0
MOST_TOKEN_BYTES = 65535  # of any value in AMP


class ComprlWire:
    """Plays on a comprl server over `connections` connections at once (a `competitor.daemon.desk.Wire`)."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        desk: Desk,
        *,
        connections: int = 1,
        backoff: Callable[[], Backoff],
        attempts: int = 0,
        telemetry: Telemetry,
        reactor: OwnReactor | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`attempts` in a row that fail on a connection end the wire, 0: none do. Raises TokenError.

        Without a `reactor` one is made and closed by `run`. `clock` is for the timers, the reactor's if None.
        """
        self.address = plain(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")  # for messages
        self._host, self._port = host, port
        self._token = _encoded(token)
        self._redact = Redaction(token)
        self._desk = desk
        self._connections = connections
        self._backoff = backoff
        self._attempts = attempts
        self._telemetry = telemetry
        self._given_reactor = reactor
        self._given_clock = clock
        self._reactor: OwnReactor | None = None
        self._callers: list[Caller] = []
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

    # What callers need; everything from here on belongs to the reactor's thread.

    def dial(self, factory: Factory) -> Deferred[IProtocol]:
        """Connect to the server."""
        return dial(self._running, self._clock, self._host, self._port, factory)

    def may_give_up(self, failures: int) -> bool:
        """Whether a connection has failed often enough in a row; never as long as another one stands."""
        is_reachable = any(caller.is_online for caller in self._callers)
        return 0 < self._attempts <= failures and not is_reachable

    def end_with(self, error: CompetitorError) -> None:
        """End the wire because of `error`; matches in play go on to their end."""
        self._error = self._error or error
        self.finish()

    def gone(self, caller: Caller) -> None:
        """Leave a caller out that will not connect again, and stop after the last one."""
        self._callers.remove(caller)
        if not self._callers:
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
        surroundings = Surroundings(self._token, self._redact, self._desk, self._clock, self._running.call_together)
        self._callers = [
            Caller(f"comprl-{number}", self, surroundings, self._backoff(), self._telemetry)
            for number in range(1, self._connections + 1)
        ]
        for caller in list(self._callers):
            caller.dial()
        self._check()

    def _stop(self) -> None:
        for caller in list(self._callers):
            caller.leave() if self._is_leaving else caller.finish()

    def _check(self) -> None:
        self._clock.callLater(CHECK_EVERY_S, self._check)
        for caller in self._callers:
            caller.check_stuck()


def _encoded(token: str) -> bytes:
    """The token's bytes; TokenError, which does not show it, if it cannot be sent."""
    try:
        encoded = token.encode()
    except UnicodeEncodeError:
        raise TokenError("the access token is not text") from None
    if len(encoded) > MOST_TOKEN_BYTES:
        raise TokenError(f"the access token is longer than {MOST_TOKEN_BYTES} bytes")
    return encoded
