"""The tournament: matches begin, are played and end; budget, liveness, records."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from competitor.daemon.supervisor import Lifecycle
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Participant, Tournament
from competitor.engine.engine import Engine
from competitor.engine.session import Session, Source
from tests.competitor.engine.fakes import WAIT_S, FakeBrain, Inbox, Shelf, make_engine, play_obs, running

STUCK_AFTER_S = 45.0


class Ledger(Telemetry):
    """Remembers every call in order."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[Source] = []
        self.events: list[tuple[object, ...]] = []

    def answered(self, latency_ms: float, source: Source) -> None:
        super().answered(latency_ms, source)
        self.sources.append(source)

    def connected(self, name: str, yes: bool) -> None:
        super().connected(name, yes)
        self.events.append(("connected", name, yes))

    def match_begun(self) -> None:
        super().match_begun()
        self.events.append(("begun",))

    def match_ended(self, ending: str, result: str) -> None:
        super().match_ended(ending, result)
        self.events.append(("ended", ending, result))


class Hall:
    """A tournament with everything behind it, and clocks to set."""

    def __init__(
        self, engine: Engine, brain: FakeBrain, ledger: Ledger, *, games: int | None, saved_within_s: float
    ) -> None:
        self.brain, self.ledger, self.shelf, self.lifecycle = brain, ledger, Shelf(), Lifecycle(games)
        self.now_s, self.wall_s = 50.0, 1e9
        self.tournament = Tournament(
            engine,
            self.shelf,
            self.lifecycle,
            ledger,
            wire="comprl",
            server="somewhere:1",
            stuck_after_s=STUCK_AFTER_S,
            saved_within_s=saved_within_s,
            clock=lambda: self.now_s,
            wall_clock=lambda: self.wall_s,
        )
        self.participant = self.tournament.join("first")


@pytest.fixture
def hall(request: pytest.FixtureRequest) -> Iterator[Hall]:
    options = {"games": None, "saved_within_s": WAIT_S} | getattr(request, "param", {})
    brain, ledger = FakeBrain(), Ledger()
    with running(make_engine(brain, ledger)) as engine:
        yield Hall(engine, brain, ledger, **options)


one_game = pytest.mark.parametrize("hall", [{"games": 1}], indirect=True)
short_wait = pytest.mark.parametrize("hall", [{"saved_within_s": 0.01}], indirect=True)


def play(participant: Participant, session: Session, rows: list[list[float]]) -> list[tuple[float, ...]]:
    inbox, actions = Inbox(), []
    for obs in rows:
        participant.step(session, obs, inbox)
        actions.append(inbox.next())
    return actions


def test_a_match_from_start_to_record(hall: Hall) -> None:
    rows, saved = play_obs(40), threading.Event()
    session = hall.participant.begin("m17", opponent="bob")
    hall.wall_s += 30
    actions = play(hall.participant, session, rows)
    assert hall.participant.playing == 1
    hall.participant.end(session, 3, 1, won=True, rating=24.5, saved=saved.set)
    assert saved.wait(WAIT_S) and hall.participant.playing == 0
    (match,) = hall.shelf.matches
    about = {name: value for name, value in vars(match).items() if not isinstance(value, np.ndarray)}
    assert about == {
        "match_id": "m17",
        "wire": "comprl",
        "server": "somewhere:1",
        "connection": "first",
        "opponent": "bob",
        "started_at": 1e9,
        "ended_at": 1e9 + 30,
        "own": 3,
        "other": 1,
        "rounds": 4,
        "ending": "played",
        "reason": "",
        "checkpoint": "fake",
        "digest": "d1835",
        "rating": 24.5,
        "inferred": False,
        "account": "",
        "opponent_actions": None,
    }
    assert match.result == "W"
    assert np.array_equal(match.obs, rows) and np.array_equal(match.actions, actions)
    assert np.flatnonzero(match.is_first).tolist() == [0, 10, 20, 30]
    assert not match.source.any() and match.latency_ms.shape == (40,)
    assert hall.ledger.events == [("connected", "first", True), ("begun",), ("ended", "played", "W")]
    assert hall.ledger.numbers().rating == 24.5
    assert hall.brain.freed.acquire(timeout=WAIT_S)


@pytest.mark.parametrize(
    ("steps", "own", "other", "won", "ending", "result"),
    [
        (40, 3, 1, True, "played", "W"),
        (40, 1, 3, False, "played", "L"),
        (40, 1, 1, False, "played", "D"),
        (40, 1, 1, None, "played", "D"),
        (40, 2, 1, None, "played", "W"),
        (31, 1, 2, False, "played", "L"),
        (30, 1, 2, False, "opponent left", "L"),
        (30, 1, 1, None, "opponent left", "D"),
        (40, 2, 1, False, "opponent left", "W"),
        (30, 3, 0, True, "played", "W"),  # only a match played to its end is won
        (0, 0, 0, False, "opponent left", "D"),
    ],
)
def test_how_a_match_ended(
    hall: Hall, steps: int, own: int, other: int, won: bool | None, ending: str, result: str
) -> None:
    session = hall.participant.begin("m")
    play(hall.participant, session, play_obs(steps))
    hall.participant.end(session, own, other, won=won)
    (match,) = hall.shelf.matches
    assert (match.ending, match.result, len(match.obs)) == (ending, result, steps)
    assert hall.lifecycle.finished == 1


