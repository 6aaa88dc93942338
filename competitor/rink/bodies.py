"""Everything that stands or moves on the rink, as Box2D bodies.

The order in which bodies are created and destroyed decides the order in which the engine solves simultaneous
contacts, so it is part of the physics.
"""

from collections.abc import Sequence
from typing import Any

from Box2D import b2_dynamicBody, b2BodyDef, b2CircleShape, b2FixtureDef, b2PolygonShape, b2World

from competitor.rink.bindings import Handle, create_body, create_fixture, destroy_body, set_transform
from competitor.rink.constants import CENTER_X, CENTER_Y, HEIGHT, SCALE, WIDTH

Point = tuple[float, float]
Definition = tuple[Any, list[Any]]
"""A Box2D body definition and its fixture definitions."""

GOAL_HALF_WIDTH = 75
GOAL_BOX = [(-10, GOAL_HALF_WIDTH), (10, GOAL_HALF_WIDTH), (10, -GOAL_HALF_WIDTH), (-10, -GOAL_HALF_WIDTH)]
SIDE_WALL = [(-250, 10), (-250, -10), (250, -10), (250, 10)]
END_WALL = [(-10, 135), (10, 128), (10, -5), (-10, -5)]
PLAYER_SHAPE = [(-10, 20), (5, 20), (5, -20), (-10, -20), (-18, -10), (-21, 0), (-18, 10)]
PLAYER_SIZE = 1.2
PUCK_RADIUS = 13 / SCALE
GOAL_1_X = CENTER_X - 245 / SCALE - 10 / SCALE
GOAL_2_X = CENTER_X + 245 / SCALE + 10 / SCALE

PLAYER_1_START = (WIDTH / 5, HEIGHT / 2)


def mirrored(points: Sequence[tuple[int, int]], x: int = 1, y: int = 1) -> list[tuple[int, int]]:
    """The points with their coordinates multiplied by x and y (1 or -1)."""
    return [(x * px, y * py) for px, py in points]


def polygon(points: Sequence[tuple[int, int]]) -> Any:
    return b2PolygonShape(vertices=[(x / SCALE, y / SCALE) for x, y in points])


def fixture(shape: Any, category: int, mask: int, **settings: Any) -> Any:
    """A fixture of a category that meets the categories of the mask."""
    return b2FixtureDef(shape=shape, categoryBits=category, maskBits=mask, **settings)


def _static(at: Point, fixtures: list[Any]) -> Definition:
    return b2BodyDef(position=at), fixtures


def _decoration() -> list[Definition]:
    """Without collisions, but they take part in the engine's numbering."""
    half_left = [(0, 100), (100, 100), (100, -100), (0, -100)]
    half_right = [(100, 100), (0, 100), (0, -100), (100, -100)]
    parts = [
        (0, b2CircleShape(radius=100 / SCALE)),
        (-250, b2CircleShape(radius=75 / SCALE)),
        (-240, polygon(half_left)),
        (250, b2CircleShape(radius=75 / SCALE)),
        (140, polygon(half_right)),
    ]
    return [_static((CENTER_X + x / SCALE, CENTER_Y), [fixture(shape, 0, 0)]) for x, shape in parts]


def _walls() -> list[Definition]:
    left, right, top, bottom = CENTER_X - 245 / SCALE, CENTER_X + 245 / SCALE, HEIGHT - 0.5, 0.5
    parts = [
        ((CENTER_X, top), SIDE_WALL),
        ((CENTER_X, bottom), SIDE_WALL),
        ((left, top), mirrored(END_WALL, y=-1)),
        ((left, bottom), END_WALL),
        ((right, top), mirrored(END_WALL, x=-1, y=-1)),
        ((right, bottom), mirrored(END_WALL, x=-1)),
    ]
    solid = {"friction": 0.1, "density": 0}
    return [_static(at, [fixture(polygon(points), 0x011, 0x011, **solid)]) for at, points in parts]


def _goal(x: float) -> Definition:
    """A sensor that sees the puck and a solid box that stops players."""
    shape = polygon(GOAL_BOX)
    sensor = fixture(shape, 0x010, 0x001, friction=0.1, density=0, isSensor=True)
    solid = fixture(shape, 0x010, 0x010, friction=0.1, density=0)
    return _static((x, CENTER_Y), [sensor, solid])


def _player(side: int) -> list[Any]:
    """side: 1 for player one, -1 for player two."""
    points, density = mirrored(PLAYER_SHAPE, x=side), 200.0 / PLAYER_SIZE
    shape = b2PolygonShape(vertices=[(x / SCALE * PLAYER_SIZE, y / SCALE * PLAYER_SIZE) for x, y in points])
    return [fixture(shape, 0x010, 0x011, density=density, friction=1.0, restitution=0.0)]


def _puck() -> list[Any]:
    circle = b2CircleShape(radius=PUCK_RADIUS)
    return [fixture(circle, 0x001, 0x010, density=7.0, friction=0.1, restitution=0.95)]


# The engine copies what it needs, so all rinks share these.
SCENERY = _decoration() + _walls()
GOAL_1, GOAL_2 = _goal(GOAL_1_X), _goal(GOAL_2_X)
PLACES: list[Point] = [tuple(definition.position) for definition, _ in (*SCENERY, GOAL_1, GOAL_2)]
PLAYER_1, PLAYER_2, PUCK = _player(1), _player(-1), _puck()


def build(world: Handle, definition: Definition) -> Any:
    body_definition, fixtures = definition
    body = create_body(world, body_definition)
    handle = body.this
    for item in fixtures:
        create_fixture(handle, item)
    return body


class Bodies:
    """The bodies of one round, created in the order that parity needs.

    The two players and the puck are placed by the caller, since their positions are drawn in between.
    """

    def __init__(self, world: b2World) -> None:
        self._world = world.this
        self.scenery = [build(self._world, part) for part in SCENERY]
        self.goal_1, self.goal_2 = build(self._world, GOAL_1), build(self._world, GOAL_2)

    def add_players(self, second_at: Point) -> None:
        self.player_1 = self._add(PLAYER_1_START, PLAYER_1)
        self.player_2 = self._add(second_at, PLAYER_2)

    def add_puck(self, at: Point) -> None:
        self.puck = self._add(at, PUCK, damping=0.05)

    def _add(self, at: Point, fixtures: list[Any], damping: float = 0.0) -> Any:
        return build(self._world, (b2BodyDef(type=b2_dynamicBody, position=at, linearDamping=damping), fixtures))

    def straighten(self) -> None:
        """Put walls and goals to where they were built: the engine's rounding moves them when a puck bounces."""
        for body, place in zip((*self.scenery, self.goal_1, self.goal_2), PLACES, strict=True):
            set_transform(body.this, place, 0.0)

    def destroy(self) -> None:
        """Remove everything from the world; the object is of no use afterwards."""
        for body in (self.player_1, self.player_2, self.puck, self.goal_1, self.goal_2, *self.scenery):
            destroy_body(self._world, body)
