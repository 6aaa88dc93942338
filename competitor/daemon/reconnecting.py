"""What both wires share: connections to one server in one event loop, each made again when it is lost.

A wire says how one connects (`connect`), a Conversation is one connection in use, a Reconnector takes one of the
wire's places through all its losses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from competitor.daemon.logs import CONSOLE
from competitor.daemon.tournament import Tournament
from competitor.errors import CompetitorError, UnreachableError
from competitor.wire.backoff import STEADY_S, Retries
from competitor.wire.dial import DialError
from competitor.wire.names import one_line

log = logging.getLogger(__name__)
console = logging.getLogger(CONSOLE)

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Conversation(Protocol):
    """An open connection in use. All methods belong to the event loop's thread."""

    async def play(self) -> str | None:
        """Play until the connection is over; returns how it was lost, None if nothing is left to play.

        Raises DialError if it never came to a login, and the CompetitorError that makes another attempt useless.
        """

    def finish(self) -> None:
        """Take no new match, and end after those in play: at once where there are none."""

    def leave(self) -> None:
        """End now."""


class ReconnectingWire(ABC):
    """Plays on the server at `address` until nothing is left to play: a protocol's side of the daemon."""

    def __init__(
        self,
        address: str,
        names: Sequence[str],
        tournament: Tournament,
        *,
        retries: Callable[[], Retries],
        new_loop: NewLoop | None = None,
    ) -> None:
        """names: of the connections. retries: makes those of one; the last one that fails ends the wire.

        new_loop: makes the event loop, None: asyncio's.
        """
        self.address = one_line(address, tournament.redact)  # for messages
        self.tournament = tournament
        self._reconnectors = [Reconnector(self, name, retries()) for name in names]
        self._new_loop = new_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = self.is_leaving = False
        self._error: CompetitorError | None = None

    @abstractmethod
    def connect(self, reconnector: Reconnector) -> AbstractAsyncContextManager[Conversation]:
        """An open connection, closed after the block; may be cancelled at any moment.

        Raises DialError, and the CompetitorError that makes another attempt useless.
        """

    def run(self) -> None:
        """Play in the calling thread until nothing is left to play; once.

        Raises LoginError or ProtocolVersionError when the server refuses the login, CertificateError if it could never
        be trusted, UnreachableError after so many failures in a row. Matches in play on other connections are played to
        their end first.
        """
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._run())
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """From any thread or signal handler: no new match; who waits closes at once, who plays after the match."""
        self.is_stopping = True
        self._call(self._obey)

    def leave(self) -> None:
        """From any thread or signal handler: close everything now."""
        self.is_leaving = True
        self.finish()

    def end_with(self, error: CompetitorError) -> None:
        """End the wire because of `error`; matches in play go on to their end."""
        self._error = self._error or error
        self.finish()

    @property
    def is_reachable(self) -> bool:
        """Whether any connection has logged in: then a single one that fails is no reason to give up."""
        return any(reconnector.is_online for reconnector in self._reconnectors)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        tasks = [reconnector.start() for reconnector in self._reconnectors]
        if self.is_stopping:  # before there was a loop to be told
            self._obey()
        await asyncio.wait(tasks)

    def _obey(self) -> None:
        for reconnector in self._reconnectors:
            reconnector.obey()

    def _call(self, work: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: nothing runs any more
                self._loop.call_soon_threadsafe(work)


class Reconnector:
    """One of a wire's connections, through all its losses. All methods belong to the event loop's thread."""

    def __init__(self, wire: ReconnectingWire, name: str, retries: Retries) -> None:
        self.name = name
        self.is_online = self.was_online = False  # a login was accepted: by the server now, by it ever
        self._wire, self._retries = wire, retries
        self._conversation: Conversation | None = None
        self._steady: asyncio.TimerHandle | None = None

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())
        return self._task

    def obey(self) -> None:
        """Do what the wire was asked for: finish or leave."""
        if self._conversation is None:
            self._task.cancel()  # on the way there, or waiting: nothing is owed to anybody
        elif self._wire.is_leaving:
            self._conversation.leave()
        else:
            self._conversation.finish()

    def logged_in(self, player: str = "") -> None:
        """The server has let us in, as `player` if it says so."""
        self._retries.logged_in()
        self._steady = asyncio.get_running_loop().call_later(STEADY_S, self.useful)
        if self.was_online:
            self._wire.tournament.telemetry.reconnected()
        how, as_player = "back" if self.was_online else "logged in", f" as {player}" if player else ""
        console.info("%s: %s at %s%s", self.name, how, self._wire.address, as_player)
        self.is_online = self.was_online = True

    def useful(self) -> None:
        """The connection led to something."""
        self._retries.useful()

    def refused(self, error: CompetitorError) -> None:
        """The server will never let us in."""
        self._wire.end_with(error)

    async def _keep_connected(self) -> None:
        wire = self._wire
        while not wire.is_stopping:
            asked_s = None
            try:
                lost = await self._converse()
                news = f"the connection to {wire.address} is lost: {lost}"
            except CompetitorError as error:
                wire.end_with(error)
                return
            except Exception as error:
                if not isinstance(error, DialError):
                    log.error("%s: an error in this program", self.name, exc_info=error)
                lost = str(error) or type(error).__name__
                news = f"no connection to {wire.address}: {lost}"
                if not wire.is_stopping and self._retries.failed() and not wire.is_reachable:
                    wire.end_with(self._unreachable(lost))
                    return
                asked_s = error.asked_s if isinstance(error, DialError) else None
            if lost is None or wire.is_stopping:
                return
            wait_s = self._retries.next_s(asked_s)
            as_asked = " as the server asks" if asked_s else ""
            log.warning("%s: %s; trying again in %.1f s%s", self.name, news, wait_s, as_asked)
            await asyncio.sleep(wait_s)

    async def _converse(self) -> str | None:
        async with self._wire.connect(self) as conversation:
            self._conversation = conversation
            try:
                return await conversation.play()
            finally:
                self._conversation, self.is_online = None, False
                if self._steady is not None:
                    self._steady.cancel()

    def _unreachable(self, reason: str) -> UnreachableError:
        attempts = f"{self._retries.failures} attempts" if self._retries.failures > 1 else "one attempt"
        return UnreachableError(
            f"no connection to {self._wire.address} after {attempts}: {reason}; is the address right?"
        )
