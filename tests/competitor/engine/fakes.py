"""Parts for the tests of engine and daemon: a brain that can be held up, inboxes for answers, observations."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from competitor.engine.engine import Engine
from competitor.engine.session import START_POSE, Action, Source
from competitor.play.finished_match import FinishedMatch

WAIT_S = 60.0  # for what happens at once, unless the test fails or the machine is busy
NEVER_S = 1000.0  # a deadline that no test reaches


def start_obs(puck_x: float = 1.5, puck_y: float = 0.5) -> list[float]:
    """The first observation of a round."""
    return [*START_POSE, puck_x, puck_y, 0.0, 0.0, 0.0, 0.0]


def play_obs(steps: int, seed: int = 0) -> list[list[float]]:
    """Observations of a match whose rounds are 10 steps long, exact in float32 as on the wire."""
    random = np.random.default_rng(seed)
    rows = random.uniform(-3, 3, (steps, 18)).astype(np.float32).astype(np.float64).tolist()
    for index in range(0, steps, 10):
        x, y = random.uniform(1, 2), random.uniform(-1, 1)
        rows[index] = start_obs(float(np.float32(x * random.choice([-1, 1]))), float(np.float32(y)))
    return rows


class FakeBrain:
    """A memory that anybody can follow: half of what was, plus what is seen and what was done.

    `gate` holds `act` up while it is cleared, `entered` counts its calls, `error` is raised by it, and rows with a
    slot of `broken` come back as NaN.
    """

    digest = "d1835"

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.memory: dict[int, float] = {}
        self.is_open: set[int] = set()
        self.batches: list[list[int]] = []
        self.previous: list[list[list[float]]] = []
        self.first: list[list[bool]] = []
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.error: BaseException | None = None
        self.broken: set[int] = set()
        self.freed = threading.Semaphore(0)
        self.threads: set[str] = set()

    def open(self) -> int:
        self.threads.add(threading.current_thread().name)
        slot = min(set(range(len(self.is_open) + 1)) - self.is_open)
        self.is_open.add(slot)
        return slot

    def close(self, slot: int) -> None:
        self.is_open.remove(slot)
        self.freed.release()

    def act(self, slots: Sequence[int], obs: np.ndarray, is_first: np.ndarray, previous: np.ndarray) -> np.ndarray:
        assert self.is_open.issuperset(slots) and len(set(slots)) == len(slots)
        assert obs.shape == (len(slots), 18) and obs.dtype == previous.dtype == np.float32
        assert is_first.shape == (len(slots),) and is_first.dtype == np.bool_ and previous.shape == (len(slots), 4)
        self.threads.add(threading.current_thread().name)
        self.batches.append(list(slots))
        self.previous.append(previous.tolist())
        self.first.append(is_first.tolist())
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        return np.array([self._step(*row) for row in zip(slots, obs, is_first, previous, strict=True)], np.float32)

    def _step(self, slot: int, obs: np.ndarray, is_first: bool, previous: np.ndarray) -> list[float]:
        if slot in self.broken:
            return [np.nan] * 4
        before = 0.0 if is_first else 0.5 * self.memory[slot] + float(previous.sum())
        self.memory[slot] = before + float(obs.sum())
        return [np.tanh(self.memory[slot] / scale) for scale in (3.0, 5.0, 7.0, 9.0)]

    def self_test(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error


class Inbox:
    """Takes the answers to the steps of one match."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Action] = queue.SimpleQueue()

    def __call__(self, action: Action) -> None:
        self._answers.put(action)

    def next(self) -> Action:
        """The next answer; fails if none comes."""
        return self._answers.get(timeout=WAIT_S)

    @property
    def is_empty(self) -> bool:
        return self._answers.empty()


class AnswerLog:
    """Remembers every answer in order."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, Source]] = []

    def answered(self, latency_ms: float, source: Source) -> None:
        self.answers.append((latency_ms, source))

    @property
    def sources(self) -> list[Source]:
        """Who gave the answers, in order."""
        return [source for _, source in self.answers]


class KeptMatches:
    """A keeper of matches: they are on the disk at once, unless `delays` is set; `error` is raised instead."""

    def __init__(self) -> None:
        self.matches: list[FinishedMatch] = []
        self.waiting: list[Callable[[], None]] = []
        self.delays = False
        self.error: Exception | None = None

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        if self.error is not None:
            raise self.error
        self.matches.append(match)
        if self.delays:
            self.waiting.append(saved)
        else:
            saved()


def make_engine(brain, counter: AnswerLog | None = None, *, deadline_s: float = NEVER_S, **others) -> Engine:  # type: ignore[no-untyped-def]
    """An engine that is not started."""
    answered = {} if counter is None else {"answered": counter.answered}
    return Engine(brain, deadline_s=deadline_s, generator=np.random.default_rng(7), **answered, **others)


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """The engine at work; its threads are gone afterwards."""
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
