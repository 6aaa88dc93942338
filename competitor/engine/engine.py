"""The engine: one network for all matches; observations that wait are answered together.

Two threads: the inference thread takes the first waiting step of every match and has the brain act on all of them
at once; the deadline guard answers what takes too long. Whoever claims a step first answers it, the other one does
not. What the network found out about a step that the guard has answered still enters the match's state.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from competitor.engine.guard import Brain, DeadlineGuard, Match, Request
from competitor.engine.safety import SafeActor, UnsoundAction, sanitise
from competitor.engine.session import ACTION_SIZE, ZEROS, Action, Reply, Session, Source

log = logging.getLogger(__name__)

STOP_WITHIN_S = 2.0  # how long stopping waits for a thread; a hung network must not keep the daemon
GATHER_S = 0.002
"""How long the first waiting step waits for those of other matches, until half of the matches have one.

Under load a network asked for 64 answers at once does a quarter of the work of one that is asked for them in tens.
A single match, or the first of two, never waits.
"""


Answered = Callable[[float, Source], None]
"""Hears of every answer, its latency in ms and who gave it, from the engine's threads; must return at once."""


class Engine:
    """Answers every submitted step exactly once: by the brain in time, or else by the match's safe actor."""

    def __init__(
        self,
        brain: Brain,
        *,
        deadline_s: float,
        generator: np.random.Generator,
        answered: Answered = lambda latency_ms, source: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`generator` is the chance of the safe actors."""
        self._brain, self._generator, self._answered, self._clock = brain, generator, answered, clock
        self._guard = DeadlineGuard(deadline_s, lambda late: self._answer_safely(late, Source.DEADLINE), clock)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._matches: weakref.WeakKeyDictionary[Session, Match] = weakref.WeakKeyDictionary()
        self._ready: list[Match] = []  # have a waiting step, and none in the works
        self._playing = 0  # matches
        self._enough = 1  # waiting steps for which the inference thread is woken up
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the inference thread and the deadline guard."""
        self._thread.start()
        self._guard.start()

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

    def open_session(self, session: Session) -> Brain:
        """Give a match its safe actor and its brain, which is returned."""
        with self._lock:
            self._playing += 1
            self._matches[session] = Match(self._brain, SafeActor(self._generator.spawn(1)[0]))
            return self._brain

    def close_session(self, session: Session) -> None:
        """The match is over: what it waits for is still answered, then its slot is free."""
        with self._lock:
            match = self._matches[session]
            self._playing -= not match.is_closed
            match.is_closed = True
            if not match.waiting:
                match.free()

    def submit(self, session: Session, obs: Sequence[float], reply: Reply) -> None:
        """Have a step answered: `reply` is called once, from a thread of the engine, and the call returns at once.

        After `stop` there is no such thread any more, and the calling one answers.
        """
        received_s = self._clock()
        match = self._matches[session]
        request = Request(session, match, session.take(obs), reply, received_s)
        with self._work:
            is_stopped = self._is_stopped
            if not is_stopped:
                self._guard.watch(request)
                match.waiting.append(request)
                if len(match.waiting) == 1:
                    self._ready.append(match)
                    if len(self._ready) >= self._enough:
                        self._work.notify()
        if is_stopped:
            self._answer_safely(request, Source.GONE)

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._take_turn()
            except Exception:  # the guard answers what this leaves behind
                log.exception("an error in the inference thread, which goes on")

    def _wait_for_work(self) -> bool:
        """Return True when there is something to do, False at the end."""
        with self._work:
            self._enough = 1
            while not (self._ready or self._is_stopped):
                self._work.wait()
            self._enough = self._playing // 2
            if 0 < len(self._ready) < self._enough and not self._is_stopped:
                self._work.wait(GATHER_S)
            return not self._is_stopped

    def _take_turn(self) -> None:
        with self._lock:
            requests, self._ready = [match.waiting[0] for match in self._ready], []
        try:
            self._serve(requests)
        finally:
            self._done_with(requests)

    def _serve(self, requests: list[Request]) -> None:
        """Answer one step of each of several matches."""
        answerable = []
        for request in requests:
            match = request.match
            match.is_fresh = match.is_fresh or request.step.is_first
            if match.brain is None:
                self._answer_safely(request, Source.GONE)
            elif request.step.row is None:
                self._answer_safely(request, Source.BAD_OBSERVATION)
            else:
                answerable.append(request)

        def by_brain(request: Request) -> int:
            return id(request.match.brain)

        for _, group in groupby(sorted(answerable, key=by_brain), key=by_brain):
            self._infer(list(group))

    def _infer(self, requests: list[Request]) -> None:
        """Answer steps of matches that share a brain."""
        try:
            outputs = _act(requests)
        except Exception as error:
            if any(Source.MODEL_ERROR not in request.match.seen for request in requests):
                log.error("the network failed on %d steps", len(requests), exc_info=error)
            for request in requests:
                self._answer_safely(request, Source.MODEL_ERROR)
            return
        for request, output in zip(requests, outputs, strict=True):
            self._answer_by_policy(request, output)

    def _answer_by_policy(self, request: Request, output: list[float]) -> None:
        try:
            action = sanitise(output)
        except UnsoundAction:
            self._answer_safely(request, Source.BAD_OUTPUT)
        else:
            request.match.is_fresh = False
            self._answer(request, action, Source.POLICY)

    def _done_with(self, requests: list[Request]) -> None:
        """Done with these steps: let the next ones of their matches come up."""
        with self._lock:
            for request in requests:
                match = request.match
                match.waiting.popleft()
                match.previous = request.action or ZEROS
                if match.waiting:
                    self._ready.append(match)
                elif match.is_closed:
                    match.free()

    def _answer_safely(self, request: Request, source: Source) -> None:
        if request.action is None:
            self._answer(request, request.match.safe.act(request.step.last_good), source)

    def _answer(self, request: Request, action: Action, source: Source) -> None:
        """Send an answer, unless the step has one; never raises."""
        session, seen = request.session, request.match.seen
        with self._lock:
            if request.action is not None:
                return
            request.action = action
            is_news = source is not Source.POLICY and source not in seen
            seen.add(source)
        latency_ms = (self._clock() - request.received_s) * 1000
        session.answered(request.step.index, action, source, latency_ms)
        try:
            try:
                request.reply(action)
            finally:
                self._answered(latency_ms, source)
        except Exception:
            log.exception("%s: the answer to step %d could not be handed over", session, request.step.index + 1)
        if is_news:
            reason = source.name.lower().replace("_", " ")
            log.warning("%s: step %d answered by the basic opponent (%s)", session, request.step.index + 1, reason)


def _act(requests: list[Request]) -> list[list[float]]:
    """Return the brain's actions for steps of matches that share it; opens their slots at the first step."""
    matches = [request.match for request in requests]
    brain = matches[0].brain
    assert brain is not None
    for match in matches:
        if match.slot is None:
            match.slot = brain.open()
    outputs = brain.act(
        [match.slot for match in matches if match.slot is not None],
        np.array([request.step.row for request in requests], np.float32),
        np.array([match.is_fresh for match in matches]),
        np.array([match.previous for match in matches], np.float32),
    )
    if outputs.shape != (len(requests), ACTION_SIZE):
        raise ValueError(f"the network returned actions of shape {outputs.shape} for {len(requests)} matches")
    rows: list[list[float]] = outputs.tolist()
    return rows