def test_a_match_of_other_length_is_played_when_its_rounds_are(hall: Hall) -> None:
    session = hall.participant.begin("m", rounds=2)
    play(hall.participant, session, play_obs(20))
    hall.participant.end(session, 1, 1)
    assert (hall.shelf.matches[0].ending, hall.shelf.matches[0].rounds) == ("played", 2)


def test_a_step_that_is_open_at_the_end_is_answered_and_not_in_the_record(hall: Hall) -> None:
    session, inbox = hall.participant.begin("m"), Inbox()
    rows = play_obs(3)
    play(hall.participant, session, rows[:2])
    hall.brain.gate.clear()
    hall.participant.step(session, rows[2], inbox)
    hall.participant.end(session, 1, 0, won=False)
    hall.brain.gate.set()
    inbox.next()
    assert len(hall.shelf.matches[0].obs) == 2
    hall.tournament.engine.stop()  # then the last answer is counted as well
    assert hall.ledger.sources == [Source.POLICY] * 3


def test_a_step_after_the_end_is_answered(hall: Hall) -> None:
    session = hall.participant.begin("m")
    play(hall.participant, session, play_obs(2))
    hall.participant.end(session, 0, 1)
    assert hall.brain.freed.acquire(timeout=WAIT_S)
    next_session = hall.participant.begin("next")
    assert play(hall.participant, next_session, play_obs(2)) == play(
        hall.participant, hall.participant.begin("again"), play_obs(2)
    )
    play(hall.participant, session, play_obs(1))
    hall.tournament.engine.stop()
    assert hall.ledger.sources == [Source.POLICY] * 6 + [Source.GONE]


def test_the_end_is_confirmed_when_the_record_is_safe(hall: Hall) -> None:
    hall.shelf.delays = True
    confirmed: list[str] = []
    threads_before = set(threading.enumerate())
    session = hall.participant.begin("m")
    hall.participant.end(session, 1, 1, saved=lambda: confirmed.append("saved"))
    assert confirmed == []
    (saved,) = hall.shelf.waiting
    saved()  # type: ignore[operator]
    saved()  # type: ignore[operator]
    assert confirmed == ["saved"]
    for thread in set(threading.enumerate()) - threads_before:
        thread.join(WAIT_S / 2)  # nothing waits for the time to be up
        assert not thread.is_alive()


