"""What would follow: rounds played on from where a real one stands, on rinks of their own, with exact physics.

The agent goes on as its policy does, with the memory that it has. The other player is guessed, twice: as the agent
itself with a memory of its own, and as the strong basic opponent, whose chance is always the same.
"""

from __future__ import annotations

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
    """Put a rink where the situation is."""
    before, now = situation
    rink.resume(state_of_view(before), state_of_view(now), (int(now[16]), int(now[17])))


class Rollouts:
    """Trials that are played on together: number i against the agent itself, count + i against strong."""

    def __init__(
        self, agent: Dreamer, own: State, other: State, situations: Sequence[Situation], rinks: Sequence[Simulation]
    ) -> None:
        """own, other (count, ...): both players' states, `action` in them is what they do first.

        rinks: at least GUESSES * count of `new_rink`; how they are left does not matter.
        """
        count = len(situations)
        self._agent, self._count = agent, count
        self._own = {key: part.repeat(GUESSES, 1) for key, part in own.items()}
        self._other = {key: part.clone() for key, part in other.items()}
        self._rinks = rinks[: GUESSES * count]
        self._going = list(range(GUESSES * count))
        self._views: Array = np.zeros((2, GUESSES * count, OBSERVATION_SIZE), np.float32)
        self._strong = [BasicOpponent(weak=False, generator=np.random.default_rng(0)) for _ in range(count)]
        for rink, situation in zip(self._rinks, [*situations] * GUESSES, strict=True):
            resume(rink, situation)
        self._look()

    def values(self, goal: float) -> Tensor:
        """Play on for HORIZON steps: what each trial is worth, the mean over both guesses, (count,).

        A goal is worth `goal`, conceded its negative, discounted; without one the critic says it at the end.
        """
        gamma = self._agent.config.behavior.discount
        worth = torch.zeros(len(self._rinks))
        for time in range(HORIZON):
            self._play()
            for trial in self._going:
                worth[trial] = gamma**time * goal * self._rinks[trial].score.winner
            self._going = [trial for trial in self._going if not self._rinks[trial].score.done]
            self._look()
            self._think(with_other=time < HORIZON - 1)
        for trial in self._going:
            worth[trial] = gamma**HORIZON * self._value(trial)
        return worth.view(GUESSES, self._count).mean(0)

    def _play(self) -> None:
        """A step of every trial that goes on."""
        actions = torch.cat([self._own["action"], torch.cat([self._other["action"], self._strong_actions()])], 1)
        rows = clean_actions(actions.numpy(), len(self._rinks), 2 * ACTION_SIZE).tolist()
        for trial in self._going:
            self._rinks[trial].step(rows[trial])

    def _strong_actions(self) -> Tensor:
        actions = torch.zeros(self._count, ACTION_SIZE)
        for trial in self._going:
            if trial >= self._count:
                decided = self._strong[trial - self._count].decide(self._views[1, trial].tolist())
                actions[trial - self._count] = torch.tensor(decided)
        return actions

    def _look(self) -> None:
        """Note what both players see."""
        one, two = (view.data.cast("B") for view in self._views)
        for trial in self._going:
            write_view_one(self._rinks[trial], one, trial * VIEW.size)
            write_view_two(self._rinks[trial], two, trial * VIEW.size)

    def _think(self, *, with_other: bool) -> None:
        """Both players take in what they see and choose what they do next."""
        if not self._going:
            return
        others = [trial for trial in self._going if trial < self._count] if with_other else []
        rows = torch.tensor(self._going), torch.tensor(others, dtype=torch.long)
        obs = torch.from_numpy(np.concatenate([self._views[0, self._going], self._views[1, others]]))
        before = {key: torch.cat([self._own[key][rows[0]], self._other[key][rows[1]]]) for key in self._own}
        state, _ = self._agent.act(before, obs, torch.zeros(len(obs), dtype=torch.bool), deterministic=True)
        for key, part in state.items():
            self._own[key][rows[0]] = part[: len(self._going)]
            self._other[key][rows[1]] = part[len(self._going) :]

    def _value(self, trial: int) -> float:
        """The critic's value, of one trial at a time: a row's bits must not depend on those beside it."""
        critic = self._agent.behavior.value
        with plainly():
            seen = features({key: part[trial : trial + 1] for key, part in self._own.items()})
            return float(critic.mean(critic(seen)))
