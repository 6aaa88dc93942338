"""The tournament: matches begin, are played and end; budget, liveness, records."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

from competitor.daemon.tournament import Participant
from competitor.engine.session import Session, Source
from competitor.play.finished_match import MatchFacts
from tests.competitor.daemon.shared import Rig
from tests.competitor.engine.fakes import WAIT_S, Inbox, play_obs, running


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(**getattr(request, "param", {}))
    with running(rig.engine):
        yield rig


@pytest.fixture
def participant(rig: Rig) -> Participant:
    return rig.tournament.join("first")


one_game = pytest.mark.parametrize("rig", [{"games": 1}], indirect=True)
short_wait = pytest.mark.parametrize("rig", [{"saved_within_s": 0.01}], indirect=True)


def play(participant: Participant, session: Session, rows: list[list[float]]) -> list[tuple[float, ...]]:
    inbox, actions = Inbox(), []
    for obs in rows:
        participant.step(session, obs, inbox)
        actions.append(inbox.next())
    return actions


def test_a_match_from_start_to_record(rig: Rig, participant: Participant) -> None:
    rows, saved = play_obs(40), threading.Event()
    session = participant.begin("m17", opponent="bob")
    rig.wall_s += 30
    actions = play(participant, session, rows)
    participant.end(session, 3, 1, won=True, rating=24.5, saved=saved.set)
    assert saved.wait(WAIT_S)
    (match,) = rig.kept.matches
    about = {field.name: getattr(match, field.name) for field in fields(MatchFacts)}
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
    }
    assert match.result == "W"
    assert np.array_equal(match.obs, rows) and np.array_equal(match.actions, actions)
    assert np.flatnonzero(match.is_first).tolist() == [0, 10, 20, 30]
    assert not match.source.any() and match.latency_ms.shape == (40,)
    assert rig.telemetry.events == [("connected", "first", True), ("begun",), ("ended", "played", "W")]
    assert rig.telemetry.numbers().rating == 24.5
    assert rig.brain.freed.acquire(timeout=WAIT_S)


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
    rig: Rig, participant: Participant, steps: int, own: int, other: int, won: bool | None, ending: str, result: str
) -> None:
    session = participant.begin("m")
    play(participant, session, play_obs(steps))
    participant.end(session, own, other, won=won)
    (match,) = rig.kept.matches
    assert (match.ending, match.result, len(match.obs)) == (ending, result, steps)
    assert rig.lifecycle.finished == 1


def test_a_match_of_other_length_is_played_when_its_rounds_are(rig: Rig, participant: Participant) -> None:
    session = participant.begin("m", rounds=2)
    play(participant, session, play_obs(20))
    participant.end(session, 1, 1)
    assert (rig.kept.matches[0].ending, rig.kept.matches[0].rounds) == ("played", 2)


def test_a_step_that_is_open_at_the_end_is_answered_and_not_in_the_record(rig: Rig, participant: Participant) -> None:
    session, inbox = participant.begin("m"), Inbox()
    rows = play_obs(3)
    play(participant, session, rows[:2])
    rig.brain.gate.clear()
    participant.step(session, rows[2], inbox)
    participant.end(session, 1, 0, won=False)
    rig.brain.gate.set()
    inbox.next()
    assert len(rig.kept.matches[0].obs) == 2
    rig.tournament.engine.stop()  # then the last answer is counted as well
    assert rig.telemetry.sources == [Source.POLICY] * 3


@short_wait
def test_the_end_is_confirmed_in_time_when_the_disk_is_slow(
    rig: Rig, participant: Participant, caplog: pytest.LogCaptureFixture
) -> None:
    rig.kept.delays = True
    confirmed = threading.Semaphore(0)
    participant.end(participant.begin("m17"), 1, 1, saved=confirmed.release)
    assert confirmed.acquire(timeout=WAIT_S)
    rig.kept.waiting[0]()
    assert not confirmed.acquire(blocking=False)


def test_the_end_is_confirmed_when_the_record_cannot_be_kept(
    rig: Rig, participant: Participant, caplog: pytest.LogCaptureFixture
) -> None:
    rig.kept.error = OSError("no space left")
    confirmed = threading.Event()
    participant.end(participant.begin("m17"), 1, 1, saved=confirmed.set)
    assert confirmed.is_set() and rig.lifecycle.finished == 1
    assert "match m17: the record could not be kept" in caplog.text and "no space left" in caplog.text


def test_a_confirmation_that_fails_is_logged(
    rig: Rig, participant: Participant, caplog: pytest.LogCaptureFixture
) -> None:
    participant.end(participant.begin("m17"), 1, 1, saved=lambda: [][1])
    assert "match m17: the end could not be confirmed" in caplog.text and len(rig.kept.matches) == 1


def test_an_abandoned_match_is_recorded_and_does_not_count(rig: Rig, participant: Participant) -> None:
    session = participant.begin("m")
    actions = play(participant, session, play_obs(5))
    participant.abandon(session, "stuck")
    participant.abandon(session, "stuck again")
    (match,) = rig.kept.matches
    assert (match.ending, match.reason, match.own, match.other) == ("abandoned", "stuck", 0, 0)
    assert np.array_equal(match.actions, actions)
    assert (rig.lifecycle.finished, rig.lifecycle.in_play) == (0, 0)
    assert rig.telemetry.events[-1] == ("ended", "abandoned", "D")
    confirmed = threading.Event()
    participant.end(session, 1, 0, saved=confirmed.set)
    assert confirmed.wait(WAIT_S) and len(rig.kept.matches) == 1


def test_a_match_that_begins_on_a_closed_connection_is_abandoned(rig: Rig, participant: Participant) -> None:
    participant.closed("gone")
    participant.begin("m")
    assert rig.kept.matches[0].ending == "abandoned"


def test_a_match_leaves_two_lines_in_the_log(
    rig: Rig, participant: Participant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "competitor.daemon")
    played, lost = participant.begin("m17", opponent="bob"), participant.begin("m18")
    play(participant, played, [*play_obs(30), *play_obs(9, seed=1)])
    participant.end(played, 3, 1, won=True)
    participant.abandon(lost, "stuck")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:2] == [
        "match m17 begins on first against bob, playing fake",
        "match m18 begins on first against an unknown opponent, playing fake",
    ]
    assert lines[2].startswith("match m17 ended 3:1 (played) after 39 steps, 0 not by the policy, slowest ")
    assert lines[3].startswith("match m18 abandoned (stuck) after 0 steps")
    assert len(lines) == 4
