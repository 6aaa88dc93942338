"""Pictures of the rink, drawn with pygame: as an array, or in a window.

pygame is an optional extra; it is imported when the first picture is asked for.
"""

import importlib
from collections.abc import Iterable, Sequence
from math import cos, pi, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.errors import FatalError, needing
from competitor.rink.bodies import END_WALL, GOAL_1_X, GOAL_2_X, PLAYER_SHAPE, PLAYER_SIZE, PUCK_RADIUS, Point, mirrored
from competitor.rink.constants import CENTER_X, CENTER_Y, FPS, HEIGHT, SCALE, VIEW_HEIGHT, VIEW_WIDTH
from competitor.rink.simulation import Simulation, State

Colour = tuple[int, int, int]
Caption = tuple[str, str, str]
"""What stands above a picture: the left player, the middle, the right player."""

SURROUND: Colour = (38, 45, 56)
BOARDS: Colour = (96, 108, 122)
ICE: Colour = (240, 245, 249)
LINE: Colour = (197, 208, 219)
RED: Colour = (214, 69, 65)
BLUE: Colour = (46, 107, 198)
PUCK: Colour = (28, 30, 34)
BLADE: Colour = (247, 190, 56)

LIGHT_RED: Colour = (255, 138, 128)
LIGHT_BLUE: Colour = (143, 184, 255)
FONT_PIXELS, CAPTION_Y, MARGIN = 23, 10, 45

SMOOTHING = 2
"""Everything is drawn this many times larger and then scaled down, which smooths the edges."""
END_X, SIDE_Y = 245 / SCALE, HEIGHT / 2 - 0.5
ICE_OUTLINE = [(-253, 205), (253, 205), (253, -205), (-253, -205)]
CENTRE_LINE = [(0, 205), (0, -205)]
GOAL_OUTLINE = [(-10, 75), (10, 75), (10, -75), (-10, -75)]
BOARD_OUTLINE = [(-255, 10), (-255, -10), (255, -10), (255, 10)]


class RenderError(FatalError):
    """The rink cannot be drawn here."""


def load_pygame() -> Any:
    """The pygame module; raises PackageError with a sentence on how to get it."""
    return _load("pygame")


def load_pillow() -> Any:
    """The module PIL.Image; raises PackageError with a sentence on how to get it."""
    return _load("PIL.Image")


def _load(module: str) -> Any:
    with needing("drawing the rink", "render"):
        return importlib.import_module(module)


