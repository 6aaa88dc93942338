"""One TCP connection to a comprl server: from login to the last answer, and every way in which it can end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from competitor.daemon.comprl_player import ComprlPlayer, Shared
from competitor.wire.comprl_commands import EndGame, Ready, StartGame, Step
from competitor.wire.comprl_dial import tune
from competitor.wire.names import one_line
from competitor.wire.own_reactor import Timer

log = logging.getLogger(__name__)

LOGIN_TIMEOUT_S = 15.0  # silence before the login is complete; afterwards it is normal for hours
PROBE_AFTER_S = 20.0  # silence after the login: then the server is asked whether it is there,
ANSWER_WITHIN_S = 30.0  # and has so long to say anything
PROBE = b"Probe"  # no command of the protocol: answered with the error that AMP has for that, which costs nothing
LINGER_S = 2.0  # for the last bytes to leave before the connection is cut, and for the server to close it itself
MOST_PAIRS = 64  # in a box; the largest box in real play has four

# A server that sends one of these has accepted the login.
AFTER_LOGIN = frozenset(command.commandName for command in (Ready, StartGame, Step, EndGame))


class Owner(Protocol):
    """Whoever keeps the connection open, and is told what becomes of it."""

    name: str

    def logged_in(self) -> None: ...
    def useful(self) -> None: ...
    def on_error(self, text: str) -> bool: ...  # returns whether it ends the daemon
    def lost(self, connection: ComprlConnection) -> None: ...


class ComprlConnection(amp.AMP):
    """Sends and receives boxes; its player answers them. All methods belong to the reactor's thread."""

    transport: Any  # Twisted's interfaces are no types

    def __init__(self, owner: Owner, shared: Shared) -> None:
        self._player = ComprlPlayer(owner.name, shared, self._on_error)
        super().__init__(locator=self._player)
        self._owner = owner
        self._clock = shared.clock
        self._timers: list[Timer] = []
        self._owed = 0  # answers
        self._pairs = 0  # of the box that is coming in
        self._is_closing = self._is_probed = False
        self._probing: Timer | None = None
        self.reason = ""  # why the connection ended

    @property
    def has_logged_in(self) -> bool:
        """Whether the server accepted the login."""
        return self._player.participant is not None

    @property
    def is_done(self) -> bool:
        """Whether the connection ended because no more matches are wanted."""
        return self._player.has_declined

    def retire(self) -> None:
        """Take no new match; hang up as soon as nothing is owed, at once if the connection waits in the queue."""
        self._player.retire()
        self._hang_up_if_done()

    def hang_up(self, reason: str) -> None:
        """Close the connection, after sending what is ready to be sent."""
        if not self._is_closing and self.transport is not None:
            self._is_closing = True
            self.reason = self.reason or reason
            self.transport.loseConnection()
            self._later(LINGER_S, self.transport.abortConnection)

    def check_stuck(self) -> None:
        """Hang up if a match has had no news for too long: the other player's failure can freeze it for good."""
        participant = self._player.participant
        stuck = participant.stuck() if participant is not None and not self._is_closing else []
        if stuck:
            log.warning("%s: no step for too long, giving up match %s", self._owner.name, stuck[0].match_id)
            self.hang_up("the match was stuck")

    def connectionMade(self) -> None:
        """The connection stands; the server speaks first."""
        super().connectionMade()
        tune(self.transport)
        self._silence = self._later(LOGIN_TIMEOUT_S, self._give_up, f"no login for {LOGIN_TIMEOUT_S:g} s")

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """The connection is gone: the tournament gives up its match, the owner connects again."""
        done = reason.check(ConnectionDone)
        self.reason = self.reason or (
            "the server closed the connection" if done else one_line(reason.getErrorMessage())
        )
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        super().connectionLost(reason)
        try:
            if self._player.participant is not None:
                self._player.participant.closed(self.reason)
        finally:
            self._owner.lost(self)

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
        if self._probing is not None:
            self._is_probed = False
            self._probing.reset(PROBE_AFTER_S)
        if PROBE in (box.get(amp.ANSWER), box.get(amp.ERROR)):
            self._note_message()
        elif amp.ANSWER in box or amp.ERROR in box:
            log.warning("%s: the server answered what nobody had asked", self._owner.name)
        elif amp.COMMAND not in box:
            self._give_up("the server sent a box that is no request")
        else:
            self._note_life(box[amp.COMMAND])
            self._owed += amp.ASK in box
            super().ampBoxReceived(box)

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send an answer; there is nothing else to send."""
        super().sendBox(box)
        if not self.transport.disconnecting:
            self.transport.doWrite()  # now, not after the messages of all other matches that wait to be read
        self._owed -= 1
        self._hang_up_if_done()

    def unhandledError(self, failure: Failure) -> None:
        """AMP has no way to send an answer. For the refusal of a request without a tag that is no reason to part."""
        if not failure.check(amp.RemoteAmpError):
            super().unhandledError(failure)

    def _probe(self) -> None:
        """Ask a silent server whether it is there; one that hangs keeps its connections open for ever."""
        if self._is_probed:
            self._give_up(f"the server has not answered for {PROBE_AFTER_S + ANSWER_WITHIN_S:g} s")
            return
        self._is_probed = True
        super().sendBox(amp.AmpBox({amp.COMMAND: PROBE, amp.ASK: PROBE}))
        self._probing = self._later(ANSWER_WITHIN_S, self._probe)

    def _note_message(self) -> None:
        if self._player.participant is not None:
            self._player.participant.heard()

    def _note_life(self, command: bytes) -> None:
        if self._player.participant is None and command in AFTER_LOGIN:
            self._player.log_in()
            self._silence.cancel()
            self._probing = self._later(PROBE_AFTER_S, self._probe)
            self._owner.logged_in()
        if command == Step.commandName:
            self._owner.useful()
        if self._player.participant is not None:
            self._note_message()
        elif self._silence.active():
            self._silence.reset(LOGIN_TIMEOUT_S)

    def _on_error(self, text: str) -> None:
        self.reason = f"the server says: {text}"
        if not self._owner.on_error(text):
            self._later(LINGER_S, self.hang_up, self.reason)

    def _give_up(self, reason: str) -> None:
        if not self._is_closing:
            log.warning("%s: %s", self._owner.name, reason)
            self.hang_up(reason)

    def _hang_up_if_done(self) -> None:
        if self._player.may_go and self._owed <= 0:
            self.hang_up("no more matches wanted")

    def _later(self, delay_s: float, function: Callable[..., object], *args: object) -> Timer:
        timer = self._clock.callLater(delay_s, function, *args)
        self._timers = [*(timer for timer in self._timers if timer.active()), timer]
        return timer
