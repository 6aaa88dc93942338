"""The engine: one network for all matches; observations that wait are answered together.

Two threads: the inference thread takes the first waiting step of every match and has the brain act on all of them
at once; the deadline guard answers what takes too long. Whoever claims a step first answers it, the other one does
not. What the network found out about a step that the guard has answered still enters the match's state.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from competitor.engine.guard import DeadlineGuard
from competitor.engine.safety import SafeActor, UnsoundAction, sanitise
from competitor.engine.session import ACTION_SIZE, ZEROS, Action, Reply, Request, Session, Source

log = logging.getLogger("competitor.daemon")

STOP_WITHIN_S = 2.0
"""How long stopping waits for a thread; a hung network must not keep the daemon."""


GATHER_S = 0.002
"""How long the first waiting step waits for those of other matches, until half of the matches have one.

Under load a network asked for 64 answers at once does a quarter of the work of one that is asked for them in tens.
A single match, or the first of two, never waits.
"""


class Brain(Protocol):
    """Weights and a table of latent states; the engine calls everything from its inference thread."""

    @property
    def name(self) -> str:
        """The checkpoint as the user named it."""

    @property
    def digest(self) -> str:
        """The sha256 of the weights."""

    def open(self) -> int:
        """Return a free slot of the table; its state is void until a row with is_first."""

    def close(self, slot: int) -> None:
        """Free a slot."""

    def act(
        self,
        slots: Sequence[int],
        obs: NDArray[np.float32],
        is_first: NDArray[np.bool_],
        previous: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return raw actions (n, 4) for obs (n, 18), is_first (n,) and the actions sent before, previous (n, 4).

        A row whose new state or action is not finite returns NaN and keeps its old state. If it raises, all
        states are as they were.
        """

    def self_test(self) -> None:
        """Act on ordinary observations in batches of 1 to 64 rows; raises CheckpointError if that goes wrong."""


class AnswerCounter(Protocol):
    """Hears of every answer."""

    def answered(self, latency_ms: float, source: Source) -> None:
        """A step was answered, so long after it came in; `source` says who decided."""


