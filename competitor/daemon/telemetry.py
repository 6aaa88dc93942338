"""What a daemon counts while it plays: one set of numbers for the status file, /healthz and /metrics.

The wires, the desk and the engine call the counting methods, from whatever thread they run in; each of them
takes a lock for a few additions and never waits for anything else.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from competitor.engine.session import Source

RECENT_ANSWERS = 8192
BOUNDS_MS = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 2500.0, 10_000.0)
PLAYED = "played"


@dataclass(frozen=True)
class Numbers:
    """All counts at one moment. Percentiles are over the last answers; None means: nothing yet."""

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

    @property
    def connected(self) -> bool:
        """Whether at least one connection to the server stands."""
        return self.connections > 0


class Telemetry:
    """Counts; `numbers()` and `registry` show them. Made without arguments it also serves as a silent sink."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started_at = clock()
        self._connected: set[str] = set()
        self._playing = self._steps = self._messages = self._reconnects = 0
        self._last_message_at: float | None = None
        self._rating: float | None = None
        self._ended: Counter[tuple[str, str]] = Counter()
        self._sources: Counter[str] = Counter()
        self._recent = np.zeros(RECENT_ANSWERS, dtype=np.float32)
        self._in_bucket = [0] * (len(BOUNDS_MS) + 1)
        self._latency_sum_ms = 0.0
        self.registry = CollectorRegistry()
        self.registry.register(_Exporter(self))

    def message(self) -> None:
        """A message came from the server."""
        with self._lock:
            self._messages += 1
            self._last_message_at = self._clock()

    def connected(self, name: str, yes: bool) -> None:
        """The connection `name` stands from now on, or no longer."""
        with self._lock:
            (self._connected.add if yes else self._connected.discard)(name)

    def reconnected(self) -> None:
        """A connection that had been lost stands again."""
        with self._lock:
            self._reconnects += 1

    def answered(self, latency_ms: float, source: Source) -> None:
        """A step was answered, so long after it came in; `source` says who decided."""
        with self._lock:
            self._recent[self._steps % RECENT_ANSWERS] = latency_ms
            self._steps += 1
            self._sources[source.name.lower()] += 1
            self._in_bucket[bisect_left(BOUNDS_MS, latency_ms)] += 1
            self._latency_sum_ms += latency_ms

    def match_begun(self) -> None:
        """A match is in play."""
        with self._lock:
            self._playing += 1

    def match_ended(self, ending: str, result: str) -> None:
        """A match is over. ending: "played" or why it was not; result: "W", "D" or "L"."""
        with self._lock:
            self._playing -= 1
            self._ended[ending, result] += 1

    def rated(self, rating: float) -> None:
        """The server told our rating."""
        with self._lock:
            self._rating = rating

    def numbers(self) -> Numbers:
        """All counts as they stand now."""
        p50_ms, p99_ms = self._percentiles_ms()
        with self._lock:
            now = self._clock()
            results = {result: self._ended[PLAYED, result] for result in "WDL"}
            return Numbers(
                connections=len(self._connected),
                playing=self._playing,
                results=results,
                not_played=self._ended.total() - sum(results.values()),
                steps=self._steps,
                sources=dict(self._sources),
                latency_p50_ms=p50_ms,
                latency_p99_ms=p99_ms,
                messages=self._messages,
                last_message_age_s=None if self._last_message_at is None else now - self._last_message_at,
                reconnects=self._reconnects,
                rating=self._rating,
                uptime_s=now - self._started_at,
            )

    def _percentiles_ms(self) -> tuple[float | None, float | None]:
        with self._lock:
            recent = self._recent[: min(self._steps, RECENT_ANSWERS)].copy()
        if not recent.size:
            return None, None
        p50_ms, p99_ms = np.percentile(recent, (50, 99))  # outside of the lock: it takes longest
        return float(p50_ms), float(p99_ms)

    def latencies(self) -> tuple[list[tuple[str, float]], float]:
        """All answers by latency for a histogram: ((upper bound in s, answers up to it), ...), sum in s."""
        with self._lock:
            counts, total_ms = list(self._in_bucket), self._latency_sum_ms
        bounds = [*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf"]
        return [(bound, float(sum(counts[: place + 1]))) for place, bound in enumerate(bounds)], total_ms / 1000

    def endings(self) -> dict[tuple[str, str], int]:
        """Matches that are over by (ending, result)."""
        with self._lock:
            return dict(self._ended)


class _Exporter(Collector):
    """Writes the numbers in Prometheus' terms whenever they are asked for."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        numbers = self._telemetry.numbers()
        yield _gauge("connections", "Connections to the server that stand.", numbers.connections)
        yield _gauge("matches_playing", "Matches in play.", numbers.playing)
        yield _gauge("uptime_seconds", "Seconds since the daemon started.", numbers.uptime_s)
        age_s, rating = numbers.last_message_age_s, numbers.rating
        yield _gauge("last_message_age_seconds", "Seconds since the server's last message.", age_s)
        yield _gauge("rating", "Rating as the server tells it.", rating)
        yield CounterMetricFamily("hockey_messages", "Messages from the server.", numbers.messages)
        yield CounterMetricFamily("hockey_reconnects", "Connections lost that stand again.", numbers.reconnects)
        answers = CounterMetricFamily("hockey_answers", "Answered steps by who decided.", labels=["source"])
        for source, count in numbers.sources.items():
            answers.add_metric([source], count)
        yield answers
        matches = CounterMetricFamily("hockey_matches", "Matches that are over.", labels=["ending", "result"])
        for labels, count in self._telemetry.endings().items():
            matches.add_metric(labels, count)
        yield matches
        buckets, total_s = self._telemetry.latencies()
        histogram = HistogramMetricFamily("hockey_answer_latency_seconds", "Seconds from a step to its answer.")
        histogram.add_metric([], buckets, total_s)
        yield histogram


def _gauge(name: str, about: str, value: float | None) -> Metric:
    """A gauge; one without a value yet is left out of the list, not 0."""
    family = GaugeMetricFamily(f"hockey_{name}", about)
    if value is not None:
        family.add_metric([], value)
    return family