@short_wait
def test_the_end_is_confirmed_in_time_when_the_disk_is_slow(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    hall.shelf.delays = True
    confirmed = threading.Semaphore(0)
    hall.participant.end(hall.participant.begin("m17"), 1, 1, saved=confirmed.release)
    assert confirmed.acquire(timeout=WAIT_S)
    hall.shelf.waiting[0]()  # type: ignore[operator]
    assert not confirmed.acquire(blocking=False)


def test_the_end_is_confirmed_when_the_record_cannot_be_kept(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    hall.shelf.error = OSError("no space left")
    confirmed = threading.Event()
    hall.participant.end(hall.participant.begin("m17"), 1, 1, saved=confirmed.set)
    assert confirmed.is_set() and hall.lifecycle.finished == 1
    assert "match m17: the record could not be kept" in caplog.text and "no space left" in caplog.text


def test_a_confirmation_that_fails_is_logged(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    hall.participant.end(hall.participant.begin("m17"), 1, 1, saved=lambda: [][1])
    assert "match m17: the end could not be confirmed" in caplog.text and len(hall.shelf.matches) == 1


def test_a_second_end_is_only_confirmed(hall: Hall) -> None:
    session = hall.participant.begin("m")
    hall.participant.end(session, 1, 0)
    confirmed = threading.Event()
    hall.participant.end(session, 3, 1, saved=confirmed.set)
    assert confirmed.wait(WAIT_S)
    hall.participant.abandon(session, "too late")
    assert [match.own for match in hall.shelf.matches] == [1] and hall.lifecycle.finished == 1


def test_an_abandoned_match_is_recorded_and_does_not_count(hall: Hall) -> None:
    session = hall.participant.begin("m")
    actions = play(hall.participant, session, play_obs(5))
    hall.participant.abandon(session, "stuck")
    hall.participant.abandon(session, "stuck again")
    (match,) = hall.shelf.matches
    assert (match.ending, match.reason, match.own, match.other) == ("abandoned", "stuck", 0, 0)
    assert np.array_equal(match.actions, actions)
    assert (hall.lifecycle.finished, hall.lifecycle.in_play) == (0, 0)
    assert hall.ledger.events[-1] == ("ended", "abandoned", "D")
    confirmed = threading.Event()
    hall.participant.end(session, 1, 0, saved=confirmed.set)
    assert confirmed.wait(WAIT_S) and len(hall.shelf.matches) == 1


@one_game
def test_the_budget_goes_from_link_to_link(hall: Hall) -> None:
    other = hall.tournament.join("second")
    assert hall.participant.wants_match() and not other.wants_match()
    hall.participant.release()
    assert other.wants_match() and not hall.participant.wants_match()
    session = other.begin("m")
    assert not other.wants_match() and not hall.participant.wants_match()
    other.abandon(session, "stuck")
    assert hall.participant.wants_match()
    hall.participant.end(hall.participant.begin("m"), 1, 0)
    assert hall.lifecycle.is_spent and not other.wants_match()


@one_game
def test_a_release_without_a_reservation_frees_nothing(hall: Hall) -> None:
    hall.participant.release()
    assert hall.participant.wants_match()
    assert not hall.tournament.join("second").wants_match()


@one_game
def test_a_lost_connection_gives_everything_back(hall: Hall) -> None:
    assert hall.participant.wants_match()
    hall.participant.closed("gone")
    assert not hall.participant.wants_match()
    participant = hall.tournament.join("second")
    assert participant.wants_match()
    session = participant.begin("m")
    play(participant, session, play_obs(3))
    participant.closed("the server is gone")
    participant.closed("twice")
    assert [match.reason for match in hall.shelf.matches] == ["the server is gone"]
    assert hall.tournament.join("third").wants_match()
    connections = [event for event in hall.ledger.events if event[0] == "connected"]
    assert connections[:4] == [
        ("connected", "first", True), ("connected", "first", False),
        ("connected", "second", True), ("connected", "second", False),
    ]  # fmt: skip


def test_a_match_that_begins_on_a_closed_link_is_abandoned(hall: Hall) -> None:
    hall.participant.closed("gone")
    hall.participant.begin("m")
    assert hall.participant.playing == 0 and hall.shelf.matches[0].ending == "abandoned"


def test_many_matches_of_a_link_end_together_with_it(hall: Hall) -> None:
    sessions = [hall.participant.begin(str(index)) for index in range(5)]
    for session in sessions:
        play(hall.participant, session, play_obs(2))
    assert hall.participant.playing == 5
    hall.participant.closed("gone")
    assert hall.participant.playing == 0
    assert sorted(match.match_id for match in hall.shelf.matches) == list("01234")
    for _ in sessions:
        assert hall.brain.freed.acquire(timeout=WAIT_S)


def test_only_silence_within_a_match_is_stuck(hall: Hall) -> None:
    hall.now_s += 1000
    assert hall.participant.stuck() == []
    quiet, lively = hall.participant.begin("quiet"), hall.participant.begin("lively")
    hall.now_s += STUCK_AFTER_S
    assert hall.participant.stuck() == []
    play(hall.participant, lively, play_obs(1))
    hall.now_s += 1
    assert hall.participant.stuck() == [quiet]
    assert hall.tournament.join("other").stuck() == []
    hall.now_s += STUCK_AFTER_S
    assert set(hall.participant.stuck()) == {quiet, lively}
    hall.participant.abandon(quiet, "stuck")
    assert hall.participant.stuck() == [lively]


def test_every_message_is_a_sign_of_life(hall: Hall) -> None:
    hall.participant.heard()
    hall.participant.heard()
    hall.participant.rated(17.5)
    numbers = hall.ledger.numbers()
    assert (numbers.messages, numbers.rating) == (2, 17.5) and numbers.last_message_age_s is not None


def test_a_match_leaves_two_lines_in_the_log(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "competitor.daemon")
    played, lost = hall.participant.begin("m17", opponent="bob"), hall.participant.begin("m18")
    play(hall.participant, played, [*play_obs(30), *play_obs(9, seed=1)])
    hall.participant.end(played, 3, 1, won=True)
    hall.participant.abandon(lost, "stuck")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:2] == [
        "match m17 begins on first against bob, playing fake",
        "match m18 begins on first against an unknown opponent, playing fake",
    ]
    assert lines[2].startswith("match m17 ended 3:1 (played) after 39 steps, 0 not by the policy, slowest ")
    assert lines[3].startswith("match m18 abandoned (stuck) after 0 steps")
    assert len(lines) == 4


def test_connections_share_the_desk_from_many_threads(hall: Hall) -> None:
    def play_two(name: str) -> None:
        participant = hall.tournament.join(name)
        for index in range(2):
            assert participant.wants_match()
            session = participant.begin(f"{name} {index}")
            play(participant, session, play_obs(40, index))
            participant.end(session, 1, 1)
        participant.closed("done")

    threads = [threading.Thread(target=play_two, args=(f"participant {index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(hall.shelf.matches) == hall.lifecycle.finished == 16 and hall.lifecycle.in_play == 0
    for match in hall.shelf.matches:
        twin = next(other for other in hall.shelf.matches if other.match_id[-1] == match.match_id[-1])
        assert np.array_equal(match.actions, twin.actions)
    assert hall.ledger.numbers().playing == 0
