"""What the players see of a simulation: 18 numbers each (16 without keep mode), and the infos.

Index: 0-1 own x, y relative to the centre; 2 own angle; 3-4 own velocity; 5 own angular velocity; 6-11 the
same of the opponent; 12-13 puck x, y; 14-15 puck velocity; 16 steps for which one can still keep the puck;
17 the same of the opponent. Player two sees the rink rotated by 180 degrees, so that both play from left to
right.
"""

from collections.abc import Sequence
from math import sqrt
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.rink.constants import CENTER_X, CENTER_Y, KEEP_STEPS, MAX_PUCK_SPEED, NORMAL_LIMIT, OBSERVATION_SIZE
from competitor.rink.rules import f32_pair
from competitor.rink.simulation import Simulation

OBS_MIRROR = np.array([1, -1, -1, 1, -1, -1] * 2 + [1, -1, 1, -1, 1, 1], np.float32)
"""Signs (18,) of an observation when the rink is reflected up-down."""
ACTION_MIRROR = np.array([1, -1, -1, 1], np.float32)
"""Signs (4,) of an action when the rink is reflected up-down."""

OTHERS = np.r_[6:12, 0:6, 12:16, 17, 16]
"""Where the other player's view (18,) has each of its numbers in one's own,"""
OTHER_SIGNS = np.array([-1, -1, 1, -1, -1, 1] * 2 + [-1, -1, -1, -1, 1, 1], np.float32)
"""and the signs (18,) that they get there."""
_CENTRE = (CENTER_X, CENTER_Y, 0.0, 0.0, 0.0, 0.0)
_CENTRES = np.array(_CENTRE * 2 + _CENTRE[:2] + (0.0, 0.0))

VIEW = Struct(f"{OBSERVATION_SIZE}f")
"""The layout of a view in memory. Writing it also rounds the positions, which were subtracted as doubles."""
pack_view = VIEW.pack_into

InfoRow = tuple[float, float, float, int]
INFO_KEYS = ("reward_closeness_to_puck", "reward_touch_puck", "reward_puck_direction", "winner")


def write_view_one(rink: Simulation, buffer: memoryview, offset: int) -> None:
    """Write player one's view, 18 float32 numbers, into a buffer of bytes at an offset in bytes.

    Without keep mode only the first 16 are of use.
    """
    x1, y1, angle1, vx1, vy1, spin1, x2, y2, angle2, vx2, vy2, spin2, x, y, vx, vy = rink.state
    score = rink.score
    pack_view(
        buffer, offset,
        x1 - CENTER_X, y1 - CENTER_Y, angle1, vx1, vy1, spin1,
        x2 - CENTER_X, y2 - CENTER_Y, angle2, vx2, vy2, spin2,
        x - CENTER_X, y - CENTER_Y, vx, vy, score.held_1, score.held_2,
    )  # fmt: skip


def write_view_two(rink: Simulation, buffer: memoryview, offset: int) -> None:
    """Write player two's view, like write_view_one."""
    x1, y1, angle1, vx1, vy1, spin1, x2, y2, angle2, vx2, vy2, spin2, x, y, vx, vy = rink.state
    score = rink.score
    pack_view(
        buffer, offset,
        CENTER_X - x2, CENTER_Y - y2, angle2, -vx2, -vy2, spin2,
        CENTER_X - x1, CENTER_Y - y1, angle1, -vx1, -vy1, spin1,
        CENTER_X - x, CENTER_Y - y, -vx, -vy, score.held_2, score.held_1,
    )  # fmt: skip


def other_view(views: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """What the other player sees of views (..., 18) of one: the same rink, turned by 180 degrees.

    Everything is negated, zeros too, as the course's server's -0.0 shows.
    """
    return np.asarray(views[..., OTHERS] * OTHER_SIGNS, np.float64)


def state_of_view(view: NDArray[np.floating]) -> list[float]:
    """The State in world coordinates of which player one has this view (18,) or (16,)."""
    state: list[float] = (view[:16].astype(np.float64) + _CENTRES).tolist()
    return state


def info_one(rink: Simulation) -> InfoRow:
    """Player one's closeness, touch and direction rewards of the last step, and the winner; see INFO_KEYS."""
    state, score = rink.state, rink.score
    x, dy = state[12], state[1] - state[13]
    return _info_row(state[0] - x, dy, x - CENTER_X, state[14], score.held_1, rink.limit, score.winner)


def info_two(rink: Simulation) -> InfoRow:
    """Player two's rewards, like info_one; the winner is 1 if player two won."""
    state, score = rink.state, rink.score
    x, dy = state[12], state[13] - state[7]
    return _info_row(x - state[6], dy, CENTER_X - x, -state[14], score.held_2, rink.limit, -score.winner)


def info_of_view(view: Sequence[float], winner: int) -> InfoRow:
    """What info_one says of an ordinary round, from the player's own view (18,); winner: 1 if it has won.

    A view is rounded, so the closeness may differ in its seventh digit from what the rink itself says.
    """
    x = view[12]
    return _info_row(view[0] - x, view[1] - view[13], x, view[14], view[16], NORMAL_LIMIT, winner)


def _info_row(dx: float, dy: float, x: float, vx: float, held: float, limit: int, winner: int) -> InfoRow:
    """The infos in a player's own frame: its way from the puck, the puck's x from the centre and its speed.

    Closeness is minus 30 for a whole round spent 250 pixels away from a puck that the player should fetch.
    """
    closeness = 0.0
    if x < 0 and vx <= 0:
        dx, dy = f32_pair(dx, dy)
        closeness = sqrt(dx * dx + dy * dy) * (-30 / ((250 / 60) * limit / 2))
    return closeness, 1.0 if held == KEEP_STEPS else 0.0, vx / (limit * MAX_PUCK_SPEED), winner
