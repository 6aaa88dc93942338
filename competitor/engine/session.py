"""One match: its observations in the order they came, where rounds begin, and what was answered."""

import logging
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.rink.constants import MOST_STEPS

OBS_SIZE = 18
ACTION_SIZE = 4

Action = tuple[float, float, float, float]  # four finite doubles, each in [-1, 1]: goes on the wire as it is
Rows = NDArray[np.float32]
Flags = NDArray[np.bool_]
Reply = Callable[[Action], object]
"""Takes the answer to a step; called exactly once, from a thread of the engine; must return at once."""

ZEROS: Action = (0.0, 0.0, 0.0, 0.0)
START_POSE = (-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Both rackets at the start of a round: own x, y, angle and their velocities, then the opponent's."""
LARGEST = float(np.finfo(np.float32).max)
MOST_KEPT = 100 * MOST_STEPS
"""Steps of one match, 4.6 MB: 25 times what the tournament's longest match has, for a server that ends none."""

log = logging.getLogger(__name__)


def legal_action(values: Iterable[Any]) -> Action | None:
    """Return `values` as plain doubles if they are an action, four numbers in [-1, 1], else None."""
    try:
        x, y, turn, shoot = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, turn, shoot) if all(-1.0 <= value <= 1.0 for value in (x, y, turn, shoot)) else None


class Source(IntEnum):
    """Who gave an answer: the policy, or the basic opponent and why it had to."""

    POLICY = 0
    BAD_OBSERVATION = 1
    BAD_OUTPUT = 2
    MODEL_ERROR = 3
    DEADLINE = 4
    GONE = 5  # the match had ended, or the engine had stopped


class RoundDetector:
    """Finds the starts of rounds, which the server does not announce, in the observations of one match."""

    def __init__(self) -> None:
        self._puck: tuple[float, float] | None = None

    def starts(self, values: Sequence[float]) -> bool:
        """Return whether a round starts with these 18 numbers; call it once per Step, in order.

        The rackets stand exactly where a round starts, the puck rests in the strip where it is dropped, and it
        is not where it was at the Step before: otherwise nobody has moved since the start. Holding times say
        nothing, they survive the end of a round. NaN starts nothing.
        """
        puck = x, y = values[12], values[13]
        has_moved = puck != self._puck
        # A NaN differs from everything: the puck would seem to have moved at the step after it.
        if isfinite(x) and isfinite(y):
            self._puck = puck
        rests = values[14] == values[15] == 0.0 and 1.0 <= abs(x) <= 2.0 and abs(y) <= 1.0
        return has_moved and rests and tuple(values[:12]) == START_POSE


@dataclass(frozen=True)
class Trace:
    """What was seen and done in a match, step by step, up to the first step without an answer, or to MOST_KEPT."""

    obs: NDArray[np.float64]  # (steps, 18), as received; NaN where it was not 18 numbers
    actions: NDArray[np.float64]  # (steps, 4), as sent
    is_first: NDArray[np.bool_]  # (steps,)
    source: NDArray[np.uint8]  # (steps,), a Source
    latency_ms: NDArray[np.float32]  # (steps,), from the message's arrival to its answer


@dataclass(frozen=True, slots=True)
class Step:
    """One observation as it came in."""

    index: int  # in its match
    row: NDArray[np.float32] | None  # (18,), None: not fit for the network
    is_first: bool
    last_good: list[float] | None  # the observation, or the last one before it that was sound


class Session:
    """One match: what came in and what was answered. Its steps come one after the other from one thread."""

    def __init__(self, match_id: str, *, opponent: str | None = None, rounds: int = 4, started_at: float = 0.0) -> None:
        """started_at: unix seconds."""
        self.match_id, self.opponent, self.rounds, self.started_at = match_id, opponent, rounds, started_at
        self.steps = 0
        self.rounds_begun = 0
        self._last_good: list[float] | None = None
        self._detector = RoundDetector()
        self._lock = threading.Lock()
        self._obs, self._actions, self._latency_ms = array("d"), array("d"), array("f")
        self._is_first, self._source = array("B"), array("h")

    def __str__(self) -> str:
        return f"match {self.match_id}"

    def take(self, obs: Sequence[float] | NDArray[np.floating]) -> Step:
        """Take in the observation of the next step, whatever it is, and return what has to be answered."""
        values = _numbers(obs)
        is_first = self._detector.starts(values.tolist()) or self.steps == 0
        if self.steps < MOST_KEPT:
            self._keep(values, is_first)
        elif self.steps == MOST_KEPT:
            log.warning("%s has more than %d steps: the rest is answered, but not kept", self, MOST_KEPT)
        self.steps += 1
        self.rounds_begun += is_first
        row = _row(values)
        if row is not None:
            self._last_good = values.tolist()
        return Step(self.steps - 1, row, is_first, self._last_good)

    def answered(self, index: int, action: Action, source: Source, latency_ms: float) -> None:
        """Note the answer to step `index`."""
        if index >= MOST_KEPT:
            return
        start = index * ACTION_SIZE
        with self._lock:
            self._actions[start : start + ACTION_SIZE] = array("d", action)
            self._source[index] = source
            self._latency_ms[index] = latency_ms

    def trace(self) -> Trace:
        """Return a copy of what has happened so far."""
        with self._lock:
            source = np.array(self._source, np.int16)
            obs = np.array(self._obs, np.float64).reshape(-1, OBS_SIZE)
            actions = np.array(self._actions, np.float64).reshape(-1, ACTION_SIZE)
            is_first, latency_ms = np.array(self._is_first, np.bool_), np.array(self._latency_ms, np.float32)
        steps = int(np.argmax(np.append(source, UNANSWERED) == UNANSWERED))
        return Trace(
            obs[:steps], actions[:steps], is_first[:steps], source[:steps].astype(np.uint8), latency_ms[:steps]
        )

    def _keep(self, values: NDArray[np.float64], is_first: bool) -> None:
        with self._lock:
            self._obs.frombytes(values.tobytes())
            self._actions.extend(ZEROS)
            self._is_first.append(is_first)
            self._source.append(UNANSWERED)
            self._latency_ms.append(0.0)


UNANSWERED = -1
_NOTHING = np.full(OBS_SIZE, np.nan)


def _numbers(obs: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Return `obs` as (18,) doubles, NaN if it is not 18 numbers."""
    try:
        values = np.array(obs, np.float64)
    except (TypeError, ValueError, OverflowError):
        return _NOTHING
    return values if values.shape == (OBS_SIZE,) else _NOTHING


def _row(values: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Return what the network gets to see, None if that would not be finite in float32."""
    # A NaN makes the maximum NaN, and a comparison with that is false.
    return values.astype(np.float32) if np.maximum.reduce(np.abs(values)) <= LARGEST else None
