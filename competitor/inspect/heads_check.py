"""What critic, reward and continue head make of whole recorded rounds.

Two questions: does what the critic expects come true in the rounds that its own policy plays, and do the heads say
late in a round, after a latent state has lived through all of it, what they say after a fresh context. A recurrent
state that was only ever trained on short windows drifts off in a whole round, while every training loss looks fine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import methodcaller

import numpy as np
import torch
from torch import Tensor

from competitor.inspect.dream_check import CONTEXT, Windows, context_state, cut_windows, whole_rounds, window_starts
from dreamer.agent import Dreamer
from dreamer.replay import Episode
from dreamer.sequence_model import State, carried, features, stack
from dreamer.world_model import WorldModel

LATE = 150
"""From this step on a round counts as late; it ends at 251 at most."""


@dataclass(frozen=True)
class CriticReport:
    """The critic after each context, against the rest of the round: means over all states."""

    value: float
    real: float
    """Discounted rewards that really came until the round's end; nothing is added where time ended it."""
    bias: float
    """Expected minus real: positive is optimistic."""
    error95: float
    """Half width of the bias's 95 % interval; the states of a round are taken as one observation."""
    states: int


@dataclass(frozen=True)
class DriftReport:
    """The heads in states late in a round, filtered from its start and from a fresh context: means over the states.

    goes_on: the probability that the round continues; the differences are absolute ones. NaN without states.
    """

    goes_on_whole: float
    goes_on_fresh: float
    goes_on_difference: float
    reward_difference: float
    states: int


@torch.no_grad()
def check_critic(agent: Dreamer, episodes: Sequence[Episode], *, seed: int) -> CriticReport:
    """Compare the critic with the rest of each round that the agent's own policy has played.

    Raises ValueError when no round is long enough for a context.
    """
    state = context_state(agent.world_model, cut_windows(episodes, dreamed=0), torch.Generator().manual_seed(seed))
    values = agent.behavior.value.mean(agent.behavior.value(features(state)))
    discount = agent.config.behavior.discount
    real = torch.cat([_returns_after_contexts(episode, discount) for episode in episodes])
    lengths = [len(window_starts(episode)) for episode in episodes]
    error95 = clustered_error95(values - real, lengths)
    value, came = float(values.mean()), float(real.mean())
    return CriticReport(value, came, value - came, error95, len(values))


def _returns_after_contexts(episode: Episode, discount: float) -> Tensor:
    """Discounted rewards (windows,) from the end of each of the round's contexts to its own end."""
    starts = window_starts(episode)
    returns = np.zeros(len(episode.reward) + 1)
    for step in range(len(episode.reward) - 1, -1, -1):
        returns[step] = episode.reward[step] + discount * returns[step + 1]
    return torch.tensor([returns[start + CONTEXT - 1] for start in starts], dtype=torch.float32)


def clustered_error95(differences: Tensor, lengths: Sequence[int]) -> float:
    """1.96 standard errors of the mean difference (states,); `lengths`: how many states each round has, in order."""
    rest = (differences - differences.mean()).double().numpy()
    of_rounds = [part.sum() for part in np.split(rest, np.cumsum(lengths)[:-1])]
    return 1.96 * math.sqrt(np.square(of_rounds).sum()) / len(rest)


@torch.no_grad()
def check_drift(world: WorldModel, episodes: Sequence[Episode]) -> DriftReport:
    """Compare the heads late in each round with what they say after the last CONTEXT steps alone.

    Both are filtered with the likeliest latents, so that chance makes no difference.
    """
    first = LATE - CONTEXT + 1
    late = [episode for episode in episodes if window_starts(episode, first=first)]
    if not late:
        nothing = float("nan")
        return DriftReport(nothing, nothing, nothing, nothing, 0)
    windows = cut_windows(late, dreamed=0, first=first)
    fresh = _heads(world, features(filtered(world, windows))[-1])
    whole = _heads(world, late_features(world, late, first))
    apart = [float((one - other).abs().mean()) for one, other in zip(whole, fresh, strict=True)]
    return DriftReport(float(whole[0].mean()), float(fresh[0].mean()), apart[0], apart[1], len(windows.goal))


def late_features(world: WorldModel, episodes: Sequence[Episode], first: int) -> Tensor:
    """Features (windows, feature) at the end of each context, filtered from the round's first step on."""
    seen = features(filtered(world, whole_rounds(episodes)))
    at = [(start + CONTEXT - 1, i) for i, one in enumerate(episodes) for start in window_starts(one, first=first)]
    steps, rounds = zip(*at, strict=True)
    return seen[list(steps), list(rounds)]


def filtered(world: WorldModel, windows: Windows) -> State:
    """Likeliest states (time, windows, ...), filtered from nothing over all steps of the windows."""
    state = world.dynamics.initial(windows.obs.shape[1])
    states, first = [], torch.ones(windows.obs.shape[1], dtype=torch.bool)
    for obs, action in zip(windows.obs, windows.action, strict=True):
        state = carried(world.filter_step(state, action, obs, first, choose=methodcaller("mode")))
        first = torch.zeros_like(first)
        states.append(state)
    return stack(states)


def _heads(world: WorldModel, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(probability that the round continues, expected reward), both (...), of features (..., feature)."""
    return torch.sigmoid(world.continue_head(seen)).squeeze(-1), world.reward_head.mean(world.reward_head(seen))
