"""The conversation on one WebSocket connection: login, places, and all its matches side by side.

============ ==========================================================================================
message      what is done
============ ==========================================================================================
(open)       hello
welcome      the tournament is joined; places are asked for, and ready tells the server how many
start        a match begins at the tournament; one that nobody asked for is answered with leave
step         the tournament answers with one action, whenever it has it
end          the match ends at the tournament; ready if the places have changed, then seen when it is on the disk
error        before welcome: the login has failed; of one match: it is given up; else: noted
notice       noted
anything     else, or anything at a wrong time, is noted and has no consequences
============ ==========================================================================================
"""

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from competitor.daemon.tournament import Participant, Tournament
from competitor.engine.session import Action, Session
from competitor.errors import ProtocolVersionError
from competitor.wire import messages
from competitor.wire.dial import DialError
from competitor.wire.messages import PROTOCOL_VERSION, MessageError, ServerMessage
from competitor.wire.names import one_line
from competitor.wire.websocket_connection import Connection, Timing
from competitor.wire.websocket_dial import CLIENT

log = logging.getLogger(__name__)

NAME = "websocket"
MOST_OPEN_STEPS = 512  # beyond these nothing more is read until some are answered


@dataclass
class _Match:
    """A match in play."""

    session: Session
    last_step: int | None = None


