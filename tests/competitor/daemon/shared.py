"""What the tests of both wires share: a tournament with everything behind it, counted waits, and patience."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from competitor.daemon.reconnecting import ReconnectingWire
from competitor.daemon.supervisor import Lifecycle
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.engine.session import Source
from competitor.wire.backoff import Retries
from tests.competitor.engine.fakes import NEVER_S, WAIT_S, FakeBrain, KeptMatches, make_engine, start_obs

TOKEN = "s3cret-Token_of.the~player"
STUCK_AFTER_S = 45.0
OBS = start_obs(1.5, 0.25)


def observation(number: float) -> list[float]:
    """One that the network answers with this number, see EchoBrain."""
    return [*OBS[:12], number, *OBS[13:]]


def echo(number: float) -> list[float]:
    """The answer to `observation(number)`."""
    return [number / 4, OBS[13] / 4, 0.0, 0.0]


class EchoBrain(FakeBrain):
    """Answers with what it saw of the puck: (x, y, 0, 0) / 4, exact in float32."""

    def _step(self, slot: int, obs: NDArray[np.float32], *_: object) -> list[float]:
        return [obs[12] / 4, obs[13] / 4, 0.0, 0.0]


class NotedTelemetry(Telemetry):
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


class Rig:
    """A tournament with everything behind it, and clocks to set."""

    def __init__(
        self, brain: FakeBrain | None = None, *, games: int | None = None, deadline_s: float = NEVER_S, **options: Any
    ) -> None:
        self.brain = brain or FakeBrain()
        self.kept, self.telemetry, self.lifecycle = KeptMatches(), NotedTelemetry(), Lifecycle(games)
        self.engine = make_engine(self.brain, self.telemetry, deadline_s=deadline_s)
        self.now_s, self.wall_s = 50.0, 1e9
        usual = {"wire": "comprl", "server": "somewhere:1", "stuck_after_s": STUCK_AFTER_S, "saved_within_s": WAIT_S}
        self.tournament = Tournament(
            self.engine,
            self.kept,
            self.lifecycle,
            self.telemetry,
            clock=lambda: self.now_s,
            wall_clock=lambda: self.wall_s,
            **usual | options,
        )


class WireThread:
    """A wire at a real tournament and engine, running in a thread; it is asked to leave, and has to, at the end of the
    `with` block.
    """

    wire: ReconnectingWire

    def __init__(self, rig: Rig, backoff: CountedRetries) -> None:
        self.rig, self.backoff = rig, backoff
        self.brain, self.kept, self.telemetry = rig.brain, rig.kept, rig.telemetry
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="network")

    def _run(self) -> None:
        try:
            self.wire.run()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self.rig.engine.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.brain.gate.set()
        self.wire.leave()
        self._thread.join(WAIT_S)
        self.rig.engine.stop()
        assert not self._thread.is_alive(), "the wire does not leave"
        if kind is None and self._error is not None:
            raise self._error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def ended(self) -> BaseException | None:
        """Wait until the wire has ended by itself; return what it raised."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the wire goes on"
        error, self._error = self._error, None
        return error


class CountedRetries(Retries):
    """Tells that somebody waits, and counts how often it began again after a wait."""

    def __init__(self, wait_s: float, attempts: int) -> None:
        super().__init__(wait_s, wait_s, random.Random(1), attempts)
        self.waits, self.resets = threading.Semaphore(0), 0
        self._has_waited = False

    def next_s(self, asked_s: float | None = None) -> float:
        self._has_waited = True
        self.waits.release()
        return super().next_s(asked_s)

    def useful(self) -> None:
        self.resets, self._has_waited = self.resets + self._has_waited, False
        super().useful()


def wait_until(condition: Callable[[], object], patience_s: float = WAIT_S) -> None:
    """Wait for something that happens in another thread and tells nobody."""
    ends_at, pause = time.monotonic() + patience_s, threading.Event()
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen"
        pause.wait(0.002)