class Canvas:
    """Draws a rink; opens a window only when `show` is called. Raises PackageError without pygame.

    window, clock: pygame's surface and clock while a window is open, else None.
    """

    def __init__(self) -> None:
        self._pygame = load_pygame()
        self._surface = self._pygame.Surface((VIEW_WIDTH * SMOOTHING, VIEW_HEIGHT * SMOOTHING), depth=32)
        self._empty_rink = self._surface.copy()
        self._draw_rink(self._empty_rink)
        self.window: Any = None
        self.clock: Any = None
        self._font: Any = None
        self._dismissed = False

    def frame(self, rink: Simulation, caption: Caption | None = None) -> NDArray[np.uint8]:
        """The rink as an RGB picture (480, 600, 3), with the caption above it."""
        picture = self._picture(rink)
        if caption is not None:
            self._write(picture, caption)
        pixels: NDArray[np.uint8] = self._pygame.surfarray.array3d(picture)
        return np.ascontiguousarray(pixels.swapaxes(0, 1))

    def show(self, rink: Simulation) -> None:
        """Show the rink in a window, at the speed of the game. A window that was closed stays closed."""
        if self._dismissed:
            return
        if self.window is None:
            self._open_window()
        self.window.blit(self._picture(rink), (0, 0))
        self._pygame.display.flip()
        self.clock.tick(FPS)
        if any(event.type == self._pygame.QUIT for event in self._pygame.event.get()):
            self._dismissed = True
            self.close()

    def close(self) -> None:
        if self.window is not None:
            self._pygame.display.quit()
            self.window = None

    def _open_window(self) -> None:
        try:
            self._pygame.display.init()
            self.window = self._pygame.display.set_mode((VIEW_WIDTH, VIEW_HEIGHT))
        except self._pygame.error as error:
            raise RenderError(f"no window can be opened here ({error}): render to rgb_array instead") from error
        self._pygame.display.set_caption("Laser hockey")
        self.clock = self._pygame.time.Clock()

    def _picture(self, rink: Simulation) -> Any:
        state, score = rink.state, rink.score
        self._surface.blit(self._empty_rink, (0, 0))
        self._draw_player(state[0:3], RED, 1)
        self._draw_player(state[6:9], BLUE, -1)
        owner = RED if score.held_1 > 0 else BLUE if score.held_2 > 0 else LINE
        self._draw_puck((state[12], state[13]), owner)
        return self._pygame.transform.smoothscale(self._surface, (VIEW_WIDTH, VIEW_HEIGHT))

    def _write(self, picture: Any, caption: Caption) -> None:
        """Write the left, the middle and the right text into the margin above the rink."""
        if self._font is None:
            self._pygame.font.init()
            self._font = self._pygame.font.Font(None, FONT_PIXELS)
        for text, colour, place in zip(
            caption, (LIGHT_RED, ICE, LIGHT_BLUE), ("midleft", "center", "midright"), strict=True
        ):
            shown = self._font.render(text, True, colour)
            x = {"midleft": MARGIN, "center": VIEW_WIDTH / 2, "midright": VIEW_WIDTH - MARGIN}[place]
            picture.blit(shown, shown.get_rect(**{place: (x, CAPTION_Y)}))

    def _draw_rink(self, surface: Any) -> None:
        draw = self._pygame.draw
        surface.fill(SURROUND)
        centre, width = (CENTER_X, CENTER_Y), 2 * SMOOTHING
        draw.polygon(surface, ICE, _pixels(placed(ICE_OUTLINE, centre)))
        draw.line(surface, LINE, *_pixels(placed(CENTRE_LINE, centre)), width)
        draw.circle(surface, LINE, _pixel(centre), 100 * SMOOTHING, width)
        draw.circle(surface, LINE, _pixel(centre), 5 * SMOOTHING)
        for side, goal_x, colour in ((-1, GOAL_1_X, RED), (1, GOAL_2_X, BLUE)):
            crease = [(CENTER_X + side * (END_X - 1.25 * cos(t)), CENTER_Y + 1.25 * sin(t)) for t in _half_turn()]
            draw.lines(surface, LINE, False, _pixels(crease), width)
            draw.polygon(surface, colour, _pixels(placed(GOAL_OUTLINE, (goal_x, CENTER_Y))))
            self._draw_end_walls(surface, side)
        for side in (-1, 1):
            at = (CENTER_X, CENTER_Y + side * SIDE_Y)
            draw.polygon(surface, BOARDS, _pixels(placed(BOARD_OUTLINE, at)))

    def _draw_end_walls(self, surface: Any, side: int) -> None:
        for up in (-1, 1):
            at = (CENTER_X + side * END_X, CENTER_Y + up * SIDE_Y)
            self._pygame.draw.polygon(surface, BOARDS, _pixels(placed(mirrored(END_WALL, -side, -up), at)))

    def _draw_player(self, place: State, colour: Colour, side: int) -> None:
        x, y, angle = place
        shape = placed(mirrored(PLAYER_SHAPE, x=side), (x, y), angle, PLAYER_SIZE)
        dark: Colour = (colour[0] // 2, colour[1] // 2, colour[2] // 2)
        self._pygame.draw.polygon(self._surface, colour, _pixels(shape))
        self._pygame.draw.polygon(self._surface, dark, _pixels(shape), 2 * SMOOTHING)
        # The straight side hits the puck; a light edge shows which way the player faces.
        self._pygame.draw.line(self._surface, BLADE, *_pixels(shape[1:3]), 3 * SMOOTHING)

    def _draw_puck(self, at: Point, owner: Colour) -> None:
        radius = round(PUCK_RADIUS * SCALE * SMOOTHING)
        self._pygame.draw.circle(self._surface, PUCK, _pixel(at), radius)
        self._pygame.draw.circle(self._surface, owner, _pixel(at), radius - 3 * SMOOTHING, 2 * SMOOTHING)


def _half_turn() -> Iterable[float]:
    return (pi * (step / 40 - 0.5) for step in range(41))


def placed(points: Sequence[tuple[int, int]], at: Point, angle: float = 0.0, size: float = 1.0) -> list[Point]:
    """A shape in pixels, put into the world at a place and angle."""
    c, s, unit = cos(angle), sin(angle), size / SCALE
    return [(at[0] + (c * x - s * y) * unit, at[1] + (s * x + c * y) * unit) for x, y in points]


def _pixel(point: Point) -> Point:
    """World coordinates, y up, to the enlarged picture, y down."""
    return point[0] * SCALE * SMOOTHING, (HEIGHT - point[1]) * SCALE * SMOOTHING


def _pixels(points: Iterable[Point]) -> list[Point]:
    return [_pixel(point) for point in points]
