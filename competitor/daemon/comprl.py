"""The wire of the comprl competition server: AMP over plain TCP, one match at a time on each connection.

`comprl_player` answers the requests, `reconnecting` takes the connections through their losses, as of the other wire.
Twisted's AMP reads and writes the boxes, asyncio moves the bytes: no reactor is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.protocols import amp
from twisted.python.failure import Failure

from competitor.daemon.comprl_player import ComprlPlayer
from competitor.daemon.reconnecting import NewLoop, ReconnectingWire, Reconnector
from competitor.daemon.tournament import Tournament
from competitor.engine.session import Action
from competitor.errors import message
from competitor.wire.address import host_and_port
from competitor.wire.backoff import Retries
from competitor.wire.comprl_commands import AFTER_LOGIN, Step, refusal_of
from competitor.wire.dial import DialError, open_socket
from competitor.wire.names import one_line

CONNECT_TIMEOUT_S = 10.0
LOOK_EVERY_S = 1.0
LOGIN_TIMEOUT_S = 15.0
PROBE_AFTER_S = 20.0  # silence after the login, normal for hours: then the server is asked whether it is there,
ANSWER_WITHIN_S = 30.0  # and has so long to say anything
PROBE = b"Probe"  # no command of the protocol: answered with the error that AMP has for that, which costs nothing
LINGER_S = 2.0  # for the last bytes to leave before the connection is cut, and for the server to close it itself
MOST_PAIRS = 64  # in a box; the largest box in real play has four
MOST_OWED = 512  # answers; beyond these nothing more is read until some are given

OBS, ACTION = dict(Step.arguments)[b"obv"], dict(Step.response)[b"action"]

log = logging.getLogger(__name__)


class ComprlWire(ReconnectingWire):
    """Plays on a comprl server over `connections` connections at once."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        tournament: Tournament,
        *,
        connections: int = 1,
        retries: Callable[[], Retries],
        new_loop: NewLoop | None = None,
    ) -> None:
        """token: fit to be sent, as `read_token` returns it."""
        names = [f"comprl-{number}" for number in range(1, connections + 1)]
        super().__init__(host_and_port(host, port), names, tournament, retries=retries, new_loop=new_loop)
        self._host, self._port, self._token = host, port, token.encode()
        self._calls: Calls | None = None

    @asynccontextmanager
    async def connect(self, reconnector: Reconnector) -> AsyncIterator[ComprlConnection]:
        """Dial; the server speaks first. Raises DialError."""
        loop = asyncio.get_running_loop()
        self._calls = self._calls or Calls(loop)
        connection = ComprlConnection(reconnector, self._token, self.tournament, self.address, loop, self._calls)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                opened = await open_socket(self._host, self._port)
                await loop.create_connection(lambda: connection, sock=opened)
        except TimeoutError:
            raise DialError(f"no answer within {CONNECT_TIMEOUT_S:g} s") from None
        yield connection


