"""What would follow: rounds played on from where a real one stands, on rinks of their own, with exact physics.

The agent goes on as its policy does, with the memory that it has. The other player is guessed, twice: as the agent
itself with a memory of its own, and as the strong basic opponent, whose chance is always the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from competitor.players.player import ACTION_SIZE, Array, clean_actions
from competitor.rink import BasicOpponent
from competitor.rink.constants import OBSERVATION_SIZE, Mode
from competitor.rink.observation import VIEW, state_of_view, write_view_one, write_view_two
from competitor.rink.simulation import Simulation, fresh_simulation
from dreamer.agent import Dreamer
from dreamer.fast import plainly
from dreamer.sequence_model import State, features

HORIZON = 12
"""Steps that are played on: a shot and its way to the goal."""
GUESSES = 2


class Situation(NamedTuple):
    """What the agent sees, as player one, and what it saw a step before: (18,) each."""

    before: Array
    now: Array


def new_rink() -> Simulation:
    """A rink whose bodies are made as often as those of a round that is played, see `fresh_simulation`."""
    rink = fresh_simulation(keep_mode=True, mode=Mode.NORMAL)
    rink.start(Mode.NORMAL, True, np.random.default_rng(0))
    return rink


def resume(rink: Simulation, situation: Situation) -> None:
    before, now = situation
    rink.resume(state_of_view(before), state_of_view(now), (int(now[16]), int(now[17])))


class Rollouts:
    """Trials that are played on together: number i against the agent itself, count + i against strong.

    Who thinks stands in one table: the agent in each trial, then the agent in the other's place in the first half.
    """

    def __init__(
        self, agent: Dreamer, own: State, other: State, situations: Sequence[Situation], rinks: Sequence[Simulation]
    ) -> None:
        """own, other (count, ...): both players' states, `action` in them is what they do first.

        rinks: at least GUESSES * count of `new_rink`; how they are left does not matter.
        """
        self._agent, self._count, self._trials = agent, len(situations), GUESSES * len(situations)
        self._minds = {key: torch.cat([own[key], own[key], other[key]]) for key in own}
        self._views: Array = np.zeros((2 * self._trials, OBSERVATION_SIZE), np.float32)
        self._rinks = rinks[: self._trials]
        self._going = list(range(self._trials))
        self._strong = [BasicOpponent(weak=False, generator=np.random.default_rng(0)) for _ in range(self._count)]
        for rink, situation in zip(self._rinks, [*situations] * GUESSES, strict=True):
            resume(rink, situation)
        self._look()

    def values(self, goal: float) -> Tensor:
        """Play on for HORIZON steps: what each trial is worth, the mean over both guesses, (count,).

        A goal is worth `goal`, conceded its negative, discounted; without one the critic says it at the end.
        """
        gamma = self._agent.config.behavior.discount
        worth = torch.zeros(self._trials)
        for time in range(HORIZON):
            self._play()
            for trial in self._going:
                worth[trial] = gamma**time * goal * self._rinks[trial].score.winner
            self._going = [trial for trial in self._going if not self._rinks[trial].score.done]
            if not self._going:
                break
            self._look()
            self._think()
        for trial in self._going:
            worth[trial] = gamma**HORIZON * self._value(trial)
        return worth.view(GUESSES, self._count).mean(0)

    def _play(self) -> None:
        """A step of every trial that goes on."""
        chosen = clean_actions(self._minds["action"].numpy(), self._trials + self._count)
        actions = np.zeros((self._trials, 2 * ACTION_SIZE), np.float32)
        actions[:, :ACTION_SIZE] = chosen[: self._trials]
        actions[: self._count, ACTION_SIZE:] = chosen[self._trials :]
        for trial in self._going:
            if trial >= self._count:
                seen = self._views[self._trials + trial].tolist()
                actions[trial, ACTION_SIZE:] = self._strong[trial - self._count].decide(seen)
        rows = actions.tolist()
        for trial in self._going:
            self._rinks[trial].step(rows[trial])

    def _look(self) -> None:
        """Note what both players see: the agent's views, then the other's."""
        views = self._views.data.cast("B")
        for trial in self._going:
            write_view_one(self._rinks[trial], views, trial * VIEW.size)
            write_view_two(self._rinks[trial], views, (self._trials + trial) * VIEW.size)

    def _think(self) -> None:
        """Whoever thinks takes in what he sees and chooses what he does next."""
        thinking = self._going + [self._trials + trial for trial in self._going if trial < self._count]
        seen, no_first = torch.from_numpy(self._views[thinking]), torch.zeros(len(thinking), dtype=torch.bool)
        if len(thinking) == self._trials + self._count:
            self._minds, _ = self._agent.act(self._minds, seen, no_first, deterministic=True)
            return
        rows = torch.tensor(thinking)
        before = {key: part[rows] for key, part in self._minds.items()}
        after, _ = self._agent.act(before, seen, no_first, deterministic=True)
        for key, part in self._minds.items():
            part[rows] = after[key]

    def _value(self, trial: int) -> float:
        """The critic's value, of one trial at a time: a row's bits must not depend on those beside it."""
        critic = self._agent.behavior.value
        with plainly():
            seen = features({key: part[trial : trial + 1] for key, part in self._minds.items()})
            return float(critic.mean(critic(seen)))
