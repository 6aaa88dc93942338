"""Where a dream goes wrong: the physics of the puck alone, and shots in flight, apart from what an opponent may do.

A shot scores about seven steps after it has left the racket, so whether its goal is dreamed decides what an agent can
learn to save or to shoot.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PUCK, PUCK_VELOCITY = slice(12, 14), 14
RACKETS = (slice(0, 2), slice(6, 8))
REACH = 1.5
"""Units within which puck and racket can touch in a step: half a racket, the puck, and the way of a shot."""
SHOT_SPEED = 10.0
"""Along the rink, in units of the observation: what is slower reaches no goal within the steps that are judged."""
GOAL_LINE = 3.7
"""Where a puck that flies to an end touches the wall there, or goes on into the goal, in units from the middle."""


@dataclass(frozen=True)
class ShotReport:
    """Shots in flight at the end of the context, which reach an end of the rink within the steps that are judged."""

    shots: int
    arriving: float
    """Share of them whose puck reaches that end in the dream, too."""
    y_median: float
    y_mean: float
    """How far from the truth those cross the goal line, in units."""
    goals: int
    goals_seen: float
    """Share of the goals among them whose end is dreamed."""
    false_alarms: float
    """Share of the others for which an end is dreamed."""


def untouched(real: Tensor) -> Tensor:
    """Whether (windows,) no racket comes within reach of the puck; real (steps, windows, obs)."""
    puck = real[..., PUCK]
    near = [(real[..., racket] - puck).norm(dim=-1) < REACH for racket in RACKETS]
    return ~torch.stack(near).flatten(0, 1).any(0)


def check_shots(dreamed: Tensor, real: Tensor, scores: Tensor, expected: Tensor) -> ShotReport:
    """Compare dreamed with real observations (1 + steps, windows, obs).

    scores, expected (windows,): whether a goal follows, and whether the dream expects the end of the round.
    """
    speed = real[0, :, PUCK_VELOCITY]
    truth, dream = _crossing(real, speed.sign()), _crossing(dreamed, speed.sign())
    shot = (speed.abs() >= SHOT_SPEED) & truth.isfinite()
    arrives = shot & dream.isfinite()
    away = (dream - truth)[arrives].abs()
    return ShotReport(
        shots=int(shot.sum()),
        arriving=share(arrives[shot]),
        y_median=median(away),
        y_mean=mean(away),
        goals=int((shot & scores).sum()),
        goals_seen=share(expected[shot & scores]),
        false_alarms=share(expected[shot & ~scores]),
    )


def _crossing(track: Tensor, side: Tensor) -> Tensor:
    """Where (windows,) the puck of a track (steps, windows, obs) first crosses the goal line of a side: y, or NaN."""
    x, y = track[..., PUCK.start] * side, track[..., PUCK.start + 1]
    beyond = (x[1:] >= GOAL_LINE) & (x[:-1] < GOAL_LINE)
    step, windows = beyond.float().argmax(0), torch.arange(x.shape[1])
    part = (GOAL_LINE - x[step, windows]) / (x[step + 1, windows] - x[step, windows])
    crossed = torch.lerp(y[step, windows], y[step + 1, windows], part)
    return torch.where(beyond.any(0), crossed, torch.nan)


def median(values: Tensor) -> float:
    """The median of (count,); NaN of none."""
    return float(values.median()) if len(values) else math.nan


def share(flags: Tensor) -> float:
    """The share of (count,) flags that are set; NaN of none."""
    return float(flags.float().mean()) if len(flags) else math.nan


def mean(values: Tensor) -> float:
    """The mean of (count,); NaN of none."""
    return float(values.mean()) if len(values) else math.nan
