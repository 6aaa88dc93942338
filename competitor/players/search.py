"""Search at decision time: the likeliest actions are tried out on a rink, and the best of them is played.

"search:CHECKPOINT" is a player like any other. Each step the policy names its likeliest joint actions; each of them is
played on for a few steps (`competitor.players.rollouts`), and what comes of it, plus a small weight times how likely
the policy finds the action, decides. What that wins, and what did not: docs/search.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from competitor.errors import PlayerError
from competitor.players.rollouts import GUESSES, Rollouts, Situation, new_rink
from competitor.rink.constants import KEEP_STEPS, OBSERVATION_SIZE, WIN_REWARD
from competitor.rink.observation import OTHER_SIGNS, OTHERS
from competitor.rink.simulation import Simulation
from dreamer.agent import Dreamer
from dreamer.fast import plainly
from dreamer.sequence_model import State, features

PREFIX = "search:"
CANDIDATES = 8
LEAST_SHARE = 0.05
"""How likely an action has to be, compared with the likeliest, to be tried."""
PULL = 0.01
"""What a nat of log probability is worth, in goals: enough that the critic's noise does not decide."""
ROWS = 8
"""Rounds that are searched together; more would only need more rinks."""
LIMITS = torch.tensor([5.0, 4.0, 4.0, 100.0, 100.0, 100.0] * 2 + [5.0, 4.0, 100.0, 100.0, KEEP_STEPS, KEEP_STEPS])
"""The largest numbers (18,) that a rink is put to: what lies beyond is no observation of it."""
MOST_GOAL = 1e6  # as in the settings
OTHER = "other_"
Candidates = tuple[Tensor, Tensor]
"""Actions (n, 4), the likeliest first, and their log probabilities less its (n,)."""


class Searcher:
    """Acts as its `Dreamer` does, but plays the best of a few actions.

    Its state is the agent's, and beside it `other_*`, that of the agent in the other player's place, and `before`
    (batch, 18), what was seen last.
    """

    def __init__(self, agent: Dreamer, name: str, goal: float = WIN_REWARD) -> None:
        """goal: what one is worth to the critic. Raises PlayerError for an agent of a rink without keep mode."""
        if agent.obs_size != OBSERVATION_SIZE:
            raise PlayerError(f"{name} cannot search: that is for checkpoints trained with rink.keep_mode = true")
        self._agent, self._goal = agent, goal
        self._rinks: list[Simulation] = []

    def initial_state(self, batch: int) -> State:
        """States before anything was seen, (batch, ...)."""
        own = self._agent.initial_state(batch)
        before = own["h"].new_zeros(batch, OBSERVATION_SIZE)
        return own | {OTHER + key: part.clone() for key, part in own.items()} | {"before": before}

    @torch.no_grad()
    def act(
        self, state: State, obs: Tensor, is_first: Tensor, *, deterministic: bool = False, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """One step of play for a batch of rounds, see `Dreamer.act`; a row is the same alone and in any batch.

        Where nothing can be searched, as the observation is none of a rink, the agent's own action is played. Not
        deterministic: what the agent believes is drawn, and its own action; what is searched is not.
        """
        other = {key.removeprefix(OTHER): part for key, part in state.items() if key.startswith(OTHER)}
        own = {key: state[key] for key in other}
        own, action = self._agent.act(own, obs, is_first, deterministic=deterministic, noise=noise)
        seen_there = obs[:, OTHERS] * torch.from_numpy(OTHER_SIGNS)
        other, _ = self._agent.act(other, seen_there, is_first, deterministic=True)
        before = torch.where((is_first | ~_is_plausible(state["before"]))[:, None], obs, state["before"])
        action = action.clone()
        searched = (_is_plausible(obs) & torch.isfinite(action).all(1)).nonzero().squeeze(1).tolist()
        tried = {row: self._candidates(own, row) for row in searched}
        open_rows = [row for row, (actions, _) in tried.items() if len(actions) > 1]
        for start in range(0, len(open_rows), ROWS):
            rows = open_rows[start : start + ROWS]
            players = [{key: part[rows] for key, part in state.items()} for state in (own, other)]
            situations = [Situation(before[row].numpy(), obs[row].numpy()) for row in rows]
            action[rows] = self._best(players, situations, [tried[row] for row in rows])
        after = own | {"action": action} | {OTHER + key: part for key, part in other.items()}
        return after | {"before": obs.clamp(-1000.0, 1000.0)}, action

    def _best(self, players: Sequence[State], situations: Sequence[Situation], tried: Sequence[Candidates]) -> Tensor:
        """The best of the actions tried in each of so many rounds: (rows, 4). players: own and other's states."""
        counts = [len(actions) for actions, _ in tried]
        of_row = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        actions, log_probs = (torch.cat(parts) for parts in zip(*tried, strict=True))
        own, other = ({key: part[of_row] for key, part in state.items()} for state in players)
        while len(self._rinks) < GUESSES * len(of_row):
            self._rinks.append(new_rink())
        trials = Rollouts(
            self._agent, own | {"action": actions}, other, [situations[row] for row in of_row], self._rinks
        )
        scores = trials.values(self._goal) + PULL * self._goal * log_probs
        return torch.stack(
            [
                row[score.nan_to_num(nan=-torch.inf).argmax()]
                for row, score in zip(torch.split(actions, counts), torch.split(scores, counts), strict=True)
            ]
        )

    def _candidates(self, own: State, row: int) -> Candidates:
        policy = self._agent.behavior.policy
        with plainly():
            seen = features({key: part[row : row + 1] for key, part in own.items()})
            output: Any = policy.net(seen)[0]
            actions, log_probs = policy.distribution(output).likeliest(CANDIDATES)
        kept = log_probs >= torch.tensor(LEAST_SHARE).log()
        return actions[kept], log_probs[kept]


def goal_of(card: Mapping[str, Any]) -> float:
    """What a goal was worth to the critic of a checkpoint, by its card; that of the rink where it says nothing."""
    reward = card.get("reward")
    goal = reward.get("goal") if isinstance(reward, dict) else None
    return float(goal) if isinstance(goal, int | float) and 0 < goal <= MOST_GOAL else WIN_REWARD


def _is_plausible(obs: Tensor) -> Tensor:
    """Whether observations (batch, 18) can be those of a rink: (batch,)."""
    return (obs.abs() <= LIMITS).all(1) & (obs[:, -2:] >= 0.0).all(1)
