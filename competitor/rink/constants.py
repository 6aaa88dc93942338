"""The numbers of the rink and the kinds of rounds: sizes in units (60 pixels each), times in seconds.

Source: the course's `hockey` environment 2.6; see docs/rink.md.
"""

from __future__ import annotations

import math
from enum import Enum

SCALE = 60.0
"""Pixels in one unit."""
VIEW_WIDTH, VIEW_HEIGHT = 600, 480
"""Size of a rendered frame in pixels."""
WIDTH, HEIGHT = VIEW_WIDTH / SCALE, VIEW_HEIGHT / SCALE
CENTER_X, CENTER_Y = WIDTH / 2, HEIGHT / 2

FPS = 50
TIME_STEP = 1.0 / FPS
VELOCITY_ITERATIONS = 180
POSITION_ITERATIONS = 60

CENTER_ZONE = 0.5
"""Half width of the strip at the centre line where players are slowed down."""
GOAL_ZONE = 210 / SCALE
"""Distance from the centre beyond which a player cannot push towards its own goal."""
SIDE_MARGIN = 1.2
"""Distance from the upper and lower edge beyond which a player cannot push further."""

FORCE = 6000.0
TORQUE = 400.0
MAX_PLAYER_SPEED = 10.0
MAX_PUCK_SPEED = 25.0
MAX_ANGLE = math.pi / 3
SHOOT_FORCE = 60.0

KEEP_STEPS = 15
"""Steps for which a player can hold the puck."""
NORMAL_LIMIT = 250
MOST_STEPS = NORMAL_LIMIT + 1
"""A round without a goal ends by time after so many steps (docs/rink.md)."""
TRAINING_LIMIT = 80

WIN_REWARD = 10.0

OBSERVATION_SIZE = 18
ACTION_SIZE = 4


class Mode(Enum):
    """NORMAL is the game; the training modes are short rounds of one situation."""

    NORMAL = 0
    TRAIN_SHOOTING = 1
    TRAIN_DEFENSE = 2

    @property
    def limit(self) -> int:
        """Value of the step counter at which a round of this mode ends."""
        return NORMAL_LIMIT if self is Mode.NORMAL else TRAINING_LIMIT

    @classmethod
    def parse(cls, value: Mode | str | int) -> Mode:
        """The mode given as a member, a name or a number.

        Raises ValueError for anything else.
        """
        if isinstance(value, Enum):  # also the course package's own Mode
            value = value.value
        try:
            return cls[value] if isinstance(value, str) else cls(value)
        except (KeyError, ValueError):
            names = ", ".join(f"{mode.name} ({mode.value})" for mode in cls)
            raise ValueError(f"unknown mode {value!r}: expected one of {names}") from None
