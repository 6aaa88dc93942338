"""What a player's action does to its body: pushing, turning, shooting.

Every number must round exactly as in the reference: plain Python floats are doubles, `f32` marks the places
where the reference passes through a float32, and the engine rounds forces to float32 on their way in.
"""

from math import cos, sin, sqrt
from struct import Struct
from typing import Any

from Box2D import b2Vec2

from competitor.rink.bindings import (
    Handle,
    apply_force,
    apply_torque,
    mass_of,
    set_angular_damping,
    set_linear_damping,
    set_vector_x,
    set_vector_y,
    velocity_of,
)
from competitor.rink.constants import (
    CENTER_X,
    CENTER_ZONE,
    FORCE,
    GOAL_ZONE,
    HEIGHT,
    MAX_ANGLE,
    MAX_PLAYER_SPEED,
    SHOOT_FORCE,
    SIDE_MARGIN,
    TIME_STEP,
    TORQUE,
)

_pair = Struct("2f")
_pack, _unpack = _pair.pack, _pair.unpack


def f32_pair(first: float, second: float) -> tuple[float, float]:
    """The float32 values nearest to two doubles, as doubles."""
    first, second = _unpack(_pack(first, second))
    return first, second


def f32(value: float) -> float:
    """The float32 nearest to a double, as a double."""
    return f32_pair(value, 0.0)[0]


TIME_STEP_F32 = f32(TIME_STEP)
NEARLY_FAST = MAX_PLAYER_SPEED**2 - 0.001
"""A squared speed below which no root is needed to know that a player is slow."""
UPPER_EDGE, LOWER_EDGE = HEIGHT - SIDE_MARGIN, SIDE_MARGIN


def shot(mass: float, angle: float, side: int) -> Any:
    """The force on a puck of that mass shot by a player at that angle; a vector of the engine."""
    force = b2Vec2(cos(angle), sin(angle)) * mass / TIME_STEP * SHOOT_FORCE
    return force if side > 0 else -force


def first_push(mass: float, start: Any, target: tuple[float, float]) -> Any:
    """The force that starts a defence round: the puck at `start` flies towards `target`."""
    direction = start - b2Vec2(*target)
    direction = direction / direction.length
    return -direction * SHOOT_FORCE * mass / TIME_STEP


class Control:
    """Turns the actions of one player into forces on its body.

    Side is 1 for player one and -1 for player two, who sees the rink rotated by 180 degrees. The dampings
    are remembered, because setting one costs as much as a whole formula.
    """

    __slots__ = ("_angular_damping", "_body", "_linear_damping", "_mass", "_side", "_velocity")

    def __init__(self, body: Handle, side: int) -> None:
        self._body = body
        self._velocity = velocity_of(body)
        self._side = float(side)
        self._mass: float = mass_of(body)
        self._linear_damping = self._angular_damping = 0.0

    def drive(
        self,
        push_x: float,
        push_y: float,
        turn: float,
        x: float,
        y: float,
        angle: float,
        vx: float,
        vy: float,
        spin: float,
    ) -> None:
        """Apply an action (float32 values in [-1, 1]) to the body, whose present state follows it.

        One long function, because calls and attribute look-ups are what the time of a step consists of.
        """
        # Force. own_x is below zero in the own half.
        side, body = self._side, self._body
        force_x, force_y = side * push_x * FORCE, side * push_y * FORCE
        own_x = side * (x - CENTER_X)
        damping, applied = 5.0, True
        if own_x > -CENTER_ZONE:
            force_x, damping = self._centre_force(own_x, vx), 20.0
        elif vx * vx + vy * vy >= NEARLY_FAST and (speed := sqrt(vx * vx + vy * vy)) >= MAX_PLAYER_SPEED:
            damping, applied = 20.0, self._slows_down(force_x, force_y, vx, vy, speed)
        if damping != self._linear_damping:
            self._linear_damping = damping
            set_linear_damping(body, damping)
        if applied:
            if (own_x < -GOAL_ZONE and side * force_x < 0) or (own_x > 0 and side * force_x > 0):
                force_x = 0.0
                set_vector_x(self._velocity, 0.0)
            if (y > UPPER_EDGE and force_y > 0) or (y < LOWER_EDGE and force_y < 0):
                force_y = 0.0
                set_vector_y(self._velocity, 0.0)
            apply_force(body, (force_x, force_y), True)
        # Torque.
        if -MAX_ANGLE <= angle <= MAX_ANGLE:
            torque, damping = turn * TORQUE, 2.0
        else:
            torque, damping = self._straightening(angle, spin), 10.0
        if damping != self._angular_damping:
            self._angular_damping = damping
            set_angular_damping(body, damping)
        apply_torque(body, torque, True)

    def _centre_force(self, own_x: float, vx: float) -> float:
        """The x force near and beyond the centre line: it brakes and sends the player home."""
        brake = f32(-2 * vx * self._mass / TIME_STEP) if self._side * vx > 0 else 0.0
        return f32(brake + f32(-own_x * vx * self._mass / TIME_STEP))

    def _slows_down(self, force_x: float, force_y: float, vx: float, vy: float, speed: float) -> bool:
        """Whether a player above the speed limit would become slower by the force."""
        force_x, force_y = f32_pair(force_x, force_y)
        push_x, push_y = f32_pair(TIME_STEP_F32 * force_x, TIME_STEP_F32 * force_y)
        gain_x, gain_y = f32_pair(push_x / self._mass, push_y / self._mass)
        new_x, new_y = vx + gain_x, vy + gain_y
        return sqrt(new_x * new_x + new_y * new_y) < speed

    def _straightening(self, angle: float, spin: float) -> float:
        """The torque that turns a player back who has turned too far."""
        torque = -0.1 * spin * self._mass / TIME_STEP if angle * spin > 0 else 0.0
        return torque + -0.1 * angle * self._mass / TIME_STEP
