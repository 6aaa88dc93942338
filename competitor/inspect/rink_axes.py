"""The rink in a matplotlib picture: what all pictures of rounds and dreams share. Needs the extra `plots`."""

from __future__ import annotations

import importlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from competitor.errors import needing
from competitor.inspect.dream_check import BODIES
from competitor.rink.bodies import GOAL_2_X, PLAYER_SHAPE, PLAYER_SIZE, Point, mirrored
from competitor.rink.constants import CENTER_X
from competitor.rink.rendering import BLUE, BOARDS, ICE, ICE_OUTLINE, LINE, RED, Colour, placed
from dreamer.files import atomic_write_bytes
from dreamer.replay import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BODY_COLOURS: dict[str, Colour] = {"own": RED, "opponent": BLUE, "puck": (28, 30, 34)}
SIDES = {"own": 1, "opponent": -1}
ANGLE = {"own": 2, "opponent": 8}
"""Where an observation holds the angle of each racket."""
CENTRE = (0.0, 0.0)
GOAL_X, GOAL_Y = GOAL_2_X - CENTER_X, 1.25
VIEW = (4.75, 3.65)
"""Half width and half height of what is shown, in units."""


def need_matplotlib() -> None:
    """Raises PackageError where matplotlib cannot be loaded: better at once than after a minute's work."""
    with needing("this picture", "plots"):
        importlib.import_module("matplotlib.figure")


def rgb(colour: Colour) -> tuple[float, float, float]:
    """The colour as matplotlib wants it."""
    red, green, blue = (part / 255 for part in colour)
    return red, green, blue


def draw_rink(axes: Axes) -> None:
    """Draw an empty rink, seen by the player on the left, in units from its centre."""
    from matplotlib.patches import Circle, Polygon, Rectangle

    ice = Polygon(placed(ICE_OUTLINE, CENTRE), facecolor=rgb(ICE), edgecolor=rgb(BOARDS), linewidth=2.5, zorder=0)
    axes.add_patch(ice)
    axes.plot([0, 0], [-3.4, 3.4], color=rgb(LINE), linewidth=1, zorder=1)
    axes.add_patch(Circle(CENTRE, 100 / 60, fill=False, edgecolor=rgb(LINE), linewidth=1, zorder=1))
    for side, colour in ((-1, RED), (1, BLUE)):
        corner = (side * GOAL_X - 0.17, -GOAL_Y)
        axes.add_patch(Rectangle(corner, 0.34, 2 * GOAL_Y, facecolor=rgb(colour), alpha=0.85, linewidth=0, zorder=1))
    axes.set_xlim(-VIEW[0], VIEW[0])
    axes.set_ylim(-VIEW[1], VIEW[1])
    axes.set_aspect("equal")
    axes.set_axis_off()


def racket_outline(body: str, obs: Array) -> list[Point]:
    """The corners of the racket `body` ("own" or "opponent") as the observation (obs,) tells."""
    x, y = (float(number) for number in obs[BODIES[body]])
    return placed(mirrored(PLAYER_SHAPE, x=SIDES[body]), (x, y), float(obs[ANGLE[body]]), PLAYER_SIZE)


def save_png(figure: Figure, path: Path) -> None:
    """Write the picture; it is whole or absent. Raises OSError when the disk refuses."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=130, facecolor="white")
    atomic_write_bytes(path, picture.getvalue())
