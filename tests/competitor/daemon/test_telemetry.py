"""The numbers of a daemon, as Prometheus and the status file see them."""

import threading

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from competitor.daemon.telemetry import RECENT_ANSWERS, Telemetry
from competitor.engine.session import Source


def scrape(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of /metrics by name and labels."""
    text = generate_latest(telemetry.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_connections_are_counted_by_name() -> None:
    telemetry = Telemetry()
    for name, yes in [("a", True), ("a", True), ("b", True), ("c", False), ("a", False)]:
        telemetry.connected(name, yes)
    assert (telemetry.numbers().connections, telemetry.numbers().connected) == (1, True)
    telemetry.connected("b", False)
    assert not telemetry.numbers().connected


def test_age_and_uptime_follow_the_clock() -> None:
    now = [100.0]
    telemetry = Telemetry(lambda: now[0])
    now[0] += 5
    telemetry.message()
    now[0] += 2.5
    numbers = telemetry.numbers()
    assert (numbers.messages, numbers.last_message_age_s, numbers.uptime_s) == (1, 2.5, 7.5)


def test_only_played_matches_have_results() -> None:
    telemetry = Telemetry()
    endings = [("played", "W"), ("played", "W"), ("played", "D"), ("opponent left", "W"), ("abandoned", "D")]
    for ending, result in endings:
        telemetry.match_begun()
        telemetry.match_ended(ending, result)
    telemetry.match_begun()
    numbers = telemetry.numbers()
    assert (numbers.results, numbers.not_played, numbers.playing) == ({"W": 2, "D": 1, "L": 0}, 2, 1)


def test_percentiles_are_those_of_the_last_answers() -> None:
    telemetry = Telemetry()
    values = np.random.default_rng(3).exponential(5.0, 3 * RECENT_ANSWERS // 2)
    for value in values:
        telemetry.answered(float(value), Source.POLICY)
    expected = np.percentile(values[-RECENT_ANSWERS:], (50, 99))
    numbers = telemetry.numbers()
    assert (numbers.latency_p50_ms, numbers.latency_p99_ms) == pytest.approx(tuple(expected), rel=1e-5)
    assert numbers.steps == len(values)


def test_metrics_are_what_was_counted() -> None:
    now = [100.0]
    telemetry = Telemetry(lambda: now[0])
    telemetry.connected("a", True)
    telemetry.message()
    telemetry.reconnected()
    telemetry.match_begun()
    telemetry.match_begun()
    telemetry.match_ended("opponent left", "L")
    for latency_ms in (0.5, 2.0, 3.5, 2000.0, 50_000.0):
        telemetry.answered(latency_ms, Source.POLICY)
    telemetry.answered(1.5, Source.DEADLINE)
    telemetry.rated(21.5)
    telemetry.stored(3, "records: No space left on device")
    now[0] += 4
    samples = scrape(telemetry)
    assert samples["hockey_connections", ()] == 1
    assert samples["hockey_matches_playing", ()] == 1
    assert samples["hockey_messages_total", ()] == 1
    assert samples["hockey_reconnects_total", ()] == 1
    assert samples["hockey_uptime_seconds", ()] == samples["hockey_last_message_age_seconds", ()] == 4
    assert samples["hockey_rating", ()] == 21.5 and samples["hockey_matches_waiting", ()] == 3
    assert samples["hockey_matches_total", (("ending", "opponent left"), ("result", "L"))] == 1
    assert samples["hockey_answers_total", (("source", "policy"),)] == 5
    assert samples["hockey_answers_total", (("source", "deadline"),)] == 1
    latency = "hockey_answer_latency_seconds"
    bounds = {"0.001": 1, "0.002": 3, "0.005": 4, "1.0": 4, "2.5": 5, "+Inf": 6}
    assert {bound: samples[f"{latency}_bucket", (("le", bound),)] for bound in bounds} == bounds
    assert samples[f"{latency}_count", ()] == 6
    assert samples[f"{latency}_sum", ()] == pytest.approx(52.0075)


def test_what_is_unknown_is_no_sample() -> None:
    names = {name for name, _ in scrape(Telemetry())}
    assert "hockey_connections" in names
    assert not {"hockey_rating", "hockey_last_message_age_seconds"} & names


def test_nothing_is_lost_between_threads() -> None:
    telemetry = Telemetry()

    def count() -> None:
        for _ in range(500):
            telemetry.answered(1.0, Source.BAD_OUTPUT)
            telemetry.match_begun()
            telemetry.match_ended("played", "L")
            telemetry.numbers()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = telemetry.numbers()
    assert (numbers.steps, numbers.sources, numbers.playing) == (2000, {"bad_output": 2000}, 0)
    assert numbers.results["L"] == 2000
