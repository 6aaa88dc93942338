"""How a player plays, in numbers: where it stands, how long it holds the puck, how it shoots."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from competitor.play.rounds import Round
from competitor.players import Array
from competitor.rink.constants import KEEP_STEPS

X, Y, PUCK_VX, PUCK_VY, KEEP = 0, 1, 14, 15, 16
LEAST_SHOT_SPEED = 10.0  # units/s towards the other goal: what is slower was let go, not shot


@dataclass(frozen=True)
class Style:
    """What was seen in some rounds; None where nothing of the kind happened.

    shots: per round; a shot is a held puck that leaves towards the other goal at LEAST_SHOT_SPEED or more.
    shot_speed: median speed at the release in units/s. shot_angle: median angle to the rink's length in degrees, 0 is
    straight. steps_held: median steps from the catch to the shot. holds: share of the steps with the puck held.
    x, y_spread: mean position along the rink (0 is the middle line, -5 the own end) and deviation across it.
    bang_bang: share of the numbers in its actions beyond 0.95. draws: share of the rounds.
    """

    rounds: int
    shots: float
    shot_speed: float | None
    shot_angle: float | None
    steps_held: float | None
    holds: float
    x: float
    y_spread: float
    bang_bang: float
    draws: float


def style_of(rounds: Iterable[Round]) -> Style:
    """The style of the player A of `rounds`, of which there must be at least one."""
    played = list(rounds)
    views = [round_.obs[round_.setup.side] for round_ in played]
    seen, actions = np.concatenate(views), np.concatenate([round_.actions[round_.setup.side] for round_ in played])
    shots = [shot for view in views for shot in shots_in(view)]
    columns = list(zip(*shots, strict=True))
    speed, angle, held = (round(float(np.median(column)), 2) for column in columns) if shots else (None, None, None)
    return Style(
        rounds=len(played),
        shots=len(shots) / len(played),
        shot_speed=speed,
        shot_angle=angle,
        steps_held=held,
        holds=float(np.mean(seen[:, KEEP] > 0)),
        x=float(np.mean(seen[:, X])),
        y_spread=float(np.std(seen[:, Y])),
        bang_bang=float(np.mean(np.abs(actions) > 0.95)),
        draws=float(np.mean([round_.result == 0 for round_ in played])),
    )


def shots_in(view: Array) -> list[tuple[float, float, int]]:
    """The shots in one player's view (steps + 1, 18): speed in units/s, angle in degrees, steps since the catch."""
    keep = view[:, KEEP]
    released = np.flatnonzero((keep[:-1] > 0) & (keep[1:] == 0)) + 1
    caught = np.flatnonzero((keep[1:] == KEEP_STEPS) & (keep[:-1] < KEEP_STEPS)) + 1
    shots = []
    for step in released:
        vx, vy = float(view[step, PUCK_VX]), float(view[step, PUCK_VY])
        if vx < LEAST_SHOT_SPEED:
            continue
        before = caught[caught < step]
        held = int(step - before[-1]) if before.size else int(step)
        shots.append((float(np.hypot(vx, vy)), float(np.degrees(np.arctan2(abs(vy), vx))), held))
    return shots
