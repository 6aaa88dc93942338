"""The game of one match: rounds on one rink, one step at a time. No clock, no network."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from competitor.arena.steps import StepLog
from competitor.engine.session import legal_action
from competitor.rink import make_rink
from competitor.rink.observation import other_view

ROUNDS = 4

Observation = list[float]


class Game:
    """Both players' views and the score. The second player starts the first round, then they take turns.

    A round ends at a goal or after 251 steps, and the next one begins at once: its start is what both players see
    next. As the rink stays the same, the counters for holding the puck pass from one round into the next.

    Args:
        seed: of everything random, the places of the puck.
        rounds: how many are played.
        engine: the rink's, see competitor.rink.make_rink.
    """

    def __init__(self, seed: int, *, rounds: int = ROUNDS, engine: str = "builtin") -> None:
        self.rounds = rounds
        self.round = 1
        self.over = False
        self.log = StepLog()
        self._scores = [0, 0]
        self._seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(rounds)]
        self._rink = make_rink(engine)
        self._begin_round()

    @property
    def scores(self) -> tuple[int, int]:
        """Rounds won by the first and the second player; a round without a goal is nobody's."""
        return self._scores[0], self._scores[1]

    def step(self, first: Sequence[float], second: Sequence[float]) -> None:
        """Play a step with both players' actions.

        Raises ValueError for anything but 4 finite numbers in [-1, 1], and after the last round.
        """
        actions = (legal_action(first), legal_action(second))
        if self.over or actions[0] is None or actions[1] is None:
            raise ValueError("the game is over" if self.over else f"not an action: {first} or {second}")
        self.log.act(actions[0], actions[1])
        obs, _, done, _, info = self._rink.step(np.array([*actions[0], *actions[1]]))
        self._show(obs)
        if done:
            self._end_round(int(info["winner"]))

    def _end_round(self, winner: int) -> None:
        self.log.end_round(winner)
        if winner != 0:
            self._scores[0 if winner > 0 else 1] += 1
        self.over = self.round == self.rounds
        if not self.over:
            self.round += 1
            self._begin_round()

    def _begin_round(self) -> None:
        self.log.begin_round()
        one_starting = self.round % 2 == 0
        obs, _ = self._rink.reset(one_starting=one_starting, seed=self._seeds[self.round - 1])
        self._show(obs)

    def _show(self, obs: NDArray[np.float64]) -> None:
        first: Observation = obs.tolist()
        self.log.show(first)
        self.observations: tuple[Observation, Observation] = first, other_view(obs).tolist()
