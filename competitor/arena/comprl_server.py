"""The course's competition server, as far as a client can see it; for clients written for the real one, unchanged.

=================================================== ==========================================================
what a client does                                  what the arena does
=================================================== ==========================================================
wrong version, then wrong token                     Error, close
no answer to Auth, Ready, Step or EndGame in time   Error `Timeout after 10s`, close; its match ends
no answer to StartGame or Message                   nothing
action that is not 4 numbers in [-1, 1]             Error `Invalid action`, close; its match ends
Auth or Ready answered with an error or unreadably  nothing, ever again: the connection is of no use any more
Step answered with an error or unreadably           as an invalid action; **the real server then waits for ever**
StartGame answered with an error                    close
ready=False                                         nothing, ever again
anything that is not an answer to a request         close (a request of the client's own: error UNHANDLED)
=================================================== ==========================================================

Other differences from the real server: a last invalid answer to a step (see competitor.arena.match), draws
(see competitor.arena.lobby), and that logs say why a client was dropped.
"""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from functools import partial

from competitor.arena.comprl_connection import Connection, Fields
from competitor.arena.lobby import Lobby
from competitor.arena.logins import TOO_MANY, WRONG_TOKEN, Logins, Refused
from competitor.arena.participant import Later, ParticipantLost, Reason
from competitor.arena.store import User
from competitor.engine.session import Action, legal_action
from competitor.wire.comprl_commands import (
    LOGIN_FAILED,
    PROTOCOL_VERSION,
    WRONG_VERSION,
    Auth,
    EndGame,
    Message,
    Ready,
    StartGame,
    Step,
)

REFUSALS = {WRONG_TOKEN: LOGIN_FAILED, TOO_MANY: "Too many connections"}

log = logging.getLogger(__name__)


class ComprlParticipant:
    """A client that has logged in; one match at a time."""

    def __init__(self, user: User, connection: Connection) -> None:
        self.user = user.name
        self.is_bot = user.role == "bot"
        self._connection = connection
        self._welcomed = False

    async def ready(self) -> bool:
        """Ask; the text that the login worked follows the first question."""
        frozen = partial(log.warning, "%s answered Ready with something unreadable: it is never asked again", self.user)
        answer = self._connection.ask(Ready, lambda fields: bool(fields["ready"]), frozen)
        if not self._welcomed:
            self._welcomed = True
            self._say("Authentication successful")
        ready = await answer
        if ready:
            self._say("Waiting in queue")
        return ready

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        """Announce a match. Opponent and rounds are not told on this wire."""
        self._connection.ask(StartGame, _nothing_of, self._connection.close, timed=False, game_id=match_id.bytes)

    async def act(self, obs: Sequence[float]) -> Action:
        """Ask for a step. Its answer is judged even when nobody waits for it any more."""
        return await self._connection.ask(Step, _action_of, self._invalid, obv=list(obs))

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        """Announce the end; who never confirms it is dropped when the time is over."""
        stats = [float(own), float(other)]
        self._connection.ask(EndGame, _nothing_of, _no_matter, result=result, stats=stats)

    def _say(self, text: str) -> None:
        self._connection.ask(Message, _nothing_of, _no_matter, timed=False, msg=text.encode())

    def _invalid(self) -> None:
        self._connection.offend("Invalid action", "invalid action")


class ComprlServer:
    """Lets clients with a token into the lobby; `connect` makes the protocol of a new connection.

    Args:
        deadline_s: time for an answer; later: its timers, None: the event loop's.
    """

    def __init__(self, lobby: Lobby, logins: Logins, *, deadline_s: float = 10.0, later: Later | None = None) -> None:
        self._lobby, self._logins = lobby, logins
        self._deadline_s, self._later = deadline_s, later
        self._participants: dict[Connection, ComprlParticipant] = {}
        self._connections: set[Connection] = set()
        self._logging_in: set[asyncio.Task[None]] = set()
        self._closing = False

    async def close(self) -> None:
        """Drop every client without a word."""
        self._closing = True
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        for login in self._logging_in:
            login.cancel()
        await asyncio.gather(*self._logging_in, *(each.closed for each in connections), return_exceptions=True)

    def connect(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self._deadline_s, self._opened, self._lost, self._later)

    def _opened(self, connection: Connection) -> None:
        if self._closing:
            connection.abort()
            return
        self._connections.add(connection)
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        login = asyncio.get_running_loop().create_task(self._login(connection))
        self._logging_in.add(login)
        login.add_done_callback(self._logging_in.discard)

    def _lost(self, connection: Connection, reason: Reason) -> None:
        participant = self._participants.pop(connection, None)
        if participant is not None:
            log.info("%s is gone: %s", participant.user, reason)
            self._lobby.leave(participant, reason)

    async def _login(self, connection: Connection) -> None:
        try:
            frozen = partial(
                log.warning, "a comprl client answered Auth with something unreadable: it is never asked again"
            )
            version, token = await connection.ask(Auth, _login_of, frozen)
        except ParticipantLost:
            return
        if version != PROTOCOL_VERSION:
            connection.offend(WRONG_VERSION, "disconnected")
            return
        try:
            user, _ = await self._logins.log_in(token, connection.address, connection.transport)
        except Refused as refused:
            if refused.status in REFUSALS:
                connection.offend(REFUSALS[refused.status], "disconnected")
            else:
                connection.abort()
            return
        log.info("%s has come in by comprl", user.name)
        connection.logged_in()
        self._participants[connection] = participant = ComprlParticipant(user, connection)
        self._lobby.enter(participant)


def _login_of(fields: Fields) -> tuple[int, str]:
    return fields["version"], fields["token"].decode()


def _action_of(fields: Fields) -> Action:
    action = legal_action(fields["action"])
    if action is None:
        raise ValueError("not an action")
    return action


def _nothing_of(fields: Fields) -> None:
    """The answer has no fields."""


def _no_matter() -> None:
    """The real server does not care either."""