class Play:
    """A connection and what is said on it (a Conversation, and the connection's Handler).

    Everything runs in the event loop's thread but the answers.
    """

    def __init__(
        self,
        tournament: Tournament,
        connection: Connection,
        *,
        places: int,
        welcomed: Callable[[messages.Welcome], None],
        useful: Callable[[], None],
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        """places: matches at once, at most. `welcomed` is called when the login is done, `useful` at every step."""
        self._useful = useful
        self._tournament, self._connection, self._places, self._welcomed = tournament, connection, places, welcomed
        self._timing, self._clock = timing, clock
        self._participant: Participant | None = None
        self._matches: dict[str, _Match] = {}
        self._reserved = 0
        self._announced = 0
        # The most matches that the server may think it can start: what was announced, or, until it has read that,
        # what was announced before.
        self._believed = 0
        self._probes = 0
        self._settled_by = 0.0
        self._unsaved: set[str] = set()
        self._saved: deque[str] = deque()
        self._open_steps = 0
        self._open_lock = threading.Lock()
        self._finishing = False
        self._login_by = clock() + timing.login_s
        self._look_at = 0.0
        connection.send(messages.Hello(version=PROTOCOL_VERSION, client=CLIENT))

    @property
    def is_spent(self) -> bool:
        """Whether nothing is in play and no place was to be had for more."""
        return self._participant is not None and not self._matches and not self._reserved

    @property
    def busy(self) -> bool:
        """Whether too many steps wait for their answers to read any more, or more ends to be saved than can be owed."""
        return self._open_steps >= MOST_OPEN_STEPS or len(self._unsaved) > self._places

    async def play(self) -> str | None:
        """Play until the connection is over; what it returns and raises is said at Conversation."""
        reason = "an error"
        try:
            reason = one_line(await self._connection.run(self), self._tournament.redact)
        finally:
            if self._participant is not None:
                self._participant.closed(reason)
        if self._participant is None:
            raise DialError(reason)
        return None if self.is_spent else reason

    def finish(self) -> None:
        """Take no new match, and close the connection after those in play."""
        self._finishing = True
        self._connection.wake()

    def leave(self) -> None:
        self._connection.abort("leaving")

    def received(self, data: bytes) -> None:
        """Handle a text message. Raises ProtocolVersionError, or DialError when the login fails."""
        if self._participant is not None:
            self._participant.heard()
        try:
            self._handle(messages.decode_from_server(data, self._tournament.redact))
        except MessageError as error:
            self.ignored("a bad message", error)
        except (ProtocolVersionError, DialError):
            raise
        except Exception:  # one message must not take all other matches with it
            log.exception("a message could not be handled")

    def ignored(self, what: str, detail: object = "") -> None:
        """Note something without consequences; the log limits how often each kind of it is said."""
        log.warning(f"ignored: {what}%s", f": {detail}" if detail else "")

    def echoed(self, data: bytes) -> None:
        """A pong came: the server has read all that was sent before its ping."""
        if self._participant is not None:
            self._participant.heard()
        if data == self._probe:
            self._believed = self._announced

    def turn(self) -> None:
        """Look after what no message brings about. Raises DialError when the welcome does not come."""
        now = self._clock()
        if self._participant is None:
            self._wait_for_welcome(now)
            return
        self._acknowledge_saved()
        if now >= self._look_at or (self._finishing and self._announced):
            self._look_at = now + self._timing.turn_s
            self._give_up_stuck(self._participant)
            self._ask_for_places(self._participant)
            if now >= self._settled_by:
                self._believed = self._announced
        if self.is_spent and not self._believed and not self._unsaved:
            self._connection.close()

    def _wait_for_welcome(self, now: float) -> None:
        if self._finishing:
            self._connection.close()
        elif now >= self._login_by:
            raise DialError(f"no welcome within {self._timing.login_s:g} s")

    def _handle(self, message: ServerMessage) -> None:
        if isinstance(message, messages.Notice):
            log.info("the server says: %s", message.message)
        elif self._participant is None:
            self._log_in(message)
        elif isinstance(message, messages.Step):
            self._step(self._participant, message)
        elif isinstance(message, messages.Start):
            self._start(self._participant, message)
        elif isinstance(message, messages.End):
            self._end(self._participant, message)
        elif isinstance(message, messages.Error):
            self._error(self._participant, message)
        else:
            self.ignored("a second welcome")

    def _log_in(self, message: ServerMessage) -> None:
        if isinstance(message, messages.Error):
            if message.code == messages.VERSION:
                raise ProtocolVersionError(f"the server does not speak version {PROTOCOL_VERSION} of the protocol")
            raise DialError(f"the login failed: {message.code}: {message.message}")
        if not isinstance(message, messages.Welcome):
            self.ignored(f"{message.type} before welcome")
            return
        if message.version != PROTOCOL_VERSION:
            raise ProtocolVersionError(
                f"the server speaks version {message.version} of the protocol, this program version {PROTOCOL_VERSION}"
            )
        self._welcomed(message)
        self._participant = self._tournament.join(NAME)
        self._participant.heard()
        if message.rating is not None:
            self._participant.rated(message.rating)
        self._ask_for_places(self._participant)

    def _start(self, participant: Participant, start: messages.Start) -> None:
        if start.match in self._matches:
            self.ignored("start of a match in play", start.match)
            return
        if len(self._matches) >= self._believed:
            self.ignored("start of a match that nobody asked for", start.match)
            self._connection.send(messages.Leave(match=start.match))
            return
        # Without a place it was on its way when the server was told that there are fewer now: it is played.
        self._reserved = max(self._reserved - 1, 0)
        self._matches[start.match] = _Match(
            participant.begin(start.match, opponent=start.opponent, rounds=start.rounds)
        )

    def _step(self, participant: Participant, step: messages.Step) -> None:
        match = self._matches.get(step.match)
        if match is None:
            self.ignored("step of a match not in play", step.match)
        elif step.step == match.last_step:
            self.ignored("a step once more", f"{step.match} step {step.step}")
        else:
            match.last_step = step.step
            self._useful()
            with self._open_lock:
                self._open_steps += 1
            participant.step(match.session, step.obs, functools.partial(self._answer, step.match, step.step))

    def _answer(self, match: str, step: int, action: Action) -> None:
        with self._open_lock:
            self._open_steps -= 1
        self._connection.send(messages.Action(match=match, step=step, action=action))

    def _end(self, participant: Participant, end: messages.End) -> None:
        match = self._matches.pop(end.match, None)
        if match is None:
            self.ignored("end of a match not in play", end.match)
            if end.match not in self._unsaved:
                self._connection.send(messages.Seen(match=end.match))
            return
        self._unsaved.add(end.match)
        saved = functools.partial(self._note_saved, end.match)
        participant.end(match.session, end.own, end.other, won=end.won, rating=end.rating, saved=saved)
        self._ask_for_places(participant)

    def _note_saved(self, match: str) -> None:
        # Acknowledged by the connection's thread: `seen` must not overtake the `ready` that belongs to the end.
        self._saved.append(match)
        self._connection.wake()

    def _acknowledge_saved(self) -> None:
        while self._saved:
            match = self._saved.popleft()
            self._connection.send(messages.Seen(match=match))
            self._unsaved.discard(match)

    def _error(self, participant: Participant, error: messages.Error) -> None:
        log.warning("the server does not accept something: %s: %s (match %s)", error.code, error.message, error.match)
        if error.match in self._matches:
            self._give_up(participant, error.match, f"{error.code}: {error.message}")
            self._ask_for_places(participant)

    def _give_up_stuck(self, participant: Participant) -> None:
        stuck = participant.stuck()
        for name in [name for name, match in self._matches.items() if match.session in stuck]:
            self._connection.send(messages.Leave(match=name))
            self._give_up(participant, name, stuck[self._matches[name].session])

    def _give_up(self, participant: Participant, name: str, reason: str) -> None:
        participant.abandon(self._matches.pop(name).session, reason)

    def _ask_for_places(self, participant: Participant) -> None:
        """Reserve what is free, or give back what is not wanted any more, and tell the server if that is news."""
        if self._finishing:
            for _ in range(self._reserved):
                participant.release()
            self._reserved = 0
        else:
            while len(self._matches) + self._reserved < self._places and participant.wants_match():
                self._reserved += 1
        total = len(self._matches) + self._reserved
        self._announce(0 if self._finishing else total)

    def _announce(self, places: int) -> None:
        if places == self._announced:
            return
        self._announced = places
        self._connection.send(messages.Ready(matches=places))
        if places >= self._believed:
            self._believed = places
            return
        self._probes += 1
        self._settled_by = self._clock() + self._timing.settle_s
        self._connection.probe(self._probe)

    @property
    def _probe(self) -> bytes:
        return b"%d" % self._probes