class Engine:
    """Answers every submitted step exactly once: by the brain in time, or else by the match's safe actor."""

    def __init__(
        self,
        brain: Brain,
        *,
        deadline_s: float,
        telemetry: AnswerCounter,
        generator: np.random.Generator,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`generator` is the chance of the safe actors; `telemetry.answered` hears of every answer."""
        self._brain, self._telemetry, self._generator, self._clock = brain, telemetry, generator, clock
        self._guard = DeadlineGuard(deadline_s, lambda step: self._answer_safely(step, Source.DEADLINE), clock)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._ready: list[Session] = []  # have a waiting step, and none in the works
        self._retiring: list[Session] = []  # are over, and their slots not yet free
        self._errands: list[tuple[Future[None], Callable[[], None]]] = []
        self._playing = 0  # matches
        self._enough = 1  # waiting steps for which the inference thread is woken up
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    @property
    def brain(self) -> Brain:
        """The brain that new matches get."""
        return self._brain

    def start(self) -> None:
        """Start the inference thread and the deadline guard."""
        self._thread.start()
        self._guard.start()

    def warm_up(self) -> None:
        """Run the brain's self-test in the inference thread; raises what it raises. Call it after `start`."""
        done: Future[None] = Future()
        with self._work:
            self._errands.append((done, self._brain.self_test))
            self._work.notify()
        done.result()

    def stop(self) -> None:
        """End the threads; steps that still wait are answered with safe actions, later ones as well."""
        with self._work:
            self._is_stopped = True
            self._work.notify()
        for request in self._guard.stop():
            self._answer_safely(request, Source.GONE)
        self._thread.join(STOP_WITHIN_S)
        self._guard.join(STOP_WITHIN_S)

    def replace(self, brain: Brain, *, deadline_s: float | None = None) -> None:
        """New matches play with `brain`; running ones keep theirs, which is dropped with the last of them.

        A new `deadline_s` holds for all steps at once.
        """
        with self._lock:
            self._brain = brain
        if deadline_s is not None:
            self._guard.set_deadline(deadline_s)

    def open_session(self, session: Session) -> None:
        """Give a match its brain and its safe actor."""
        with self._lock:
            self._playing += 1
            session.brain, session.checkpoint, session.digest = self._brain, self._brain.name, self._brain.digest
            session.safe = SafeActor(self._generator.spawn(1)[0])

    def close_session(self, session: Session) -> None:
        """The match is over: what it waits for is still answered, then its slot is free."""
        with self._work:
            self._playing -= not session.is_closed
            session.is_closed = True
            if not session.waiting:
                self._retiring.append(session)
                self._work.notify()

    def submit(self, session: Session, obs: Sequence[float], reply: Reply) -> None:
        """Have a step answered: `reply` is called once, from a thread of the engine, and the call returns at once.

        After `stop` there is no such thread any more, and the calling one answers.
        """
        request = session.take(obs, reply, self._clock())
        with self._work:
            is_stopped = self._is_stopped
            if not is_stopped:
                self._guard.watch(request)
                session.waiting.append(request)
                if len(session.waiting) == 1:
                    self._ready.append(session)
                    if len(self._ready) >= self._enough:
                        self._work.notify()
        if is_stopped:
            self._answer_safely(request, Source.GONE)

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._take_turn()
            except Exception:  # the guard answers what this leaves behind
                log.exception("the inference thread stumbled and goes on")
        for done, _ in self._errands:
            done.cancel()

    def _wait_for_work(self) -> bool:
        """Return True when there is something to do, False at the end."""
        with self._work:
            self._enough = 1
            while not (self._ready or self._retiring or self._errands or self._is_stopped):
                self._work.wait()
            self._enough = self._playing // 2
            if 0 < len(self._ready) < self._enough and not self._is_stopped:
                self._work.wait(GATHER_S)
            return not self._is_stopped

    def _take_turn(self) -> None:
        with self._lock:
            requests, self._ready = [session.waiting[0] for session in self._ready], []
            errands, self._errands = self._errands, []
        for done, errand in errands:
            _run_errand(done, errand)
        try:
            self._serve(requests)
        finally:
            self._pass_on(requests)
        self._retire()

    def _serve(self, requests: list[Request]) -> None:
        """Answer one step of each of several matches."""
        thinkable = []
        for request in requests:
            session = request.session
            session.is_fresh = session.is_fresh or request.is_first
            if session.brain is None:
                self._answer_safely(request, Source.GONE)
            elif request.row is None:
                self._answer_safely(request, Source.BAD_OBSERVATION)
            else:
                thinkable.append(request)
        for _, group in groupby(sorted(thinkable, key=_brain_id), key=_brain_id):
            self._think(list(group))

    def _think(self, requests: list[Request]) -> None:
        """Answer steps of matches that share a brain."""
        try:
            outputs = _act(requests)
        except Exception as error:
            if any(Source.MODEL_ERROR not in request.session.told for request in requests):
                log.error("the network failed on %d steps", len(requests), exc_info=error)
            for request in requests:
                self._answer_safely(request, Source.MODEL_ERROR)
            return
        for request, output in zip(requests, outputs, strict=True):
            self._conclude(request, output)

    def _conclude(self, request: Request, output: list[float]) -> None:
        try:
            action = sanitise(output)
        except UnsoundAction:
            self._answer_safely(request, Source.BAD_OUTPUT)
        else:
            request.session.is_fresh = False
            self._answer(request, action, Source.POLICY)

    def _pass_on(self, requests: list[Request]) -> None:
        """Done with these steps: let the next ones of their matches come up."""
        with self._lock:
            for request in requests:
                session = request.session
                session.waiting.popleft()
                session.previous = request.action or ZEROS
                if session.waiting:
                    self._ready.append(session)
                elif session.is_closed:
                    self._retiring.append(session)

    def _retire(self) -> None:
        with self._lock:
            # A match with a step that still came is here again after that one.
            sessions, self._retiring = [session for session in self._retiring if not session.waiting], []
        for session in sessions:
            brain, slot, session.brain, session.slot = session.brain, session.slot, None, None
            if brain is not None and slot is not None:
                brain.close(slot)

    def _answer_safely(self, request: Request, source: Source) -> None:
        if request.action is None:
            safe = request.session.safe
            self._answer(request, ZEROS if safe is None else safe.act(request.last_good), source)

    def _answer(self, request: Request, action: Action, source: Source) -> None:
        """Send an answer, unless the step has one; never raises."""
        session = request.session
        with self._lock:
            if request.action is not None:
                return
            request.action = action
            is_news = source is not Source.POLICY and source not in session.told
            session.told.add(source)
        latency_ms = (self._clock() - request.received_s) * 1000
        session.answered(request.index, action, source, latency_ms)
        try:
            try:
                request.reply(action)
            finally:
                self._telemetry.answered(latency_ms, source)
        except Exception:
            log.exception("%s: the answer to step %d could not be handed over", session, request.index + 1)
        if is_news:
            reason = source.name.lower().replace("_", " ")
            log.warning("%s: step %d answered by the basic opponent (%s)", session, request.index + 1, reason)


def _brain_id(request: Request) -> int:
    return id(request.session.brain)


def _act(requests: list[Request]) -> list[list[float]]:
    """Return the brain's actions for steps of matches that share it; opens their slots at the first step."""
    sessions = [request.session for request in requests]
    brain = sessions[0].brain
    assert brain is not None
    for session in sessions:
        if session.slot is None:
            session.slot = brain.open()
    outputs = brain.act(
        [session.slot for session in sessions if session.slot is not None],
        np.array([request.row for request in requests], np.float32),
        np.array([session.is_fresh for session in sessions]),
        np.array([session.previous for session in sessions], np.float32),
    )
    if outputs.shape != (len(requests), ACTION_SIZE):
        raise ValueError(f"the network returned actions of shape {outputs.shape} for {len(requests)} matches")
    rows: list[list[float]] = outputs.tolist()
    return rows


def _run_errand(done: Future[None], errand: Callable[[], None]) -> None:
    try:
        errand()
    except Exception as error:
        done.set_exception(error)
    else:
        done.set_result(None)
