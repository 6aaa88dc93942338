"""One client of our own protocol (docs/protocol.md): many matches at once, each on a seat of its own.

A client who breaks a rule in one match loses that match and nothing else. The place is given again once the client
has confirmed the end of its last match, or the time for that is over, so that a change of `ready` sent before the
confirmation is heeded in time.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence

from competitor.arena.hall import Hall
from competitor.arena.seat import Action, Reason, SeatLost, legal_action
from competitor.arena.store import User
from competitor.wire import messages

log = logging.getLogger(__name__)

Send = Callable[[messages.ServerMessage], None]


class WebSocketSeat:
    """One of a client's places."""

    def __init__(self, visitor: Visitor) -> None:
        self.user = visitor.user.name
        self.is_bot = visitor.user.role == "bot"
        self.match: str | None = None
        self._visitor = visitor
        self._told = False
        self._seen = asyncio.Event()
        self._seen.set()
        self._step = 0
        self._answer: asyncio.Future[Action] | None = None

    async def ready(self) -> bool:
        """Whether the client still wants as many matches at once, after it has confirmed the last one's end."""
        try:
            async with asyncio.timeout(self._visitor.deadline_s):
                await self._seen.wait()
        except TimeoutError:
            self._seen.set()
        self.match = None
        return self._visitor.keeps(self)

    async def start(self, match_id: uuid.UUID, opponent: str, rounds: int) -> None:
        """Announce a match."""
        self.match = str(match_id)
        self._step = 0
        self._told = False
        self._seen.clear()
        self._visitor.send(messages.Start(match=self.match, opponent=opponent, rounds=rounds))

    async def act(self, obs: Sequence[float]) -> Action:
        """Ask for a step."""
        assert self.match is not None, "no match has been started"
        self._step += 1
        answer: asyncio.Future[Action] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._visitor.send(messages.Step(match=self.match, step=self._step, obs=tuple(obs)))
        try:
            async with asyncio.timeout(self._visitor.deadline_s):
                return await answer
        except TimeoutError:
            self._visitor.fault(self, "timeout", f"no action for step {self._step} in time")
            raise SeatLost("timeout") from None

    def answered(self, message: messages.Action) -> bool:
        """The client's action has come; False and no more if it is not for the open step."""
        if self._answer is None or self._answer.done() or message.step != self._step:
            return False
        action = legal_action(message.action)
        if action is None:
            self._answer.set_exception(SeatLost("invalid action"))
            self._visitor.fault(self, "invalid action", f"step {self._step} needs 4 numbers from -1 to 1")
        else:
            self._answer.set_result(action)
        return True

    async def end(self, result: bool, own: int, other: int, rating: float | None) -> None:
        """Announce the end."""
        assert self.match is not None, "no match has been started"
        self._told = True
        self._visitor.send(messages.End(match=self.match, own=own, other=other, won=result, rating=rating))

    def confirmed(self) -> bool:
        """The client has noted the end down; False and no more if it has not been told of it, or says so again."""
        is_news = self._told and not self._seen.is_set()
        if is_news:
            self._seen.set()
        return is_news


class Visitor:
    """What one client says and what follows from it.

    Args:
        user: whose token it has.
        rating: what the leaderboard shows for the account.
        send: puts a message on its way and returns at once.
        refuse: closes the connection once everything is sent.
        deadline_s: time for an action, and for confirming a match's end.
    """

    def __init__(
        self, user: User, rating: float, hall: Hall, send: Send, refuse: Callable[[], None], deadline_s: float
    ) -> None:
        self.user = user
        self.send = send
        self.deadline_s = deadline_s
        self._rating = rating
        self._hall = hall
        self._refuse = refuse
        self._greeted = False
        self._wanted = 0
        self._seats: list[WebSocketSeat] = []

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
        seats, self._seats = self._seats, []
        for seat in seats:
            self._hall.leave(seat)

    def keeps(self, seat: WebSocketSeat) -> bool:
        """Whether the seat is still wanted; if not, it is gone."""
        if len(self._seats) > self._wanted and seat in self._seats:
            self._seats.remove(seat)
            self._hall.leave(seat)
        return seat in self._seats

    def fault(self, seat: WebSocketSeat, reason: Reason, text: str) -> None:
        """The client has lost a match by breaking a rule; another seat takes the place."""
        self.send(messages.Error(code=reason, message=text, match=seat.match))
        self._lose(seat, reason)

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
        for seat in list(self._seats):
            if len(self._seats) > matches and seat.match is None and self._hall.withdraw(seat):
                self._seats.remove(seat)
        self._fill()

    def _of_match(self, message: messages.Action | messages.Seen | messages.Leave) -> bool:
        """What concerns a match that is not in play any more may have been on its way, and is ignored."""
        seat = next((seat for seat in self._seats if seat.match == message.match), None)
        if seat is None:
            return False
        if isinstance(message, messages.Action):
            return seat.answered(message)
        if isinstance(message, messages.Seen):
            return seat.confirmed()
        self._lose(seat, "disconnected")
        return False

    def _lose(self, seat: WebSocketSeat, reason: Reason) -> None:
        if seat in self._seats:
            self._seats.remove(seat)
            self._hall.leave(seat, reason)
            self._fill()

    def _fill(self) -> None:
        while len(self._seats) < self._wanted and self._hall.has_room_for(self.user.name):
            seat = WebSocketSeat(self)
            self._seats.append(seat)
            self._hall.enter(seat)
