"""Any player in the engine: a memory for each match, one thread, and what a bad class cannot do."""

import threading
from pathlib import Path

import numpy as np
import pytest

from competitor.engine.brain import load_brain
from competitor.engine.player_brain import OneThread, PlayerBrain
from competitor.engine.session import Session, Source
from competitor.errors import PlayerError
from competitor.players import ForeignPlayer
from tests.competitor.engine.fakes import WAIT_S, AnswerLog, Inbox, make_engine, play_obs, running

USER_CLASSES = """
import sys
import threading

built, threads = [], set()


class Counting:
    def __init__(self):
        built.append(self)
        threads.add(threading.current_thread().name)

    def reset(self, slots):
        assert slots == 1
        self.steps = 0

    def act(self, obs, is_first):
        threads.add(threading.current_thread().name)
        self.steps = 1 if is_first[0] else self.steps + 1
        return [[self.steps / 100, 0, 0, 2]]


class Leaving(Counting):
    def act(self, obs, is_first):
        if self.steps:
            sys.exit(0)
        return super().act(obs, is_first)


class Dividing(Counting):
    def act(self, obs, is_first):
        return [[float("nan")] * 4] if self.steps else super().act(obs, is_first)


class Interrupting(Counting):
    def act(self, obs, is_first):
        raise KeyboardInterrupt


class Exiting(Counting):
    def __init__(self):
        sys.exit("I need a model file")


class Hanging(Counting):
    gate = threading.Event()

    def act(self, obs, is_first):
        if self.steps:
            self.gate.wait()
        return super().act(obs, is_first)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"classes_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USER_CLASSES)
    monkeypatch.chdir(tmp_path)
    return name


def act(brain: PlayerBrain, slots: list[int], first: bool = False) -> np.ndarray:
    count = len(slots)
    return brain.act(slots, np.ones((count, 18), np.float32), np.full(count, first), np.zeros((count, 4), np.float32))


def user_brain(spec: str, **options: int) -> PlayerBrain:
    brain = load_brain(spec, **options)
    assert isinstance(brain, PlayerBrain)
    return brain


def test_matches_remember_apart_in_whatever_batches(module: str) -> None:
    brain = user_brain(f"{module}:Counting")
    one, two = brain.open(), brain.open()
    act(brain, [one, two], first=True)
    act(brain, [two])
    act(brain, [two])
    assert np.allclose(act(brain, [two, one])[:, 0], [0.04, 0.02])


def test_a_freed_slot_is_taken_again_and_forgets(module: str) -> None:
    brain = user_brain(f"{module}:Counting")
    slot = brain.open()
    act(brain, [slot], first=True)
    brain.close(slot)
    assert brain.open() == slot
    assert np.allclose(act(brain, [slot])[:, 0], 0.01)


def test_one_thread_builds_and_plays_and_the_first_players_are_ready(module: str) -> None:
    brain = user_brain(f"{module}:Counting", ready=3)
    brain.self_test()
    classes = __import__(module)
    assert len(classes.built) == 3 and classes.threads == {f"player {module}"}
    user_brain(f"{module}:Dividing").self_test()  # another class, bot or reload: still never two at once
    assert classes.threads == {f"player {module}"}


@pytest.mark.parametrize("name", ["Leaving", "Dividing"])
def test_a_class_that_fails_is_answered_for_by_the_basic_opponent(module: str, name: str) -> None:
    answered, inbox, session = AnswerLog(), Inbox(), Session("m")
    brain = user_brain(f"{module}:{name}")
    brain.self_test()
    with running(make_engine(brain, answered)) as engine:
        engine.open_session(session)
        actions = []
        for obs in play_obs(3):
            engine.submit(session, obs, inbox)
            actions.append(inbox.next())
    assert actions[0] == (pytest.approx(0.01), 0.0, 0.0, 1.0)
    failed = Source.MODEL_ERROR if name == "Leaving" else Source.BAD_OUTPUT
    assert answered.sources == [Source.POLICY, failed, failed]
    assert np.isfinite(actions).all() and np.abs(actions).max() <= 1.0


def test_a_slow_class_is_answered_for_at_the_deadline(module: str) -> None:
    answered, inbox, session = AnswerLog(), Inbox(), Session("m")
    brain = user_brain(f"{module}:Hanging")
    brain.self_test()
    with running(make_engine(brain, answered, deadline_s=0.05)) as engine:
        engine.open_session(session)
        engine.submit(session, play_obs(1)[0], inbox)
        inbox.next()
        engine.submit(session, play_obs(2)[1], inbox)
        answer = inbox.next()
        __import__(module).Hanging.gate.set()
    assert answered.sources[-1] is Source.DEADLINE
    assert np.isfinite(answer).all()


def test_one_failing_match_does_not_spoil_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Picky:
        def reset(self, slots: int) -> None:
            pass

        def act(self, obs: np.ndarray, is_first: np.ndarray) -> np.ndarray:
            return 1 / np.array(obs[0, 0] or "zero", dtype=np.float32) * np.ones((1, 4))

    brain = PlayerBrain(lambda number: ForeignPlayer(Picky(), "picky"), name="picky", digest="")
    slots = [brain.open(), brain.open()]
    obs = np.array([[2.0] * 18, [0.0] * 18], np.float32)
    for _ in range(2):
        rows = brain.act(slots, obs, np.zeros(2, np.bool_), np.zeros((2, 4), np.float32))
        assert rows[0].tolist() == [0.5] * 4 and np.isnan(rows[1]).all()
    assert [record.message for record in caplog.records if "picky failed in act()" in record.message] != []
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Absent", "cannot be loaded: AttributeError"),
        ("Exiting", "cannot be loaded: it called sys.exit('I need a model file')"),
        ("Interrupting", "raised KeyboardInterrupt"),
    ],
)
def test_a_class_that_cannot_play_is_told_before_the_first_match(module: str, name: str, words: str) -> None:
    with pytest.raises(PlayerError) as caught:
        user_brain(f"{module}:{name}").self_test()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_named_players_play_with_a_match_s_own_chance() -> None:
    for spec in ("weak", "strong", "random", "sparring:striker"):
        brain = user_brain(spec, seed=3)
        brain.self_test()
        assert brain.name == spec and len(brain.digest) == 64
        actions = act(brain, [brain.open()], first=True)
        assert actions.shape == (1, 4) and np.isfinite(actions).all()
    chance = user_brain("random", seed=3)
    one, two = act(chance, [chance.open(), chance.open()], first=True)
    assert not np.array_equal(one, two)


def test_the_thread_ends_with_its_owner() -> None:
    thread = OneThread("short-lived")
    worker: threading.Thread = thread.call(threading.current_thread)
    assert worker.is_alive()
    del thread
    worker.join(WAIT_S)
    assert not worker.is_alive()
