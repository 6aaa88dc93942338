"""One rink: a world, its rules, and the state read back after every step.

This is the only implementation of the game; HockeyEnv and RinkBatch are two ways to drive it. Everything
that happens in every step works on plain floats, since a single small NumPy operation costs as much as the
engine needs for the physics of a free puck.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from Box2D import b2World

from competitor.rink.bindings import (
    Handle,
    angle_of,
    apply_force,
    mass_of,
    position_of,
    set_awake,
    set_linear_damping,
    set_spin,
    set_transform,
    set_velocity,
    spin_of,
    step_world,
    vector_x,
    vector_y,
    velocity_of,
)
from competitor.rink.bodies import Bodies
from competitor.rink.constants import (
    CENTER_X,
    HEIGHT,
    MAX_PUCK_SPEED,
    POSITION_ITERATIONS,
    TIME_STEP,
    VELOCITY_ITERATIONS,
    WIDTH,
    Mode,
)
from competitor.rink.referee import Referee, Score
from competitor.rink.rules import Control, first_push, shot

State = tuple[float, ...]
"""x, y, angle, vx, vy, spin of player one, the same of player two, x, y, vx, vy of the puck.

World coordinates in units, radians and seconds; doubles that hold float32 values.
"""
APART = (100.0, *[0.0] * 5, 200.0, *[0.0] * 5, 300.0, *[0.0] * 3)
"""Bodies so far from everything that the engine forgets all it remembers of their contacts."""


def state_reader(bodies: Bodies) -> Callable[[], State]:
    """A function that reads the state of these bodies; it must not be called once they are destroyed."""
    body_1, body_2, puck = bodies.player_1.this, bodies.player_2.this, bodies.puck.this
    at_1, at_2, at_puck = position_of(body_1), position_of(body_2), position_of(puck)
    speed_1, speed_2, speed_puck = velocity_of(body_1), velocity_of(body_2), velocity_of(puck)
    get_x, get_y, get_angle, get_spin = vector_x, vector_y, angle_of, spin_of

    def read() -> State:
        return (
            get_x(at_1), get_y(at_1), get_angle(body_1), get_x(speed_1), get_y(speed_1), get_spin(body_1),
            get_x(at_2), get_y(at_2), get_angle(body_2), get_x(speed_2), get_y(speed_2), get_spin(body_2),
            get_x(at_puck), get_y(at_puck), get_x(speed_puck), get_y(speed_puck),
        )  # fmt: skip

    return read


class Simulation:
    """The game on one rink. A new object holds no bodies: call `start` before anything else."""

    def __init__(self, keep_mode: bool = True) -> None:
        self.score = Score(keep_mode)
        self.mode = Mode.NORMAL
        self.time = 0
        self.limit = self.mode.limit
        self.one_starts = True
        self.bodies: Bodies | None = None
        self.world = b2World(gravity=(0, 0))
        self._world: Handle = self.world.this
        self._referee = Referee(self.score)
        self.world.contactListener = self._referee

    def start(self, mode: Mode, one_starting: bool | None, random: np.random.Generator) -> None:
        """Begin a round with new bodies. In NORMAL mode one_starting None lets the other player start."""
        if self.bodies is not None:
            self.bodies.destroy()
        self.mode, self.limit, self.time = mode, mode.limit, 0
        if mode is Mode.NORMAL:
            self.one_starts = not self.one_starts if one_starting is None else bool(one_starting)
        self.score.clear()
        self.bodies = bodies = Bodies(self.world)
        bodies.add_players(self._second_start(random))
        bodies.add_puck(self._puck_start(random))
        self._connect(bodies)
        if mode is Mode.TRAIN_DEFENSE:
            target = (0.0, HEIGHT / 2 + 0.6 * uniform(random, -1.25, 1.25))
            apply_force(self._puck, first_push(self._puck_mass, bodies.puck.position, target), True)

    def _second_start(self, random: np.random.Generator) -> tuple[float, float]:
        x, y = 4 * WIDTH / 5, HEIGHT / 2
        if self.mode is Mode.NORMAL:
            return x, y
        return x + uniform(random, -WIDTH / 3, WIDTH / 6), y + uniform(random, -HEIGHT / 4, HEIGHT / 4)

    def _puck_start(self, random: np.random.Generator) -> tuple[float, float]:
        if self.mode is Mode.TRAIN_DEFENSE:
            x = CENTER_X + uniform(random, 0, WIDTH / 3)
            return x, HEIGHT / 2 + 0.8 * uniform(random, -HEIGHT / 2, HEIGHT / 2)
        side = -1 if self.one_starts or self.mode is Mode.TRAIN_SHOOTING else 1
        return CENTER_X + side * uniform(random, 1, 2), HEIGHT / 2 + uniform(random, -1, 1)

    def _connect(self, bodies: Bodies) -> None:
        """Take hold of the new bodies."""
        self._one, self._two, self._puck = bodies.player_1.this, bodies.player_2.this, bodies.puck.this
        self._drive_1, self._drive_2 = Control(self._one, 1).drive, Control(self._two, -1).drive
        self._puck_mass: float = mass_of(self._puck)
        self._puck_damping = 0.05
        self._referee.watch(bodies)
        self._read = state_reader(bodies)
        self.state = self._read()

    def step(self, actions: Sequence[float]) -> None:
        """Play one step of 1/50 s.

        actions: player one's force x, force y, torque and (in keep mode) shoot, then player two's; float32
        values in [-1, 1], which the caller has checked.
        """
        x1, y1, angle1, vx1, vy1, spin1, x2, y2, angle2, vx2, vy2, spin2, _, _, puck_vx, puck_vy = self.state
        score = self.score
        if score.keep_mode:
            push_x1, push_y1, turn1, shoot1, push_x2, push_y2, turn2, shoot2 = actions
        else:
            (push_x1, push_y1, turn1, push_x2, push_y2, turn2), shoot1, shoot2 = actions, 0.0, 0.0
        self._drive_1(push_x1, push_y1, turn1, x1, y1, angle1, vx1, vy1, spin1)
        self._drive_2(push_x2, push_y2, turn2, x2, y2, angle2, vx2, vy2, spin2)
        damping = 10.0 if sqrt(puck_vx * puck_vx + puck_vy * puck_vy) > MAX_PUCK_SPEED else 0.05
        if damping != self._puck_damping:
            self._puck_damping = damping
            set_linear_damping(self._puck, damping)
        if score.held_1 > 1:
            score.held_1 = self._keep(self._one, score.held_1, shoot1, angle1, 1)
        if score.held_2 > 1:
            score.held_2 = self._keep(self._two, score.held_2, shoot2, angle2, -1)
        step_world(self._world, TIME_STEP, VELOCITY_ITERATIONS, POSITION_ITERATIONS)
        self.state = self._read()
        if self.time >= self.limit:
            score.done = True
        self.time += 1

    def _keep(self, player: Handle, held: int, shoot: float, angle: float, side: int) -> int:
        """The player carries the puck and perhaps shoots it; returns its new counter."""
        set_transform(self._puck, position_of(player), angle_of(self._puck))
        set_velocity(self._puck, velocity_of(player))
        if held == 2 or shoot > 0.5:
            apply_force(self._puck, shot(self._puck_mass, angle, side), True)
            return 0
        return held - 1

    def place(self, state: Sequence[float]) -> None:
        """Put the bodies at a state in world coordinates, see State."""
        self._place_body(self._one, state[0], state[1], state[2], state[3], state[4])
        set_spin(self._one, state[5])
        self._place_body(self._two, state[6], state[7], state[8], state[9], state[10])
        set_spin(self._two, state[11])
        self._place_body(self._puck, state[12], state[13], angle_of(self._puck), state[14], state[15])
        self.state = self._read()

    def resume(self, before: Sequence[float], now: Sequence[float], held: tuple[int, int]) -> None:
        """Go on from the middle of a round, whatever was played here before: the same bits as on a new rink.

        before, now: two successive states in world coordinates, see State; held: both players' counters now. Bodies
        that touched at the first of them do not begin to touch at the second: a puck that leaves a racket is no catch.
        What no state tells is the puck's spin, 0 here.
        """
        assert self.bodies is not None
        self.bodies.straighten()
        for body in (self._one, self._two, self._puck):
            set_awake(body, False)  # ends its spin, and how long it has been at rest
            set_awake(body, True)
        set_transform(self._puck, (0.0, 0.0), 0.0)
        for state in (APART, before):
            self.place(state)
            step_world(self._world, 0.0, 1, 1)  # in no time: only contacts are brought up to date
        self.place(now)
        self.time = 0
        self.score.clear()
        self.score.held_1, self.score.held_2 = held

    def _place_body(self, body: Handle, x: float, y: float, angle: float, vx: float, vy: float) -> None:
        set_transform(body, (x, y), angle)
        set_velocity(body, (vx, vy))


def uniform(random: np.random.Generator, low: float, high: float) -> float:
    """One draw, taken from the generator exactly as the reference takes it."""
    return float(random.uniform(low, high, 1)[0])


def fresh_simulation(keep_mode: bool, mode: Mode) -> Simulation:
    """A rink on which a round has been set up once already, as the reference's constructor does.

    Bodies that were made twice are numbered otherwise by the engine, and so meet in another order. The seed
    is fixed: a new rink always behaves the same.
    """
    rink = Simulation(keep_mode)
    rink.start(mode, True, np.random.default_rng(0))
    return rink
