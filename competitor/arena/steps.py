"""All steps of a match as numbers in few bytes, for its live board and its recording."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VIEW, ACTIONS = 18, 8


@dataclass(frozen=True)
class RoundSteps:
    """Steps of a round: what the first player saw before, between and after them, and what both did.

    views (n + 1, 18) float32; actions (n, 2, 4) float64, each in the player's own frame; winner: 1 the first player,
    -1 the second, 0 nobody, None: the round is not over; score: before the round.
    """

    views: NDArray[np.float32]
    actions: NDArray[np.float64]
    winner: int | None
    score: tuple[int, int]


class StepLog:
    """136 bytes a step: a rink's observations are float32 already, actions are what the players have sent."""

    def __init__(self) -> None:
        self._views, self._actions = array("f"), array("d")
        self._firsts: list[int] = []  # the first step of each round
        self._winners: list[int] = []

    @property
    def rounds(self) -> int:
        """How many have begun."""
        return len(self._firsts)

    @property
    def steps(self) -> int:
        """How many were played, in all rounds."""
        return len(self._actions) // ACTIONS

    def begin_round(self) -> None:
        """What is shown from now on belongs to the next round."""
        self._firsts.append(self.steps)

    def show(self, view: Sequence[float]) -> None:
        """What the first player sees now: once at the start of a round, once after each step."""
        self._views.extend(view)

    def act(self, first: Sequence[float], second: Sequence[float]) -> None:
        """What both players do."""
        self._actions.extend(first)
        self._actions.extend(second)

    def end_round(self, winner: int) -> None:
        """The round is over: 1 the first player has won it, -1 the second, 0 nobody."""
        self._winners.append(winner)

    def round(self, number: int, skip: int = 0) -> RoundSteps:
        """Round `number` (from 0) as far as it has come, without its first `skip` steps."""
        first = self._firsts[number] + skip
        last = self._firsts[number + 1] if number + 1 < self.rounds else self.steps
        # Copies: as long as an array lends its memory it cannot grow.
        views = np.frombuffer(self._views[VIEW * (first + number) : VIEW * (last + number + 1)], np.float32)
        actions = np.frombuffer(self._actions[ACTIONS * first : ACTIONS * last], np.float64)
        winner = self._winners[number] if number < len(self._winners) else None
        before = self._winners[:number]
        return RoundSteps(
            views.reshape(-1, VIEW), actions.reshape(-1, 2, ACTIONS // 2), winner, (before.count(1), before.count(-1))
        )
