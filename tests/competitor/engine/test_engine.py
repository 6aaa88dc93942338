"""The engine: every step answered once and in time, by the brain or instead of it."""

import gc
import logging
import threading
import weakref

import numpy as np
import pytest

from competitor.engine import engine as engine_module
from competitor.engine.engine import Engine
from competitor.engine.session import Action, Session, Source
from competitor.rink import BasicOpponent
from tests.competitor.engine.fakes import WAIT_S, AnswerLog, FakeBrain, Inbox, make_engine, play_obs, running, start_obs

NAN = [np.nan] * 18
MOVED = [0.5] * 18
DEADLINE_S = 0.02


class Match:
    """A session of an engine with its inbox."""

    def __init__(self, engine: Engine, name: str = "m") -> None:
        self.engine, self.session, self.inbox = engine, Session(name), Inbox()
        self.brain = engine.open_session(self.session).name

    def submit(self, *rows: list[float]) -> None:
        for obs in rows:
            self.engine.submit(self.session, obs, self.inbox)

    def step(self, obs: list[float]) -> Action:
        self.submit(obs)
        return self.inbox.next()


def strong_opponents(count: int) -> list[BasicOpponent]:
    """The safe actors of the engine's first matches, once more."""
    generator = np.random.default_rng(7)
    return [BasicOpponent(weak=False, generator=generator.spawn(1)[0]) for _ in range(count)]


def policy_alone(rows: list[list[float]]) -> list[Action]:
    """What the brain answers to a match that is the only one."""
    with running(make_engine(FakeBrain())) as engine:
        match = Match(engine)
        return [match.step(obs) for obs in rows]


def hold_up(brain: FakeBrain, match: Match, obs: list[float]) -> None:
    """Submit a step and return while the brain is at it."""
    brain.gate.clear()
    while brain.entered.acquire(blocking=False):
        pass
    match.submit(obs)
    assert brain.entered.acquire(timeout=WAIT_S)


def test_the_policy_answers_and_is_told_what_was_sent() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    rows = play_obs(25)
    with running(make_engine(brain, answered)) as engine:
        match = Match(engine)
        actions = [match.step(obs) for obs in rows]
    assert brain.first == [[index % 10 == 0] for index in range(25)]
    sent = np.array([(0.0,) * 4, *actions[:-1]], np.float32)
    assert np.array_equal(np.array(brain.previous)[:, 0], sent)
    assert answered.sources == [Source.POLICY] * 25
    assert brain.threads == {"inference"}
    trace = match.session.trace()
    assert np.array_equal(trace.actions, actions) and np.array_equal(trace.obs, rows)


def test_waiting_steps_are_answered_together() -> None:
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        matches = [Match(engine, str(index)) for index in range(6)]
        hold_up(brain, matches[0], start_obs())
        for match in matches[1:]:
            match.submit(start_obs())
        brain.gate.set()
        for match in matches:
            match.inbox.next()
    assert [len(batch) for batch in brain.batches] == [1, 5]


def test_the_first_of_many_matches_waits_for_half_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GATHER_S", WAIT_S)
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        matches = [Match(engine, str(index)) for index in range(8)]
        for match in matches[:4]:
            match.submit(start_obs())
        for match in matches[:4]:
            match.inbox.next()
    assert [len(batch) for batch in brain.batches] == [4]


def test_nobody_waits_long_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GATHER_S", 0.01)
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        matches = [Match(engine, str(index)) for index in range(8)]
        assert matches[0].step(start_obs()) == policy_alone([start_obs()])[0]
    assert [len(batch) for batch in brain.batches] == [1]


def test_matches_that_are_over_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GATHER_S", WAIT_S)
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        matches = [Match(engine, str(index)) for index in range(8)]
        for match in matches[2:]:
            engine.close_session(match.session)
            engine.close_session(match.session)
        assert matches[0].step(start_obs()) == policy_alone([start_obs()])[0]


def test_a_second_step_of_a_match_waits_for_the_first() -> None:
    brain = FakeBrain()
    rows = play_obs(4)
    with running(make_engine(brain)) as engine:
        match, other = Match(engine), Match(engine)
        hold_up(brain, match, rows[0])
        match.submit(*rows[1:])
        other.submit(start_obs())
        brain.gate.set()
        actions = [match.inbox.next() for _ in rows]
    assert [len(batch) for batch in brain.batches] == [1, 2, 1, 1]
    assert actions == policy_alone(rows)


