"""This project's own wire: JSON messages over a WebSocket, many matches at once on one connection.

docs/protocol.md describes the protocol. The parts: messages.py what is said, websocket_dial.py how a connection
comes about, websocket_frames.py and websocket_connection.py how bytes travel on it, websocket_play.py what is
done with each message, and here: connect, play, and connect again for as long as there is something to play.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from competitor.daemon.logs import CONSOLE
from competitor.daemon.websocket_connection import USUAL, Connection, Timing
from competitor.daemon.websocket_play import Play, Strays
from competitor.errors import CertificateError, LoginError, TokenError, UnreachableError
from competitor.wire.backoff import Backoff
from competitor.wire.messages import MOST_MATCHES, Welcome
from competitor.wire.websocket_dial import Dial, DialError, RefusedError, Target, UntrustedError

if TYPE_CHECKING:
    from competitor.daemon.desk import Desk
    from competitor.daemon.telemetry import Telemetry

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class WebSocketWire:
    """Plays on the server at `url` until there is nothing left to play; a Wire of competitor.daemon.desk."""

    def __init__(
        self,
        url: str,
        token: str,
        desk: Desk,
        *,
        matches: int,
        backoff: Backoff,
        telemetry: Telemetry,
        attempts: int = 0,
        authority: Path | None = None,
        timing: Timing = USUAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """matches: so many at once, at most. attempts: give up after so many failures in a row; 0: never.

        authority: a file of certificates to trust besides the system's. Raises AddressError, CertificateError, or
        TokenError when the token cannot be sent.
        """
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise TokenError("the access token may only hold letters, digits and signs, without spaces")
        self._target, self._token, self._desk = Target.of(url, authority), token, desk
        self._places = min(matches, MOST_MATCHES)
        self._backoff, self._attempts, self._telemetry = backoff, attempts, telemetry
        self._timing, self._clock = timing, clock
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._has_left = False
        self._dial: Dial | None = None
        self._connection: Connection | None = None
        self._play: Play | None = None
        self._failures = 0
        self._was_connected = False
        self.strays = Strays()

    def run(self) -> None:
        """Play in the calling thread until nothing is left to play.

        Raises LoginError, ProtocolVersionError, CertificateError if the server could never be trusted, and
        UnreachableError after as many failures in a row as are allowed.
        """
        while not self._stopping.is_set():
            try:
                news = self._visit()
            except RefusedError:
                raise LoginError(f"{self._target} does not accept the access token; is it complete?") from None
            except UntrustedError as error:
                if not self._was_connected:
                    raise CertificateError(str(error)) from None
                news = self._failed(error)
            except DialError as error:
                news = self._failed(error)
            if news is None or self._stopping.is_set():
                return
            wait_s = self._backoff.next_s()
            log.warning("%s; connecting again in %.1f s", news, wait_s)
            self._stopping.wait(wait_s)

    def finish(self) -> None:
        """Take no new match; the connection closes after those in play. From any thread."""
        self._stop(at_once=False)

    def leave(self) -> None:
        """Close everything now. From any thread."""
        self._stop(at_once=True)

    def _stop(self, *, at_once: bool) -> None:
        with self._lock:
            self._stopping.set()
            self._has_left = self._has_left or at_once
            self._tell_to_stop()

    def _tell_to_stop(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
        if self._connection is not None and self._has_left:
            self._connection.abort("leaving")
        elif self._play is not None:
            self._play.finish()

    def _visit(self) -> str | None:
        """Connect once and play; return how the connection was lost, None if there is nothing left to play.

        Raises DialError if it never comes to playing, and ProtocolVersionError.
        """
        opened = self._connect()
        if opened is None:
            return None
        connection = Connection(opened, self._timing, self._clock)
        play = Play(
            self._desk, connection, places=self._places, welcomed=self._welcomed, strays=self.strays,
            timing=self._timing, clock=self._clock,
        )  # fmt: skip
        self._hold(connection, play)
        reason = "an error"
        try:
            reason = connection.run(play)
            if not play.is_welcome:
                raise DialError(reason)
            return None if play.is_spent else f"the connection to {self._target} is lost: {reason}"
        finally:
            play.gone(reason)
            self._hold(None, None)

    def _connect(self) -> socket.socket | None:
        dial = Dial(self._target, self._token, self._timing.connect_s)
        with self._lock:
            if self._stopping.is_set():
                return None
            self._dial = dial
        dial.start()
        return dial.result()

    def _hold(self, connection: Connection | None, play: Play | None) -> None:
        """Keep what is going on now, for `finish` and `leave`, one of which may have come already."""
        with self._lock:
            self._dial, self._connection, self._play = None, connection, play
            if self._stopping.is_set():
                self._tell_to_stop()

    def _failed(self, error: DialError) -> str:
        """Count an attempt that failed; return what to note. Raises UnreachableError when it was the last one."""
        self._failures += 1
        if self._failures == self._attempts:
            raise UnreachableError(f"{self._target} cannot be reached, attempt {self._attempts}: {error}") from None
        return f"no connection to {self._target}: {error}"

    def _welcomed(self, welcome: Welcome) -> None:
        self._failures = 0
        self._backoff.reset()
        player = welcome.player or "a player without a name"
        log.info("connected to %s as %s, %s s for each answer", self._target, player, welcome.deadline_s)
        if self._was_connected:
            self._telemetry.reconnected()
            console.info("the connection is back")
        else:
            console.info("connected to %s as %s", self._target, player)
        self._was_connected = True
