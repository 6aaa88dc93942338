"""Where connections begin matches, hand in steps and end matches. A protocol's module talks to nothing else.

Every method returns at once and may be called from any thread. The tournament tells telemetry about messages
(`heard`), connections (`join`, `closed`), matches and ratings, and the engine tells it about answers: a protocol only
reports `reconnected`. Texts of the server are made harmless here, before they are kept or shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from competitor.daemon.logs import Redaction
from competitor.daemon.supervisor import Lifecycle
from competitor.daemon.telemetry import Telemetry
from competitor.engine.engine import Engine
from competitor.engine.guard import Brain
from competitor.engine.session import Reply, Session
from competitor.play.finished_match import Ending, FinishedMatch, Keeper
from competitor.play.outcomes import MOST_ROUNDS
from competitor.wire.names import shown_name

LONGEST_MATCH_S = 3 * 3600.0
"""Of any use: 1,004 steps with 10 s for each, which is what servers allow, are 2.8 hours; usual is a minute."""

log = logging.getLogger(__name__)


class Tournament:
    """Shared by all connections of one daemon."""

    def __init__(
        self,
        engine: Engine,
        records: Keeper,
        lifecycle: Lifecycle,
        telemetry: Telemetry,
        *,
        wire: str,
        server: str,
        account: str = "",
        stuck_after_s: float,
        redact: Redaction | None = None,
        saved_within_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`wire`, `server`, `account` go into the records; `saved` is called `saved_within_s` after a match at most.

        redact: takes the token out of texts that come from the server.
        """
        self.redact: Callable[[str], str] = redact or str
        self.engine, self.records, self.lifecycle, self.telemetry = engine, records, lifecycle, telemetry
        self.wire, self.server, self.account = wire, server, account
        self.stuck_after_s, self.saved_within_s = stuck_after_s, saved_within_s
        self.clock, self.wall_clock = clock, wall_clock

    def join(self, name: str) -> Participant:
        """Return the tournament's side of a new connection; one per connection attempt that got through."""
        self.telemetry.connected(name, True)
        return Participant(self, name)

    def note_begin(self, session: Session, participant: Participant, *, was_reserved: bool) -> Brain:
        """A match of a participant begins; returns who plays it."""
        brain = self.engine.open_session(session)
        self.lifecycle.begun(was_reserved=was_reserved)
        self.telemetry.match_begun()
        opponent = session.opponent or "an unknown opponent"
        log.info("%s begins on %s against %s, playing %s", session, participant.name, opponent, brain.name)
        return brain

    def note_end(self, session: Session, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """A match of a participant is over: free what it held, count it, and hand it to the records."""
        self.engine.close_session(session)
        if match.ending == "abandoned":
            self.lifecycle.abandoned()
        else:
            self.lifecycle.ended()
        self.telemetry.match_ended(match.ending, match.result)
        log.info("%s %s", session, _summary(match))
        try:
            self.records.keep(match, saved)
        except Exception:
            log.exception("%s: the record could not be kept", session)
            saved()


@dataclass
class _InPlay:
    brain: Brain
    begun_s: float
    active_s: float  # when the last step came, or the start


class Participant:
    """One connection's side of the tournament."""

    def __init__(self, tournament: Tournament, name: str) -> None:
        self.name = name
        self._tournament = tournament
        self._lock = threading.Lock()
        self._playing: dict[Session, _InPlay] = {}
        self._reserved = 0
        self._is_closed = False

    def heard(self) -> None:
        """A message arrived, whatever it was: the connection lives."""
        self._tournament.telemetry.message()

    def wants_match(self) -> bool:
        """Answer to the server's "ready for a match?"; True reserves a place in the budget."""
        with self._lock:
            if self._is_closed or not self._tournament.lifecycle.wants_match():
                return False
            self._reserved += 1
            return True

    def release(self) -> None:
        """Give one reserved place back: this connection left the queue."""
        with self._lock:
            places, self._reserved = min(self._reserved, 1), max(self._reserved - 1, 0)
        self._tournament.lifecycle.released(places)

    def begin(self, match_id: str, *, opponent: str | None = None, rounds: int = 4) -> Session:
        """A match begins; it takes a place that this connection reserved, if there is one."""
        tournament = self._tournament
        name = None if opponent is None else shown_name(opponent, tournament.redact)
        session = Session(tournament.redact(match_id), opponent=name, rounds=rounds, started_at=tournament.wall_clock())
        with self._lock:
            was_reserved, self._reserved = self._reserved > 0, max(self._reserved - 1, 0)
            brain, now_s = tournament.note_begin(session, self, was_reserved=was_reserved), tournament.clock()
            self._playing[session] = _InPlay(brain, now_s, now_s)
            is_closed = self._is_closed
        if is_closed:
            self.abandon(session, "the connection is gone")
        return session

    def step(self, session: Session, obs: Sequence[float], reply: Reply) -> None:
        """Have `obs` (18,) answered by one call of `reply`; also after the match has ended."""
        if in_play := self._playing.get(session):
            in_play.active_s = self._tournament.clock()
        self._tournament.engine.submit(session, obs, reply)

    def end(
        self,
        session: Session,
        own: int,
        other: int,
        *,
        won: bool | None = None,
        rating: float | None = None,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        """The match ended with this score.

        `saved` is called once, from whatever thread, when the record is safe on the disk or has failed to be, and after
        3 s at the latest. Ending a match that is no longer in play only calls `saved`. A score that its rounds cannot
        have given is none: the match counts as abandoned.
        """
        if own + other > max(min(session.rounds, MOST_ROUNDS), session.rounds_begun):
            self.abandon(session, "the server sent an impossible score")
        brain = self._take_out(session)
        if brain is None:
            saved()
            return
        if rating is not None:
            self._tournament.telemetry.rated(rating)
        ending: Ending = "opponent left" if _has_left(session, own, other, won) else "played"
        match = self._finished(session, brain, ending, own, other, rating=rating)
        self._tournament.note_end(session, match, _once(saved, session, self._tournament.saved_within_s))

    def abandon(self, session: Session, reason: str) -> None:
        """The match cannot go on; its place in the budget is free again. Nothing if it is no longer in play."""
        brain = self._take_out(session)
        if brain is not None:
            reason = self._tournament.redact(reason)
            match = self._finished(session, brain, "abandoned", 0, 0, reason=reason)
            self._tournament.note_end(session, match, lambda: None)

    def rated(self, rating: float) -> None:
        self._tournament.telemetry.rated(rating)

    def stuck(self) -> dict[Session, str]:
        """Return the matches without start or step for `stuck_after_s`, or without end for LONGEST_MATCH_S, and why."""
        now_s, silent_s = self._tournament.clock(), self._tournament.stuck_after_s
        with self._lock:
            playing = list(self._playing.items())
        endless, silent = f"no end after {LONGEST_MATCH_S / 3600:g} hours", f"no step for {silent_s:g} s"
        return {session: endless for session, match in playing if now_s - match.begun_s > LONGEST_MATCH_S} | {
            session: silent for session, match in playing if now_s - match.active_s > silent_s
        }

    def closed(self, reason: str) -> None:
        """The connection is gone: its matches are abandoned, its reserved places free. A second call is nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            sessions, places, self._reserved = list(self._playing), self._reserved, 0
        self._tournament.lifecycle.released(places)
        for session in sessions:
            self.abandon(session, reason)
        self._tournament.telemetry.connected(self.name, False)

    def _take_out(self, session: Session) -> Brain | None:
        """Take a match out of play and return who played it; None if it was not in play."""
        with self._lock:
            in_play = self._playing.pop(session, None)
        return in_play.brain if in_play else None

    def _finished(
        self,
        session: Session,
        brain: Brain,
        ending: Ending,
        own: int,
        other: int,
        *,
        reason: str = "",
        rating: float | None = None,
    ) -> FinishedMatch:
        trace = session.trace()
        return FinishedMatch(
            match_id=session.match_id,
            wire=self._tournament.wire,
            server=self._tournament.server,
            account=self._tournament.account,
            connection=self.name,
            opponent=session.opponent,
            started_at=session.started_at,
            ended_at=self._tournament.wall_clock(),
            own=own,
            other=other,
            rounds=session.rounds,
            ending=ending,
            reason=reason,
            checkpoint=brain.name,
            digest=brain.digest,
            rating=rating,
            **vars(trace),
        )


def _once(saved: Callable[[], None], session: Session, within_s: float) -> Callable[[], None]:
    """`saved`, called a single time: when what is returned is called, or when the time is up."""
    first = threading.Lock()

    def confirm() -> bool:
        is_first = first.acquire(blocking=False)
        if is_first:
            try:
                saved()
            except Exception:
                log.exception("%s: the end could not be confirmed", session)
        return is_first

    def give_up() -> None:
        if confirm():
            log.warning("%s: the record is not on the disk after %g s", session, within_s)

    def confirmed() -> None:
        timer.cancel()
        confirm()

    timer = threading.Timer(within_s, give_up)
    timer.daemon = True
    timer.start()
    return confirmed


def _has_left(session: Session, own: int, other: int, won: bool | None) -> bool:
    """Return whether the opponent left before the end: a round is missing, or who is ahead has not won.

    Only a match played to its end is won.
    """
    return not won and (session.rounds_begun < session.rounds or (won is False and own > other))


def _summary(match: FinishedMatch) -> str:
    """What happened in a match, for the log."""
    if match.ending == "abandoned":
        how = f"abandoned ({match.reason})"
    else:
        how = f"ended {match.own}:{match.other} ({match.ending})"
    steps = len(match.source)
    slowest_ms = float(match.latency_ms.max(initial=0.0))
    return f"{how} after {steps} steps, {int((match.source > 0).sum())} not by the policy, slowest {slowest_ms:.1f} ms"