def test_a_new_brain_plays_new_matches_only() -> None:
    old, new = FakeBrain("old"), FakeBrain("new")
    with running(make_engine(old)) as engine:
        first, second = Match(engine, "first"), Match(engine, "second")
        engine.replace(new)
        third, fourth = Match(engine, "third"), Match(engine, "fourth")
        hold_up(old, first, start_obs())
        for match in (third, second, fourth, first):
            match.submit(MOVED)
        old.gate.set()
        for match in (first, first, second, third, fourth):
            match.inbox.next()
    assert (old.batches, new.batches) == ([[0], [1, 0]], [[0, 1]])
    assert [match.brain for match in (first, second, third, fourth)] == ["old", "old", "new", "new"]


def test_the_old_brain_is_dropped_with_its_last_match() -> None:
    old = FakeBrain("old")
    freed, gone = old.freed, weakref.ref(old)
    with running(make_engine(old, deadline_s=DEADLINE_S)) as engine:
        matches = [Match(engine, str(index)) for index in range(2)]
        for match in matches:
            match.step(start_obs())
        engine.replace(FakeBrain("new"))
        del old
        engine.close_session(matches[0].session)
        assert freed.acquire(timeout=WAIT_S)
        gc.collect()
        assert gone() is not None
        engine.close_session(matches[1].session)
        assert freed.acquire(timeout=WAIT_S)
        Match(engine).step(start_obs())  # the inference thread has gone on
        gc.collect()
        assert gone() is None


def test_a_bad_observation_never_reaches_the_network() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    rows = [start_obs(), MOVED, NAN, [1.0] * 17, [0.25] * 18]
    strong = strong_opponents(1)[0]
    with running(make_engine(brain, answered)) as engine:
        match = Match(engine)
        actions = [match.step(obs) for obs in rows]
    assert answered.sources == [0, 0, Source.BAD_OBSERVATION, Source.BAD_OBSERVATION, 0]
    assert actions[2:4] == [strong.decide(MOVED), strong.decide(MOVED)]
    assert len(brain.batches) == 3
    assert np.array_equal(brain.previous[-1], np.array([actions[3]], np.float32))
    assert match.session.trace().source.tolist() == [0, 0, 1, 1, 0]


def test_a_match_that_starts_with_a_bad_observation_starts_with_the_next_one() -> None:
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        match = Match(engine)
        assert match.step(NAN) == (0.0, 0.0, 0.0, 0.0)
        match.step(MOVED)
        match.step(MOVED)
    assert brain.first == [[True], [False]]


def test_a_bad_output_leaves_the_state_and_is_replaced() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    rows = [start_obs(), MOVED, [0.25] * 18]
    strong = strong_opponents(2)
    with running(make_engine(brain, answered)) as engine:
        match, other = Match(engine, "broken"), Match(engine, "sound")
        actions = [match.step(rows[0])]
        brain.broken = {0}
        actions.append(match.step(rows[1]))
        assert other.step(start_obs()) == policy_alone([start_obs()])[0]
        brain.broken = set()
        actions.append(match.step(rows[2]))
    assert answered.sources == [0, Source.BAD_OUTPUT, 0, 0]
    assert actions[1] == strong[0].decide(MOVED)
    assert np.array_equal(brain.previous[-1], np.array([actions[1]], np.float32))


def test_a_round_that_starts_with_a_bad_output_starts_with_the_next_step() -> None:
    brain = FakeBrain()
    brain.broken = {0}
    with running(make_engine(brain)) as engine:
        match = Match(engine)
        match.step(start_obs())
        match.step(MOVED)
        brain.broken = set()
        match.step(MOVED)
        match.step(MOVED)
    assert brain.first == [[True], [True], [True], [False]]


def test_what_lies_outside_of_the_bounds_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    brain = FakeBrain()
    monkeypatch.setattr(brain, "act", lambda slots, *_: np.array([[1.0000001, -7, 0.5, -1]] * len(slots), np.float32))
    with running(make_engine(brain)) as engine:
        assert Match(engine).step(start_obs()) == (1.0, -1.0, 0.5, -1.0)


def test_an_exception_in_the_network_costs_one_step_of_each_match(caplog: pytest.LogCaptureFixture) -> None:
    brain, answered = FakeBrain(), AnswerLog()
    strong = strong_opponents(3)
    with running(make_engine(brain, answered)) as engine:
        matches = [Match(engine, str(index)) for index in range(3)]
        for match in matches:
            match.step(start_obs())
        brain.error = RuntimeError("out of luck")
        hold_up(brain, matches[0], MOVED)
        for match in matches[1:]:
            match.submit(MOVED)
        brain.gate.set()
        actions = [match.inbox.next() for match in matches]
        assert actions == [opponent.decide(MOVED) for opponent in strong]
        brain.error = None
        for match in matches:
            match.step([0.25] * 18)
    assert answered.sources == [0] * 3 + [Source.MODEL_ERROR] * 3 + [0] * 3
    assert brain.first[-3:] == [[False]] * 3
    assert np.array_equal([row[0] for row in brain.previous[-3:]], np.array(actions, np.float32))
    assert len([record for record in caplog.records if record.exc_info]) == 2  # one for each batch