class ComprlConnection(amp.BinaryBoxProtocol, amp.BoxDispatcher, asyncio.Protocol):
    """Sends and receives boxes; its player answers them. All methods belong to the event loop's thread."""

    transport: Any  # asyncio's, which Twisted takes for one of its own; None when it is lost

    def __init__(
        self,
        owner: Reconnector,
        token: bytes,
        tournament: Tournament,
        address: str,
        loop: asyncio.AbstractEventLoop,
        calls: Calls,
    ) -> None:
        """address: of the server, for messages."""
        self._player = ComprlPlayer(owner.name, token, tournament, call=calls, note_error=self._on_error)
        amp.BoxDispatcher.__init__(self, self._player)
        amp.BinaryBoxProtocol.__init__(self, self)
        self._owner, self._address, self._loop = owner, address, loop
        self._owed = 0  # answers
        self._pairs = 0  # of the box that is coming in
        self._is_closing = self._is_full = False
        self._probed_s: float | None = None
        self._over: asyncio.Future[None] = loop.create_future()
        self.reason = ""  # why the connection ended

    async def play(self) -> str | None:
        """Serve the connection until it is over; what it returns and raises is said at Conversation."""
        while not self._over.done():
            await asyncio.wait([self._over], timeout=LOOK_EVERY_S)
            self.look()
        if self._player.participant is None:
            raise DialError(self.reason)
        return None if self._player.has_declined else self.reason

    def finish(self) -> None:
        """Take no new match; hang up as soon as nothing is owed, at once if the connection waits in the queue."""
        self._player.retire()
        self._hang_up_if_done()

    def leave(self) -> None:
        self.hang_up("leaving")

    def hang_up(self, reason: str) -> None:
        """Close the connection, after sending what is ready to be sent."""
        if not self._is_closing and self.transport is not None:
            self._is_closing = True
            self.reason = self.reason or reason
            self.transport.close()
            self._loop.call_later(LINGER_S, self.transport.abort)

    def look(self) -> None:
        """Look at the clock, about once a second: is the server there, does the match go on?"""
        if self._is_closing:
            return
        now_s, participant = self._loop.time(), self._player.participant
        if participant is None:
            if now_s - self._opened_s >= LOGIN_TIMEOUT_S:
                self._give_up(f"no login for {LOGIN_TIMEOUT_S:g} s")
            return
        if self._probed_s is not None and now_s - self._probed_s >= ANSWER_WITHIN_S:
            self._give_up(f"the server has not answered for {PROBE_AFTER_S + ANSWER_WITHIN_S:g} s")
        elif self._probed_s is None and now_s - self._heard_s >= PROBE_AFTER_S:
            # One that hangs keeps its connections open for ever.
            self._probed_s = now_s
            super().sendBox(amp.AmpBox({amp.COMMAND: PROBE, amp.ASK: PROBE}))
        for session, reason in participant.stuck().items():  # the other player's failure can freeze a match for good
            log.warning("%s: %s, giving up match %s", self._owner.name, reason, session.match_id)
            self.hang_up(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; the server speaks first."""
        self._opened_s = self._heard_s = self._loop.time()
        self.makeConnection(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the tournament gives up its match."""
        self._is_closing, self.transport = True, None
        said = "the server closed the connection" if exc is None else message(exc)
        self.reason = self.reason or one_line(said)
        try:
            if self._player.participant is not None:
                self._player.participant.closed(self.reason)
        finally:
            self._over.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._is_closing:
            self.dataReceived(data)
            self._pace()

    def pause_writing(self) -> None:
        """The server does not read its answers: nothing more of it is read."""
        self._is_full = True
        self._pace()

    def resume_writing(self) -> None:
        self._is_full = False
        self._pace()

    def lengthLimitExceeded(self, length: int) -> None:
        """A key longer than AMP allows: whatever is being received, it is not AMP."""
        self._give_up("the server sent something that is not AMP")

    def proto_value(self, string: bytes) -> str:
        """A value has come in. A box without end would fill the memory."""
        self._pairs += 1
        if self._pairs > MOST_PAIRS:
            self._give_up("the server sent a box without end")
        state: str = super().proto_value(string)
        return state

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """A box is complete: a request, or something that a server has no reason to send."""
        self._pairs = 0
        if self._is_closing:
            return
        self._heard_s, self._probed_s = self._loop.time(), None
        if PROBE in (box.get(amp.ANSWER), box.get(amp.ERROR)):
            self._note_message()
        elif amp.ANSWER in box or amp.ERROR in box:
            log.warning("%s: the server answered what nobody had asked", self._owner.name)
        elif amp.COMMAND not in box:
            self._give_up("the server sent a box that is no request")
        else:
            self._note_life(box[amp.COMMAND])
            self._owed += amp.ASK in box
            if box[amp.COMMAND] == Step.commandName:
                self._step(box)
            else:
                super().ampBoxReceived(box)

    def _step(self, box: amp.AmpBox) -> None:
        """Have a step answered past AMP's dispatch, which takes as much time as all the rest of it."""
        self._player.step(OBS.fromString(box.get(b"obv", b"")), functools.partial(self._act, box.get(amp.ASK)))

    def _act(self, tag: bytes | None, action: Action) -> None:
        if tag is not None:
            self.sendBox(amp.AmpBox({amp.ANSWER: tag, b"action": ACTION.toString(list(action))}))

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send an answer; one that comes too late goes nowhere."""
        self._owed -= 1
        if self.transport is not None and not self._is_closing:
            super().sendBox(box)
            self._hang_up_if_done()
            self._pace()

    def unhandledError(self, failure: Failure) -> None:
        """AMP has no way to send an answer. For the refusal of a request without a tag that is no reason to part."""
        if not failure.check(amp.RemoteAmpError):
            log.error("%s: an error in this program: %s", self._owner.name, failure.getTraceback())
            self.hang_up("an error in this program")

    def _note_message(self) -> None:
        if self._player.participant is not None:
            self._player.participant.heard()

    def _note_life(self, command: bytes) -> None:
        if self._player.participant is None and command in AFTER_LOGIN:
            self._player.log_in()
            self._owner.logged_in()
        if command == Step.commandName:
            self._owner.useful()
        self._note_message()

    def _on_error(self, text: str) -> None:
        self.reason = f"the server says: {text}"
        refusal = refusal_of(text, self._address)
        log.log(logging.INFO if refusal else logging.ERROR, "%s: the server says: %s", self._owner.name, text)
        if refusal is not None:
            self._owner.refused(refusal)
        else:
            self._loop.call_later(LINGER_S, self.hang_up, self.reason)

    def _give_up(self, reason: str) -> None:
        if not self._is_closing:
            log.warning("%s: %s", self._owner.name, reason)
            self.hang_up(reason)

    def _hang_up_if_done(self) -> None:
        if self._player.is_overruled:
            self._give_up("the server begins matches that nobody wants")
        elif self._player.may_go and self._owed <= 0:
            self.hang_up("no more matches wanted")

    def _pace(self) -> None:
        """Read no faster than the server gets and takes its answers."""
        if self.transport is None:
            return
        if self._is_full or self._owed >= MOST_OWED:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class Calls:
    """Has functions called in the event loop's thread, from any thread: it is woken once for all that wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def __call__(self, function: Callable[..., object], *args: object) -> None:
        """Return at once; never called if the loop is closed, as then its connections are over."""
        self._waiting.append(functools.partial(function, *args))
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        self._is_woken = False
        while self._waiting:
            self._loop.call_soon(self._waiting.popleft())
