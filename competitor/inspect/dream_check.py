"""How good a dream is, told by recorded rounds that the world model has not learned from.

Three questions: how far from the truth the bodies are after so many dreamed steps; whether a goal that follows is
dreamed, and how often one that does not; whether the dreamed returns are those that really came. The model sees
`CONTEXT` real steps, then dreams on with the actions that were really taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from competitor.inspect.physics_check import ShotReport, check_shots, mean, median, share, untouched
from competitor.rink.constants import MOST_STEPS
from dreamer.replay import Array, Episode
from dreamer.sequence_model import State, carried, features, stack
from dreamer.world_model import WorldModel

CONTEXT = 20
STRIDE = 10
HORIZONS = (0, 1, 5, 7, 15, 30)
GOAL_HORIZON = 15
REPORTED = (7, GOAL_HORIZON)
"""The horizons that a training reports: a shot's flight, and a dream. It needs to dream no farther."""
Cut = tuple[Array, Array, Array, int, bool]
"""The fields of Windows for one window, without their axis of windows."""
BODIES = {"own": slice(0, 2), "opponent": slice(6, 8), "puck": slice(12, 14)}
"""Where an observation holds the position of each body, in units of the observation."""


@dataclass(frozen=True)
class Windows:
    """Equally long cuts from rounds: obs (time, windows, obs), action (time, windows, action) that led to each.

    reward (time, windows); steps_left (windows,): from the last context step to the end of the round; goal (windows,):
    the round ended by a goal. Beyond the end, obs and reward repeat and are not looked at; actions are zero.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    steps_left: Tensor
    goal: Tensor


@dataclass(frozen=True)
class DreamReport:
    """What `check_dream` found. errors, means: body -> horizon -> median and mean distance in units."""

    errors: dict[str, dict[int, float]]
    means: dict[str, dict[int, float]]
    untouched: dict[int, float]
    """horizon -> median distance of the puck in the windows in which no racket comes near it."""
    untouched_windows: int
    shots: ShotReport
    goals_seen: float
    """Of windows in which a goal follows within 15 steps, the share in which the dream expects the end."""
    false_alarms: float
    """The same share of windows whose round goes on for longer."""
    return_dreamed: float
    return_real: float
    """Mean discounted reward of the 15 steps after the context, dreamed with the true actions, and real."""
    return_bias: float
    """Dreamed minus real: positive is optimistic."""
    windows: int
    goal_windows: int
    """Windows in which a goal follows within 15 steps."""


def window_starts(episode: Episode, *, first: int = 0) -> range:
    """Where the windows of a round begin: one every STRIDE steps from `first` on; at least one step is left after
    each context."""
    return range(first, len(episode) - CONTEXT, STRIDE)


def cut_windows(episodes: Sequence[Episode], *, dreamed: int = max(HORIZONS), first: int = 0) -> Windows:
    """Windows of CONTEXT + `dreamed` steps, round by round as `window_starts` says.

    Raises ValueError when no round is long enough for one.
    """
    length = CONTEXT + dreamed
    cuts = [_cut(one, start, length) for one in episodes for start in window_starts(one, first=first)]
    if not cuts:
        raise ValueError(f"no round is longer than the {CONTEXT} steps of context")
    return _beside_each_other(cuts)


def whole_rounds(episodes: Sequence[Episode]) -> Windows:
    """Each round from its first step on as one window, as long as the longest of them."""
    longest = max(len(episode) for episode in episodes)
    return _beside_each_other([_cut(episode, 0, longest) for episode in episodes])


def _beside_each_other(cuts: Sequence[Cut]) -> Windows:
    obs, action, reward = (torch.from_numpy(np.stack([cut[i] for cut in cuts], axis=1)) for i in range(3))
    left, goal = (torch.tensor([cut[i] for cut in cuts]) for i in (3, 4))
    return Windows(obs, action, reward, left, goal)


def _cut(episode: Episode, start: int, length: int) -> Cut:
    entries = np.minimum(np.arange(start, start + length), len(episode) - 1)
    led = np.clip(np.arange(start - 1, start + length - 1), 0, len(episode.action) - 1)
    action, reward = episode.action[led].copy(), episode.reward[led].copy()
    ended = np.arange(start, start + length) > len(episode) - 1
    action[ended], reward[ended] = 0.0, 0.0
    if start == 0:
        action[0], reward[0] = 0.0, 0.0
    goal = episode.terminal and len(episode.action) < MOST_STEPS  # the clock ends a round for good, too
    return episode.obs[entries], action, reward, len(episode) - start - CONTEXT, goal


@torch.no_grad()
def context_state(world: WorldModel, windows: Windows, generator: Generator) -> State:
    """States (windows, ...) at the end of the context, filtered from nothing."""
    is_first = torch.zeros(CONTEXT, windows.obs.shape[1], dtype=torch.bool)
    is_first[0] = True
    seen, _ = world.observe_sequence(windows.obs[:CONTEXT], windows.action[:CONTEXT], is_first, None, generator)
    return {key: part[-1] for key, part in carried(seen).items()}


@torch.no_grad()
def dream_on(world: WorldModel, windows: Windows, generator: Generator) -> State:
    """States (1 + dreamed, windows, ...): the last of the context, then the dream under the true actions."""
    state = context_state(world, windows, generator)
    states = [state]
    for action in windows.action[CONTEXT:]:
        state = carried(world.dynamics.prior_step(state, action, generator))
        states.append(state)
    return stack(states)


@torch.no_grad()
def check_dream(
    world: WorldModel, windows: Windows, *, discount: float, seed: int = 0, horizons: Sequence[int] = HORIZONS
) -> DreamReport:
    """Dream through all windows once and compare with what really happened."""
    generator = torch.Generator().manual_seed(seed)
    states = dream_on(world, windows, generator)
    seen = features(states)
    expected = torch.sigmoid(world.continue_head(seen)).squeeze(-1)[1 : GOAL_HORIZON + 1].prod(0) < 0.5
    follows = windows.goal & (windows.steps_left <= GOAL_HORIZON)
    dreamed, real = _returns(world, seen, windows, discount)
    decoded, came = world.decode(states), windows.obs[CONTEXT - 1 :]
    distances, judged = body_distances(decoded, windows), slice(GOAL_HORIZON + 1)
    alone = untouched(came[judged])
    near_horizons = [horizon for horizon in horizons if horizon <= GOAL_HORIZON]
    return DreamReport(
        errors={body: _at(of_body, windows, horizons, median) for body, of_body in distances.items()},
        means={body: _at(of_body, windows, horizons, mean) for body, of_body in distances.items()},
        untouched=_at(distances["puck"], windows, near_horizons, median, alone),
        untouched_windows=int(alone.sum()),
        shots=check_shots(decoded[judged], came[judged], follows, expected),
        goals_seen=share(expected[follows]),
        false_alarms=share(expected[windows.steps_left > GOAL_HORIZON]),
        return_dreamed=float(dreamed.mean()),
        return_real=float(real.mean()),
        return_bias=float(dreamed.mean()) - float(real.mean()),
        windows=len(windows.goal),
        goal_windows=int(follows.sum()),
    )


def _at(
    distances: Tensor,
    windows: Windows,
    horizons: Sequence[int],
    middle: Callable[[Tensor], float],
    chosen: Tensor | None = None,
) -> dict[int, float]:
    """horizon -> the middle of distances (1 + dreamed, windows), of the chosen windows whose round lasts so long."""
    taken = torch.ones_like(windows.goal) if chosen is None else chosen
    return {horizon: middle(distances[horizon][taken & (windows.steps_left >= horizon)]) for horizon in horizons}


def body_distances(decoded: Tensor, windows: Windows) -> dict[str, Tensor]:
    """How far (1 + dreamed, windows) each body is from the truth, in units; decoded (1 + dreamed, windows, obs)."""
    away = decoded - windows.obs[CONTEXT - 1 :]
    return {body: away[..., where].norm(dim=-1) for body, where in BODIES.items()}


def _returns(world: WorldModel, seen: Tensor, windows: Windows, discount: float) -> tuple[Tensor, Tensor]:
    """Discounted rewards (windows,) of GOAL_HORIZON steps: dreamed, until the dream expects the end, and real."""
    after = seen[1 : GOAL_HORIZON + 1]
    rewards = world.reward_head.mean(world.reward_head(after))
    alive = torch.sigmoid(world.continue_head(after)).squeeze(-1).cumprod(0)
    alive = torch.cat([torch.ones_like(alive[:1]), alive[:-1]])
    discounts = discount ** torch.arange(GOAL_HORIZON)[:, None]
    real = windows.reward[CONTEXT : CONTEXT + GOAL_HORIZON]
    return (discounts * alive * rewards).sum(0), (discounts * real).sum(0)