def test_a_failing_network_is_explained_once_in_a_match(caplog: pytest.LogCaptureFixture) -> None:
    brain = FakeBrain()
    brain.error = RuntimeError("out of luck")
    with running(make_engine(brain)) as engine:
        match = Match(engine, "m17")
        for obs in play_obs(20):
            match.step(obs)
        match.step(NAN)
        match.step(NAN)
    # The last line follows its answer; the engine has stopped, so it is there.
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert lines == [
        (logging.ERROR, "the network failed on 1 steps"),
        (logging.WARNING, "match m17: step 1 answered by the basic opponent (model error)"),
        (logging.WARNING, "match m17: step 21 answered by the basic opponent (bad observation)"),
    ]
    assert "out of luck" in caplog.text


@pytest.mark.parametrize("output", [np.zeros((2, 4)), np.zeros((1, 3)), np.zeros(4)])
def test_actions_of_another_shape_are_an_error_of_the_model(output, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    brain, answered = FakeBrain(), AnswerLog()
    monkeypatch.setattr(brain, "act", lambda *_: output)
    with running(make_engine(brain, answered)) as engine:
        Match(engine).step(start_obs())
    assert answered.sources == [Source.MODEL_ERROR]


def test_a_brain_without_a_slot_is_an_error_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    brain, answered = FakeBrain(), AnswerLog()
    with running(make_engine(brain, answered)) as engine:
        with monkeypatch.context() as patched:
            patched.setattr(brain, "open", lambda: 1 / 0)
            match = Match(engine)
            match.step(start_obs())
        match.step(MOVED)
    assert answered.sources == [Source.MODEL_ERROR, Source.POLICY] and brain.first == [[True]]


def test_the_deadline_is_kept_when_the_network_is_not_ready() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    strong = strong_opponents(1)[0]
    with running(make_engine(brain, answered, deadline_s=DEADLINE_S)) as engine:
        match = Match(engine)
        hold_up(brain, match, start_obs())
        actions = [match.inbox.next()]
        match.submit(MOVED)
        actions.append(match.inbox.next())
        brain.gate.set()
        assert brain.entered.acquire(timeout=WAIT_S)  # late, the network sees the second step as well
    assert match.inbox.is_empty
    assert actions == [strong.decide(start_obs()), strong.decide(MOVED)]
    assert answered.sources == [Source.DEADLINE] * 2
    assert all(latency_ms >= DEADLINE_S * 1000 for latency_ms, _ in answered.answers)
    assert np.array_equal(brain.previous[1], np.array([actions[0]], np.float32))


def test_a_late_result_enters_the_state() -> None:
    brain = FakeBrain()
    rows = [start_obs(), MOVED, [0.25] * 18]
    with running(make_engine(brain, deadline_s=0.5)) as engine:
        match = Match(engine)
        hold_up(brain, match, rows[0])
        late = match.inbox.next()
        engine.replace(brain, deadline_s=WAIT_S)  # however slow this machine is
        brain.gate.set()
        actions = [match.step(obs) for obs in rows[1:]]
    assert brain.first == [[True], [False], [False]]
    expected = FakeBrain()
    expected.is_open = {0}
    previous: Action = (0.0,) * 4
    for obs, sent, first in zip(rows, [late, *actions], (True, False, False), strict=True):
        expected.act([0], np.float32([obs]), np.array([first]), np.float32([previous]))
        previous = sent
    assert brain.memory == expected.memory


def test_other_matches_are_answered_in_time_as_well() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    with running(make_engine(brain, answered, deadline_s=DEADLINE_S)) as engine:
        matches = [Match(engine, str(index)) for index in range(5)]
        hold_up(brain, matches[0], start_obs())
        for match in matches[1:]:
            match.submit(start_obs())
        for match in matches:
            match.inbox.next()
        brain.gate.set()
    assert answered.sources == [Source.DEADLINE] * 5


def test_a_new_deadline_holds_for_what_waits_already() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    with running(make_engine(brain, answered)) as engine:
        match = Match(engine)
        hold_up(brain, match, start_obs())
        engine.replace(brain, deadline_s=DEADLINE_S)
        match.inbox.next()
        brain.gate.set()
    assert answered.sources == [Source.DEADLINE]


def test_stopping_answers_what_waits_and_what_still_comes() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    engine = make_engine(brain, answered)
    strong = strong_opponents(2)
    with running(engine):
        match, other = Match(engine, "open"), Match(engine, "waiting")
        hold_up(brain, match, start_obs())
        match.submit(MOVED)
        other.submit(start_obs())
        stopping = threading.Thread(target=engine.stop)
        stopping.start()
        answers = [match.inbox.next(), match.inbox.next(), other.inbox.next()]
        brain.gate.set()
        stopping.join(WAIT_S)
        late = match.step(MOVED)
    assert answers == [strong[0].decide(start_obs()), strong[0].decide(MOVED), strong[1].decide(start_obs())]
    assert late == strong[0].decide(MOVED)
    assert answered.sources == [Source.GONE] * 4
    assert match.inbox.is_empty and other.inbox.is_empty
    assert not {"inference", "deadline guard"} & {thread.name for thread in threading.enumerate()}


def test_a_reply_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    answered = AnswerLog()
    with running(make_engine(FakeBrain(), answered)) as engine:
        match = Match(engine, "m17")
        engine.submit(match.session, start_obs(), lambda action: [][1])
        match.step(MOVED)
        engine.submit(match.session, NAN, lambda action: [][1])
        match.step(MOVED)
    assert answered.sources == [Source.POLICY, Source.POLICY, Source.BAD_OBSERVATION, Source.POLICY]
    assert match.session.trace().source.tolist() == [0, 0, 1, 0]
    assert "match m17: the answer to step 1 could not be handed over" in caplog.text


def test_a_counter_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = AnswerLog()
    monkeypatch.setattr(answered, "answered", lambda *_: 1 / 0)
    with running(make_engine(FakeBrain(), answered)) as engine:
        match = Match(engine)
        assert [match.step(start_obs()), match.step(MOVED)] == policy_alone([start_obs(), MOVED])
    assert "ZeroDivisionError" in caplog.text


def test_a_slot_is_free_only_when_the_open_request_is_answered() -> None:
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        match = Match(engine)
        hold_up(brain, match, start_obs())
        match.submit(MOVED)
        engine.close_session(match.session)
        other = Match(engine, "next")
        other.submit(start_obs())
        assert brain.is_open == {0}
        brain.gate.set()
        actions = [match.inbox.next(), match.inbox.next()]
        other.inbox.next()
        assert brain.freed.acquire(timeout=WAIT_S)
        assert brain.is_open == {1}
    assert actions == policy_alone([start_obs(), MOVED])


def test_a_step_that_outlives_its_match_is_answered() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    with running(make_engine(brain, answered)) as engine:
        match = Match(engine)
        match.step(start_obs())
        engine.close_session(match.session)
        engine.close_session(match.session)
        assert brain.freed.acquire(timeout=WAIT_S)
        assert match.step(MOVED) == strong_opponents(1)[0].decide(MOVED)
        engine.close_session(match.session)
        Match(engine, "next").step(start_obs())
    assert answered.sources == [Source.POLICY, Source.GONE, Source.POLICY]
    assert brain.batches == [[0], [0]]
    assert not brain.freed.acquire(blocking=False)


def test_a_match_without_a_step_needs_no_slot() -> None:
    brain = FakeBrain()
    with running(make_engine(brain)) as engine:
        match = Match(engine)
        engine.close_session(match.session)
        Match(engine).step(start_obs())
    assert brain.batches == [[0]] and not brain.freed.acquire(blocking=False)


def test_latency_is_from_submission_to_answer() -> None:
    now = [100.0]
    brain, answered = FakeBrain(), AnswerLog()
    with running(make_engine(brain, answered, clock=lambda: now[0])) as engine:
        match = Match(engine)
        hold_up(brain, match, start_obs())
        now[0] += 0.25
        brain.gate.set()
        match.inbox.next()
        match.step(MOVED)
    assert answered.answers == [(250.0, Source.POLICY), (0.0, Source.POLICY)]
    assert match.session.trace().latency_ms.tolist() == [250.0, 0.0]


def test_many_threads_get_every_answer_once() -> None:
    brain, answered = FakeBrain(), AnswerLog()
    rows = [play_obs(40, seed) for seed in range(12)]
    expected = [policy_alone(own) for own in rows]
    actions: dict[int, list[Action]] = {}

    def play(index: int, engine: Engine) -> None:
        match = Match(engine, str(index))
        actions[index] = [match.step(obs) for obs in rows[index]]
        engine.close_session(match.session)
        assert match.inbox.is_empty

    with running(make_engine(brain, answered)) as engine:
        threads = [threading.Thread(target=play, args=(index, engine)) for index in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert actions == dict(enumerate(expected))
    assert answered.sources == [Source.POLICY] * 480
