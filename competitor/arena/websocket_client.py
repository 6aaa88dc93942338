"""One client of our own protocol (docs/protocol.md): many matches at once, each with a participant of its own.

A client who breaks a rule in one match loses that match and nothing else. Another one begins once the client
has confirmed the end of its last match, or the time for that is over, so that a change of `ready` sent before the
confirmation is heeded in time.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence

from competitor.arena.lobby import Lobby
from competitor.arena.participant import Later, ParticipantLost, Reason
from competitor.arena.store import User
from competitor.engine.session import Action, legal_action
from competitor.wire import messages

log = logging.getLogger(__name__)

Send = Callable[[messages.ServerMessage], None]


class WebSocketParticipant:
    """One of a client's places."""

    def __init__(self, client: WebSocketClient) -> None:
        self.user = client.user.name
        self.is_bot = client.user.role == "bot"
        self.match: str | None = None
        self._client = client
        self._end_sent = False
        self._seen = asyncio.Event()
        self._seen.set()
        self._step = 0
        self._answer: asyncio.Future[Action] | None = None

    async def ready(self) -> bool:
        """Whether the client still wants as many matches at once, after it has confirmed the last one's end."""
        timer = self._client.later(self._client.deadline_s, self._seen.set)
        try:
            await self._seen.wait()
        finally:
            timer.cancel()
        self.match = None
        return self._client.keeps(self)

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        self.match = str(match_id)
        self._step = 0
        self._end_sent = False
        self._seen.clear()
        self._client.send(messages.Start(match=self.match, opponent=opponent, rounds=rounds))

    async def act(self, obs: Sequence[float]) -> Action:
        assert self.match is not None, "no match has been started"
        self._step += 1
        answer: asyncio.Future[Action] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._client.send(messages.Step(match=self.match, step=self._step, obs=tuple(obs)))
        timer = self._client.later(self._client.deadline_s, self._too_late)
        try:
            return await answer
        finally:
            timer.cancel()

    def answered(self, message: messages.Action) -> bool:
        """The client's action has come; False and no more if it is not for the open step."""
        if self._answer is None or self._answer.done() or message.step != self._step:
            return False
        action = legal_action(message.action)
        if action is None:
            self._fail("invalid action", f"step {self._step} needs 4 numbers from -1 to 1")
        else:
            self._answer.set_result(action)
        return True

    def _too_late(self) -> None:
        self._fail("timeout", f"no action for step {self._step} in time")

    def _fail(self, reason: Reason, text: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ParticipantLost(reason))
            self._client.fault(self, reason, text)

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        assert self.match is not None, "no match has been started"
        self._end_sent = True
        self._client.send(messages.End(match=self.match, own=own, other=other, won=result, rating=rating))

    def confirmed(self) -> bool:
        """The client has noted the end down; False and no more if it has not been told of it, or says so again."""
        is_news = self._end_sent and not self._seen.is_set()
        if is_news:
            self._seen.set()
        return is_news


class WebSocketClient:
    """What one client says and what follows from it.

    Args:
        user: whose token it has.
        rating: what the leaderboard shows for the account.
        send: puts a message on its way and returns at once.
        refuse: closes the connection once everything is sent.
        deadline_s: time for the login, an action, and for confirming a match's end; later: sets its timers.
    """

    def __init__(
        self,
        user: User,
        rating: float,
        lobby: Lobby,
        send: Send,
        refuse: Callable[[], None],
        deadline_s: float,
        later: Later,
    ) -> None:
        self.user = user
        self.send = send
        self.deadline_s, self.later = deadline_s, later
        self._rating = rating
        self._lobby = lobby
        self._refuse = refuse
        self._greeted = False
        self._wanted = 0
        self._participants: list[WebSocketParticipant] = []

    def heard(self, frame: str) -> bool:
        """A text frame has come; returns whether it answers something that was asked."""
        try:
            message = messages.decode_from_client(frame)
        except messages.MessageError as problem:
            self.object(str(problem))
            return False
        if isinstance(message, messages.Hello):
            self._hello(message)
        elif not self._greeted:
            self.object("the first message has to be hello")
        elif isinstance(message, messages.Ready):
            self._ready(message.matches)
        else:
            return self._of_match(message)
        return False

    def object(self, text: str) -> None:
        """Something came that makes no sense; nothing else follows from it."""
        self.send(messages.Error(code=messages.BAD_MESSAGE, message=text))

    def late(self) -> None:
        """The time for the login is over."""
        if not self._greeted:
            self.send(messages.Error(code=messages.TIMEOUT, message="hello did not come in time"))
            self._refuse()

    def gone(self) -> None:
        """The connection is lost, and with it all matches."""
        self._wanted = 0
        participants, self._participants = self._participants, []
        for participant in participants:
            self._lobby.leave(participant)

    def keeps(self, participant: WebSocketParticipant) -> bool:
        """Whether the participant is still wanted; if not, it is gone."""
        if len(self._participants) > self._wanted and participant in self._participants:
            self._participants.remove(participant)
            self._lobby.leave(participant)
        return participant in self._participants

    def fault(self, participant: WebSocketParticipant, reason: Reason, text: str) -> None:
        """The client has lost a match by breaking a rule; another participant takes the place."""
        self.send(messages.Error(code=reason, message=text, match=participant.match))
        self._lose(participant, reason)

    def _hello(self, hello: messages.Hello) -> None:
        if self._greeted:
            self.object("hello was said before")
        elif hello.version != messages.PROTOCOL_VERSION:
            text = f"this server speaks version {messages.PROTOCOL_VERSION}, not {hello.version}"
            self.send(messages.Error(code=messages.VERSION, message=text))
            self._refuse()
        else:
            self._greeted = True
            log.info("%s has come in by WebSocket with %r", self.user.name, hello.client)
            self.send(
                messages.Welcome(
                    version=messages.PROTOCOL_VERSION,
                    player=self.user.name,
                    deadline_s=self.deadline_s,
                    rating=self._rating,
                )
            )

    def _ready(self, matches: int) -> None:
        self._wanted = matches
        for participant in list(self._participants):
            if len(self._participants) > matches and participant.match is None and self._lobby.withdraw(participant):
                self._participants.remove(participant)
        self._fill()

    def _of_match(self, message: messages.Action | messages.Seen | messages.Leave) -> bool:
        """What concerns a match that is not in play any more may have been on its way, and is ignored."""
        participant = next(
            (participant for participant in self._participants if participant.match == message.match), None
        )
        if participant is None:
            return False
        if isinstance(message, messages.Action):
            return participant.answered(message)
        if isinstance(message, messages.Seen):
            return participant.confirmed()
        self._lose(participant, "disconnected")
        return False

    def _lose(self, participant: WebSocketParticipant, reason: Reason) -> None:
        if participant in self._participants:
            self._participants.remove(participant)
            self._lobby.leave(participant, reason)
            self._fill()

    def _fill(self) -> None:
        while len(self._participants) < self._wanted and self._lobby.has_room_for(self.user.name):
            participant = WebSocketParticipant(self)
            self._participants.append(participant)
            self._lobby.enter(participant)
