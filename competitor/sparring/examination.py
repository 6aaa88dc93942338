"""The examination by which a past self enters the pool, and by which the best policy of a run is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from competitor.evaluate.evaluation import evaluate
from competitor.players import Player

ROUNDS = 60
BASE_RATE = 0.8  # share of rounds to be won against each base opponent, as the winner of winter 2025/26 had it
NEWEST_POINTS = 0.55
"""Share of points to be taken from the newest member of the pool.

That winner asked for 60 % of the rounds won; without noise most rounds between near relatives are drawn here.
"""


@dataclass(frozen=True)
class Marks:
    """Shares of rounds won, and points (a draw is half a point) as shares, by opponent."""

    won: dict[str, float]
    points: dict[str, float]

    def passed(self, newest: str | None) -> bool:
        """Whether the base opponents and the newest member were beaten as the entrance to the pool asks for."""
        base = all(rate >= BASE_RATE for name, rate in self.won.items() if name != newest)
        return base and (newest is None or self.points[newest] >= NEWEST_POINTS)

    def mean_points(self, names: list[str]) -> float:
        """Mean points against `names`."""
        return float(np.mean([self.points[name] for name in names]))


def examine(player: Player, opponents: Mapping[str, Player], *, seed: int, rounds: int = ROUNDS) -> Marks:
    """Play `rounds` (even) paired rounds against each opponent. Raises PlayerError from a player that fails."""
    report = evaluate(player, opponents, rounds=rounds, seed=seed)
    if report.partial:  # a second Ctrl-C, which `evaluate` has taken as its own
        raise KeyboardInterrupt
    return Marks(
        {result.opponent: result.win_rate for result in report.results},
        {result.opponent: result.score for result in report.results},
    )
