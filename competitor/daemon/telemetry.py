"""What a daemon counts while it plays: one set of numbers for the status file, /healthz and /metrics.

prometheus_client keeps the counts. Whoever counts may do so from any thread; it takes a lock for an addition and never
waits for anything else.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import ConfigDict

from competitor.engine.session import Source

RECENT_ANSWERS = 8192  # of which the percentiles are: half a minute of 64 matches, minutes of one
BOUNDS_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)
PLAYED = "played"
FINITE = ConfigDict(allow_inf_nan=False)  # JSON has no other numbers

Samples = Mapping[tuple[str, tuple[str, ...]], float]


@dataclass(frozen=True)
class Numbers:
    """All counts at one moment. Percentiles are over the last answers; None means: nothing yet."""

    __pydantic_config__ = FINITE
    connections: int
    playing: int
    results: dict[str, int]
    not_played: int
    steps: int
    sources: dict[str, int]
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    messages: int
    last_message_age_s: float | None
    reconnects: int
    rating: float | None
    uptime_s: float
    waiting: int = 0  # matches that the disk has not taken yet
    refusal: str | None = None  # what it says

    @property
    def connected(self) -> bool:
        """Whether at least one connection to the server stands."""
        return self.connections > 0

    @property
    def warning(self) -> str | None:
        """What needs a person but no new start, which would lose the matches that wait; None: nothing."""
        if not self.waiting:
            return None
        matches = "1 match waits" if self.waiting == 1 else f"{self.waiting} matches wait"
        return f"{matches} to be written: {self.refusal or 'the disk is slow'}"

    def complaint(self, stuck_after_s: float) -> str | None:
        """What is wrong, None when all is well. Silence is wrong only during a match: a queue is silent."""
        if not self.connected:
            return "not connected"
        if self.playing and (self.last_message_age_s or 0.0) > stuck_after_s:
            return f"no message for {self.last_message_age_s:.0f} s within a match"
        return None


class Telemetry:
    """Counts; `numbers()` and `registry` show them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started_at = clock()
        self._connected: set[str] = set()
        self._refusal: str | None = None
        self._last_message_at = 0.0
        self._recent = np.zeros(RECENT_ANSWERS, dtype=np.float32)
        self._answered = 0
        self.registry = CollectorRegistry()
        self._messages = Counter("hockey_messages", "Messages from the server.", registry=self.registry)
        self._reconnects = Counter("hockey_reconnects", "Connections lost that stand again.", registry=self.registry)
        self._answers = Counter("hockey_answers", "Answers by who decided.", ["source"], registry=self.registry)
        self._matches = Counter("hockey_matches", "Matches over.", ["ending", "result"], registry=self.registry)
        self._latency = Histogram(
            "hockey_answer_latency_seconds", "From a step to its answer.", buckets=BOUNDS_S, registry=self.registry
        )
        self._connections = self._gauge("connections", "Connections to the server that stand.")
        self._playing = self._gauge("matches_playing", "Matches in play.")
        self._waiting = self._gauge("matches_waiting", "Matches that the disk has not taken yet.")
        self._rating: Gauge | None = None  # what is not known yet is no sample, not 0
        self._age: Gauge | None = None
        uptime = self._gauge("uptime_seconds", "Seconds since the daemon started.")
        uptime.set_function(lambda: clock() - self._started_at)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"hockey_{name}", about, registry=self.registry)

    def message(self) -> None:
        self._messages.inc()
        self._last_message_at = self._clock()
        with self._lock:
            if self._age is None:
                self._age = self._gauge("last_message_age_seconds", "Seconds since the server's last message.")
                self._age.set_function(lambda: self._clock() - self._last_message_at)

    def connected(self, name: str, yes: bool) -> None:
        """The connection `name` stands from now on, or no longer."""
        with self._lock:
            (self._connected.add if yes else self._connected.discard)(name)
            self._connections.set(len(self._connected))

    def reconnected(self) -> None:
        """A connection that had been lost stands again."""
        self._reconnects.inc()

    def answered(self, latency_ms: float, source: Source) -> None:
        """A step was answered, so long after it came in; `source` says who decided."""
        self._answers.labels(source.name.lower()).inc()
        self._latency.observe(latency_ms / 1000)
        with self._lock:
            self._recent[self._answered % RECENT_ANSWERS] = latency_ms
            self._answered += 1

    def match_begun(self) -> None:
        self._playing.inc()

    def match_ended(self, ending: str, result: str) -> None:
        """A match is over. ending: "played" or why it was not; result: "W", "D" or "L"."""
        self._playing.dec()
        self._matches.labels(ending, result).inc()

    def rated(self, rating: float) -> None:
        with self._lock:
            self._rating = self._rating or self._gauge("rating", "Rating as the server tells it.")
            self._rating.set(rating)

    def stored(self, waiting: int, refusal: str | None) -> None:
        """So many matches wait for the disk, and why; None: it takes them."""
        self._waiting.set(waiting)
        self._refusal = refusal

    def numbers(self) -> Numbers:
        p50_ms, p99_ms = self._percentiles_ms()
        samples: Samples = {
            (sample.name, tuple(sample.labels.values())): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
        }
        results = {result: round(samples.get(("hockey_matches_total", (PLAYED, result)), 0)) for result in "WDL"}
        sources = _by_label(samples, "hockey_answers_total")
        return Numbers(
            connections=round(samples["hockey_connections", ()]),
            playing=round(samples["hockey_matches_playing", ()]),
            results=results,
            not_played=sum(_by_label(samples, "hockey_matches_total").values()) - sum(results.values()),
            steps=sum(sources.values()),
            sources=sources,
            latency_p50_ms=p50_ms,
            latency_p99_ms=p99_ms,
            messages=round(samples["hockey_messages_total", ()]),
            last_message_age_s=samples.get(("hockey_last_message_age_seconds", ())),
            reconnects=round(samples["hockey_reconnects_total", ()]),
            rating=samples.get(("hockey_rating", ())),
            uptime_s=samples["hockey_uptime_seconds", ()],
            waiting=round(samples["hockey_matches_waiting", ()]),
            refusal=self._refusal,
        )

    def _percentiles_ms(self) -> tuple[float | None, float | None]:
        with self._lock:
            recent = self._recent[: min(self._answered, RECENT_ANSWERS)].copy()
        if not recent.size:
            return None, None
        p50_ms, p99_ms = np.percentile(recent, (50, 99))  # outside of the lock: it takes longest
        return float(p50_ms), float(p99_ms)


def _by_label(samples: Samples, name: str) -> dict[str, int]:
    """Return the values of a counter by its first label."""
    counts: dict[str, int] = {}
    for (sample, labels), value in samples.items():
        if sample == name:
            counts[labels[0]] = counts.get(labels[0], 0) + round(value)
    return counts
