"""The line that every match leaves on the console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from competitor.daemon.records import Announcer
from competitor.play.finished_match import FinishedMatch

MATCH = FinishedMatch(
    match_id="0b2e40b7-8cf9-429f-b975-4617cbd6fd28",
    wire="comprl",
    server="comprl://example.org:65335",
    connection="comprl-1",
    opponent=None,
    started_at=1.0,
    ended_at=2.0,
    own=3,
    other=1,
    rounds=4,
    ending="played",
    reason="",
    checkpoint="champion",
    digest="abc",
    rating=None,
    obs=np.zeros((300, 18)),
    actions=np.zeros((300, 4)),
    is_first=np.zeros(300, dtype=np.bool_),
    source=np.zeros(300, dtype=np.uint8),
    latency_ms=np.zeros(300, dtype=np.float32),
)


class Keeper:
    def __init__(self) -> None:
        self.kept: list[FinishedMatch] = []

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        self.kept.append(match)
        saved()


def test_matches_are_told_with_the_results_so_far_and_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    keeper, saved = Keeper(), []
    announcer = Announcer(keeper)
    assert announcer.summary == "0 matches played (W 0 D 0 L 0)"
    matches = [
        MATCH,
        replace(MATCH, opponent="strong", own=1, other=1, rating=21.46),
        replace(MATCH, opponent="weak", own=0, other=2),
        replace(MATCH, ending="opponent left", own=1, other=0),
        replace(MATCH, ending="abandoned", own=0, other=0, reason="the connection is gone"),
    ]
    for match in matches:
        announcer.keep(match, lambda: saved.append(True))
    assert caplog.messages == [
        "match 0b2e40b7: won 3:1 in 300 steps (W 1 D 0 L 0)",
        "match against strong: drew 1:1 in 300 steps, rating 21.5 (W 1 D 1 L 0)",
        "match against weak: lost 0:2 in 300 steps (W 1 D 1 L 1)",
        "match 0b2e40b7: the opponent left at 1:0 in 300 steps (W 1 D 1 L 1)",
        "match 0b2e40b7: given up after 300 steps: the connection is gone",
    ]
    assert keeper.kept == matches
    assert len(saved) == 5
    assert announcer.summary == "3 matches played (W 1 D 1 L 1), 2 not played to the end"
