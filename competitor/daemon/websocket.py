"""This project's own wire: JSON messages over a WebSocket, many matches at once on one connection.

docs/protocol.md describes the protocol. The parts: wire/messages.py what is said, wire/websocket_dial.py how a
connection comes about, wire/websocket_connection.py how messages travel on it, websocket_play.py what is done with
each of them, and here: connect, play, and connect again for as long as there is something to play.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from competitor.daemon.logs import CONSOLE, Redaction
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.daemon.websocket_play import Ignored, Play
from competitor.errors import CertificateError, LoginError, TokenError, UnreachableError
from competitor.wire.address import Address
from competitor.wire.backoff import Retries
from competitor.wire.messages import MOST_MATCHES, Welcome
from competitor.wire.websocket_connection import USUAL, Connection, Timing
from competitor.wire.websocket_dial import DialError, RefusedError, UntrustedError, dialled, tls_context

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)


class WebSocketWire:
    """Plays on the server at `address` until there is nothing left to play; a Wire of competitor.daemon.supervisor."""

    def __init__(
        self,
        address: Address,
        token: str,
        tournament: Tournament,
        *,
        matches: int,
        retries: Retries,
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
        self._address, self._token, self._tournament = address, token, tournament
        self._tls = tls_context(authority) if address.scheme == "wss" else None
        self._places = min(matches, MOST_MATCHES)
        self._retries, self._telemetry = retries, telemetry
        self._timing, self._clock = timing, clock
        self._lock = threading.Lock()  # between `run` and who stops it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = self._has_left = False
        self._connection: Connection | None = None
        self._play: Play | None = None
        self._was_connected = False
        self.ignored = Ignored()

    def run(self) -> None:
        """Play in the calling thread until nothing is left to play.

        Raises LoginError, ProtocolVersionError, CertificateError if the server could never be trusted, and
        UnreachableError after as many failures in a row as are allowed.
        """
        asyncio.run(self._run())

    def finish(self) -> None:
        """Take no new match; the connection closes after those in play. From any thread."""
        self._stop(at_once=False)

    def leave(self) -> None:
        """Close everything now. From any thread."""
        self._stop(at_once=True)

    def _stop(self, *, at_once: bool) -> None:
        with self._lock:
            self._is_stopping, self._has_left = True, self._has_left or at_once
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # closed: nothing runs any more
                    self._loop.call_soon_threadsafe(self._obey)

    def _obey(self) -> None:
        """Do what was asked for from outside, in the event loop."""
        self._stopped.set()
        if self._connection is not None and self._has_left:
            self._connection.abort("leaving")
        elif self._play is not None:
            self._play.finish()

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._is_stopping:
                return
        while not self._stopped.is_set():
            asked_s = None
            try:
                news = await self._try_once()
            except RefusedError:
                raise LoginError(f"{self._address} does not accept the access token; is it complete?") from None
            except UntrustedError as error:
                if not self._was_connected:
                    raise CertificateError(str(error)) from None
                news = self._failed(error)
            except DialError as error:
                news, asked_s = self._failed(error), error.asked_s
            if news is None or self._stopped.is_set():
                return
            wait_s = self._retries.next_s(asked_s)
            log.warning("%s; connecting again in %.1f s%s", news, wait_s, " as the server asks" if asked_s else "")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopped.wait()

    async def _try_once(self) -> str | None:
        """Connect once and play; return how the connection was lost, None if there is nothing left to play.

        Raises DialError if it never comes to playing, and ProtocolVersionError.
        """
        attempt = asyncio.ensure_future(self._connect_and_play())
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait([attempt, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._connection is None and not attempt.done():  # stopped on the way there: nothing is owed to anybody
            attempt.cancel()
            await asyncio.wait([attempt])
            return None
        return await attempt

    async def _connect_and_play(self) -> str | None:
        timing, redact = self._timing, Redaction(self._token)
        async with dialled(
            self._address,
            self._token,
            tls=self._tls,
            redact=redact,
            timeout_s=timing.connect_s,
            close_s=timing.close_s,
        ) as opened:
            connection = Connection(opened, timing, self._clock)
            play = Play(
                self._tournament,
                connection,
                places=self._places,
                welcomed=self._welcomed,
                useful=self._retries.useful,
                ignored=self.ignored,
                timing=timing,
                clock=self._clock,
            )
            self._connection, self._play = connection, play
            reason = "an error"
            try:
                if self._stopped.is_set():
                    self._obey()
                reason = await connection.run(play)
                if not play.is_welcome:
                    raise DialError(reason)
                return None if play.is_spent else f"the connection to {self._address} is lost: {reason}"
            finally:
                play.gone(reason)
                self._connection = self._play = None

    def _failed(self, error: DialError) -> str:
        """Count an attempt that failed; return what to note. Raises UnreachableError when it was the last one."""
        if self._retries.failed():
            attempt = self._retries.failures
            raise UnreachableError(f"{self._address} cannot be reached, attempt {attempt}: {error}") from None
        return f"no connection to {self._address}: {error}"

    def _welcomed(self, welcome: Welcome) -> None:
        self._retries.logged_in()
        player = self._tournament.redact(welcome.player) or "a player without a name"
        log.info("connected to %s as %s, %s s for each answer", self._address, player, welcome.deadline_s)
        if self._was_connected:
            self._telemetry.reconnected()
            console.info("the connection is back")
        else:
            console.info("connected to %s as %s", self._address, player)
        self._was_connected = True
