"""The player's answers in the comprl protocol: exactly one for every request, whatever happens at the tournament.

An unanswered request ends the connection after 10 s, and with it the match; an answer that AMP makes of an exception
does so at once, or freezes the match for both players. So no exception leaves a responder.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.protocols import amp

from competitor.daemon.tournament import Participant, Tournament
from competitor.engine.session import ZEROS, Action, Session
from competitor.wire import comprl_commands as commands
from competitor.wire.names import one_line

log = logging.getLogger(__name__)

Answer = dict[str, Any]  # the fields of an answer; AMP makes the box of it


Responder = Callable[..., Answer | Deferred[Answer]]


def otherwise(words: str, fields: Answer) -> Callable[[Responder], Responder]:
    """Make a responder answer with these fields, and log the words, where an error in this program keeps it from it."""

    def wrap(respond: Responder) -> Responder:
        @functools.wraps(respond)
        def guarded(self: ComprlPlayer, **arguments: Any) -> Answer | Deferred[Answer]:
            try:
                return respond(self, **arguments)
            except Exception:
                log.exception("%s: %s, because of an error in this program", self.name, words)
                return fields

        return guarded

    return wrap


class ComprlPlayer(amp.CommandLocator):
    """Answers one connection's requests. All methods belong to the event loop's thread."""

    def __init__(
        self,
        name: str,
        token: bytes,
        tournament: Tournament,
        *,
        call: Callable[..., None],
        note_error: Callable[[str], None],
    ) -> None:
        """call: has a function called in the event loop's thread. note_error: gets the text of the server's Error."""
        self.name, self._token, self._tournament = name, token, tournament
        self._call, self._note_error = call, note_error
        self._session: Session | None = None  # stays after the match: a late Step is still one of it
        self._game_id: bytes | None = None
        self._in_match = False
        self._queued = False
        self._last_match = False
        self._declined = False
        self._unwanted = 0  # matches begun after the last one
        self.participant: Participant | None = None

    @property
    def may_go(self) -> bool:
        """Whether no match is in play and none will follow on this connection."""
        return self._last_match and not self._in_match

    @property
    def has_declined(self) -> bool:
        """Whether no match is in play and the server was told that none is wanted: no reason to connect again."""
        return self._declined and not self._in_match

    @property
    def is_overruled(self) -> bool:
        """Whether more matches begin after the last one than the one that may have been on its way."""
        return self._unwanted > 1

    def log_in(self) -> None:
        """The server has accepted the login."""
        self.participant = self._tournament.join(self.name)

    def retire(self) -> None:
        """Take no new match from now on."""
        self._last_match = True

    def locateResponder(self, name: bytes) -> Callable[[amp.AmpBox], Any]:
        """Find who answers a command; AMP asks here."""
        known: Callable[[amp.AmpBox], Any] | None = super().locateResponder(name)
        return known or functools.partial(self._refuse, name)

    def _refuse(self, name: bytes, box: amp.AmpBox) -> None:
        log.warning("%s: the server sent the unknown command %r", self.name, self._readable(name))
        raise amp.RemoteAmpError(amp.UNHANDLED_ERROR_CODE, "Unhandled Command")

    @commands.Auth.responder
    def auth(self) -> Answer:
        return {"token": self._token, "version": commands.PROTOCOL_VERSION}

    @commands.Ready.responder
    @otherwise("no match", {"ready": False})
    def ready(self) -> Answer:
        """Say whether another match is wanted. The match before may still be in play: its end comes next."""
        was_last, self._last_match = self._last_match, True
        wanted = not was_last and (self._queued or self._joined.wants_match())
        self._declined = self._last_match = not wanted
        self._queued = wanted
        return {"ready": wanted}

    @commands.StartGame.responder
    @otherwise("a match is played with zeros", {})
    def start_game(self, game_id: bytes | None) -> Answer:
        """Begin a match, also if nothing was said of the end of the one before."""
        if self._in_match and game_id == self._game_id:
            return {}
        self._unwanted += self._last_match
        before, self._session = self._session if self._in_match else None, None
        self._in_match, self._queued, self._game_id = True, False, game_id
        if before is not None:
            self._joined.abandon(before, "the server began another match")
        self._session = self._joined.begin(match_id_of(game_id or b""))
        return {}

    def step(self, obs: Sequence[float], answer: Callable[[Action], None]) -> None:
        """Have the observation answered, whatever it is, by one call of `answer` in the event loop's thread.

        A step of a match that is over is as good as any other. Where no match was begun there is nobody to decide:
        the answer is zeros, which is valid, and no match is made up for the records.
        """
        if self._session is None:
            log.warning("%s: a step without a match, answered with zeros", self.name)
            answer(ZEROS)
            return
        try:
            self._joined.step(self._session, obs, functools.partial(self._call, answer))
        except Exception:
            log.exception("%s: a step is answered with zeros, because of an error in this program", self.name)
            answer(ZEROS)

    @commands.EndGame.responder
    @otherwise("a match is not recorded", {})
    def end_game(self, result: bool | None, stats: list[float] | None) -> Answer | Deferred[Answer]:
        """End the match; answered when its record is saved."""
        session, was_in_match, self._in_match = self._session, self._in_match, False
        if session is None or not was_in_match:
            log.warning("%s: the end of a match that was not in play", self.name)
            return {}
        score = goals_of(stats or ())
        if score is None:
            log.error("%s: match %s ends with an unreadable score: %s", self.name, session.match_id, (stats or [])[:4])
            self._joined.abandon(session, "the server sent no score")
            return {}
        answer: Deferred[Answer] = Deferred()
        self._joined.end(session, *score, won=result, saved=functools.partial(self._call, answer.callback, {}))
        return answer

    @commands.Message.responder
    def message(self, msg: bytes | None) -> Answer:
        """Log what the server wants to tell."""
        log.info("%s: the server says: %s", self.name, self._readable(msg))
        return {}

    @commands.Error.responder
    def error(self, msg: bytes | None) -> Answer:
        """Note why the server is about to close the connection."""
        self._note_error(self._readable(msg))
        return {}

    @property
    def _joined(self) -> Participant:
        assert self.participant is not None, "the first request after the login opens the participant"
        return self.participant

    def _readable(self, msg: bytes | None) -> str:
        return one_line((msg or b"").decode("utf-8", "replace"), self._tournament.redact)


def match_id_of(game_id: bytes) -> str:
    """The UUID whose 16 bytes the server sent; a UUID made from them if there are more or less."""
    if len(game_id) == 16:
        return str(uuid.UUID(bytes=game_id))
    return str(uuid.uuid5(uuid.NAMESPACE_OID, game_id.hex()))


def goals_of(stats: Sequence[float]) -> tuple[int, int] | None:
    """Own goals and the other's, None if the numbers cannot be that."""
    if len(stats) != 2 or not all(goals >= 0 and goals.is_integer() for goals in stats):
        return None
    return int(stats[0]), int(stats[1])
