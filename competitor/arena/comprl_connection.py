"""One client's connection on the course's wire: requests with deadlines, answered in any order.

The boxes are read, written and paired with their answers by Twisted's AMP; asyncio moves the bytes, so that no
reactor is needed and any number of arenas can live in one process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.error import ConnectionDone
from twisted.protocols.amp import COMMAND, AmpBox, BinaryBoxProtocol, BoxDispatcher, Command, CommandLocator
from twisted.python.failure import Failure

from competitor.arena.participant import Later, ParticipantLost, Reason
from competitor.wire.budget import Budget
from competitor.wire.comprl_commands import Error

log = logging.getLogger(__name__)

MOST_BYTES_BEFORE_LOGIN = 4096
"""All that a client may send until it has logged in: a token and the protocol's version, many times over."""
MOST_BYTES_OF_A_BOX = 8192  # of a box that is not complete. An action has about 100.
MOST_UNREAD_BYTES = 64 * 1024  # that wait for a client that does not read; a step has about 500
REQUESTS_AT_ONCE, REQUESTS_PER_S = 100, 10.0
"""Requests of the client's own, which are all answered with UNHANDLED: some clients ask so whether we live."""

Fields = dict[str, Any]
Answer = TypeVar("Answer")


class _TooMuch(Exception):
    """The client asks or sends more than it may."""


class Connection(BinaryBoxProtocol, BoxDispatcher, asyncio.Protocol):
    """A client. `lost` is None as long as it can be asked, else why it no longer can; then comes `closed`.

    It knows no commands: a client's own requests are answered with UNHANDLED.

    Args:
        deadline_s: time for the answers that have a deadline.
        on_open: called when the client has connected.
        on_lost: called once, when the client is lost: by its own doing at once, else when the connection is gone.
        later: calls back after so many seconds, unless cancelled; None: as the event loop does.
    """

    def __init__(
        self,
        deadline_s: float,
        on_open: Callable[[Connection], None],
        on_lost: Callable[[Connection, Reason], None],
        later: Later | None = None,
    ) -> None:
        BoxDispatcher.__init__(self, CommandLocator())
        BinaryBoxProtocol.__init__(self, self)
        self.lost: Reason | None = None
        self.transport: Any = None  # asyncio's, which Twisted takes for one of its own
        self.address = "nowhere"
        self._deadline_s = deadline_s
        self._on_open = on_open
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._later: Later = later or self._loop.call_later
        self._has_logged_in = False
        self._unfinished = 0
        self._requests = Budget(REQUESTS_AT_ONCE, REQUESTS_PER_S)
        self._waiting: set[asyncio.Future[Any]] = set()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.address = str(transport.get_extra_info("peername")[0])
        transport.set_write_buffer_limits(high=MOST_UNREAD_BYTES)
        self.makeConnection(transport)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self._unfinished += len(data)
        try:
            self.dataReceived(data)
            self._check_size()
        except Exception as error:  # a tag that was never asked, a box that is none, too much
            log.warning("a comprl client at %s is cut off, it broke the protocol: %r", self.address, error)
            self.abort()

    def pause_writing(self) -> None:
        log.warning("a comprl client at %s is cut off, it does not read", self.address)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._mark_lost("disconnected")
        self.stopReceivingBoxes(Failure(ConnectionDone()))
        # It refers to itself: without this it and what it holds would wait for the garbage collector.
        self.boxReceiver = self.boxSender = None
        self.closed.set_result(None)

    def ampBoxReceived(self, box: AmpBox) -> None:
        """A box is complete: an answer, or a request of the client's own."""
        if self._has_logged_in:
            self._unfinished = 0
        if COMMAND in box and not self._requests.spend():
            raise _TooMuch("it makes too many requests")
        super().ampBoxReceived(box)

    def lengthLimitExceeded(self, length: int) -> None:
        """A key longer than AMP allows."""
        raise _TooMuch(f"a key of {length} bytes")

    def unhandledError(self, failure: Failure) -> None:
        """AMP has no way to go on."""
        self.close()

    def logged_in(self) -> None:
        """From now on only the size of each box is limited, not that of all together."""
        self._has_logged_in = True
        self._unfinished = 0

    def ask(
        self,
        command: type[Command],
        read: Callable[[Fields], Answer],
        unreadable: Callable[[], None],
        *,
        timed: bool = True,
        **fields: object,
    ) -> asyncio.Future[Answer]:
        """Send a request; the future gives its answer, as `read` returns it, or raises ParticipantLost.

        `read` may raise; then, and when the client answers with an error, `unreadable` is called instead and the
        answer stays away. An answer that comes after all does both even if the future has been cancelled.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if self.lost is not None:
            answer.set_exception(ParticipantLost(self.lost))
            answer.exception()  # it is not an error if nobody waits for it
            return answer
        self._waiting.add(answer)
        timer = self._later(self._deadline_s, self._too_late) if timed else None

        def arrived(value: Answer) -> None:
            self._waiting.discard(answer)
            if not answer.done():
                answer.set_result(value)

        def failed(failure: Failure) -> None:
            if self.lost is None:
                unreadable()

        def settled(box: object) -> object:
            if timer is not None:
                timer.cancel()
            return box

        request = self.callRemote(command, **fields)
        request.addBoth(settled).addCallback(read).addCallbacks(arrived, failed)
        return answer

    def offend(self, text: str, reason: Reason) -> None:
        """The client has broken a rule: tell it so and close."""
        if self.lost is None:
            self.callRemote(Error, msg=text.encode()).addErrback(lambda failure: None)
            self._mark_lost(reason)
        self.close()

    def close(self) -> None:
        """Close when everything is sent."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close now, and ask nothing any more."""
        self._mark_lost("disconnected")
        if self.transport is not None:
            self.transport.abort()

    def _check_size(self) -> None:
        most = MOST_BYTES_OF_A_BOX if self._has_logged_in else MOST_BYTES_BEFORE_LOGIN
        if self._unfinished > most:
            raise _TooMuch(f"more than {most} bytes {'in a box' if self._has_logged_in else 'without a login'}")

    def _too_late(self) -> None:
        self.offend(f"Timeout after {self._deadline_s:g}s", "timeout")

    def _mark_lost(self, reason: Reason) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(ParticipantLost(reason))
                answer.exception()
        self._waiting.clear()
        self._on_lost(self, reason)
