"""The examination by which a past self enters the pool, and by which the best policy of a run is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from competitor.evaluate.evaluation import paired_schedule
from competitor.play.rounds import play_rounds
from competitor.players import Player

ROUNDS = 60
BASE_RATE, NEWEST_RATE = 0.8, 0.6
"""Shares of rounds to be won against each base opponent and the newest member of the pool.

They are those of the winner of the winter 2025/26 tournament, with fewer rounds.
"""


@dataclass(frozen=True)
class Marks:
    """Shares of rounds won, and points (a draw is half a point) as shares, by opponent."""

    won: dict[str, float]
    points: dict[str, float]

    def passed(self, newest: str | None) -> bool:
        """Whether every opponent was beaten as often as the entrance to the pool asks for."""
        return all(rate >= (NEWEST_RATE if name == newest else BASE_RATE) for name, rate in self.won.items())

    def mean_points(self, names: list[str]) -> float:
        """Mean points against `names`."""
        return float(np.mean([self.points[name] for name in names]))


def examine(player: Player, opponents: Mapping[str, Player], *, seed: int, rounds: int = ROUNDS) -> Marks:
    """Play `rounds` (even) paired rounds against each opponent. Raises PlayerError from a player that fails."""
    won, points = {}, {}
    for name, opponent in opponents.items():
        played = play_rounds(player, opponent, paired_schedule(name, rounds, seed), rinks=rounds)
        results = np.array([round_.result for round_ in played])
        won[name] = float(np.mean(results > 0))
        points[name] = float(np.mean(results + 1) / 2)
    return Marks(won, points)
