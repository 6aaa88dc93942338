"""The animation of `inspect --gif`: the real rink on the left, the dream on the right, example after example.

Import it only after `rink_axes.need_matplotlib`, which brings Pillow along.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle
from PIL import Image

from competitor.inspect.dream_check import BODIES, CONTEXT
from competitor.inspect.examples import DreamExample
from competitor.inspect.rink_axes import BODY_COLOURS, SIDES, draw_rink, racket_outline, rgb
from competitor.rink.bodies import PUCK_RADIUS
from competitor.screen import Count, uncounted
from dreamer.files import atomic_write
from dreamer.replay import Array

FRAME_MS, PAUSE_MS = 70, 1200
"""A frame is one step of 20 ms, shown 3.5 times slower."""
LINGERING = 5
"""Frames that an example goes on for when reality and dream have ended."""
COLOURS = 64
GOES_ON, ENDS, EMPTY = "#0072B2", "#D55E00", "#e3e8ed"
TEXTS = ((0.25, 0.93, 12), (0.75, 0.93, 12), (0.25, 0.035, 10), (0.66, 0.035, 10))
"""Place and size of the two headings and of the two lines below."""


def write_gif(examples: list[DreamExample], path: Path, on_frame: Count = uncounted) -> int:
    """Draw the examples one after another; returns the number of frames. Raises OSError when the disk refuses."""
    frames = [(example, seen) for example in examples for seen in range(1, CONTEXT + _dreamed(example) + 1)]
    stage, pictures, durations = _Stage(), [], []
    for number, (example, seen) in enumerate(frames, start=1):
        pictures.append(stage.picture(example, seen))
        durations.append(PAUSE_MS if seen == CONTEXT + _dreamed(example) else FRAME_MS)
        on_frame(number, len(frames))
    first, rest = pictures[0], pictures[1:]
    options = {"save_all": True, "append_images": rest, "duration": durations, "loop": 0}
    atomic_write(path, lambda file: first.save(file, format="GIF", **options))
    return len(frames)


def _dreamed(example: DreamExample) -> int:
    """Steps that are shown after the context: until reality and dream have ended, and a little longer."""
    last = len(example.real) - 1
    return min(last, max(example.steps_left, example.dream_ends(last)[0]) + LINGERING)


class _Stage:
    """Two rinks whose bodies are moved from frame to frame; the ice is drawn once."""

    def __init__(self) -> None:
        figure = Figure(figsize=(9.4, 4.25), dpi=80, facecolor="white")
        self._canvas = FigureCanvasAgg(figure)
        self._real, self._dream = (_bodies(figure.add_axes((left, 0.1, 0.49, 0.78))) for left in (0.005, 0.505))
        self._texts = [figure.text(x, y, "", ha="center", va="center", fontsize=size) for x, y, size in TEXTS]
        bar = figure.add_axes((0.79, 0.01, 0.2, 0.05))
        bar.set_axis_off()
        empty, self._bar = (Rectangle((0, 0.1), 1, 0.8, facecolor=colour, linewidth=0) for colour in (EMPTY, GOES_ON))
        bar.add_patch(empty)
        bar.add_patch(self._bar)
        self._palette: Image.Image | None = None

    def picture(self, example: DreamExample, seen: int) -> Image.Image:
        """The example after so many observations: the context's, then reality beside the first dream until its end."""
        dreamed = max(0, seen - CONTEXT)
        shown = min(dreamed, example.dream_ends(len(example.real) - 1)[0])
        real, dream = (np.concatenate([example.seen[:-1], after]) for after in (example.real, example.dreams[0]))
        _move(self._real, real[:seen])
        _move(self._dream, dream[: seen - dreamed + shown])
        for text, line in zip(self._texts, _lines(example, seen, shown), strict=True):
            text.set_text(line)
        goes_on = float(example.goes_on[0, shown]) if seen >= CONTEXT else 1.0
        self._bar.set_width(goes_on)
        self._bar.set_facecolor(GOES_ON if goes_on >= 0.5 else ENDS)
        self._canvas.draw()
        return self._few_colours(Image.fromarray(np.asarray(self._canvas.buffer_rgba())[..., :3]))

    def _few_colours(self, picture: Image.Image) -> Image.Image:
        """The picture in the colours of the first one: with one palette only what moves is stored again."""
        if self._palette is None:
            self._palette = picture.quantize(COLOURS)
        return picture.quantize(palette=self._palette, dither=Image.Dither.NONE)


def _lines(example: DreamExample, seen: int, shown: int) -> tuple[str, str, str, str]:
    if seen <= CONTEXT:
        return "real", "seen", example.title, f"looks on, step {seen} of {CONTEXT}"
    over = seen - CONTEXT >= example.steps_left
    now = "the round is over" if over else f"step {seen - CONTEXT}"
    return "real", "dreamed", f"{example.title}: {now}", f"step {shown}; that the round goes on:"


def _bodies(axes: Axes) -> dict[str, Any]:
    """Two rackets, the puck and its trail, on an empty rink."""
    draw_rink(axes)
    bodies: dict[str, Any] = {body: Polygon([(0, 0)], facecolor=rgb(BODY_COLOURS[body]), zorder=4) for body in SIDES}
    bodies["puck"] = Circle((0, 0), PUCK_RADIUS, facecolor=rgb(BODY_COLOURS["puck"]), zorder=5)
    for patch in bodies.values():
        axes.add_patch(patch)
    (trail,) = axes.plot([], [], color=rgb(BODY_COLOURS["puck"]), linewidth=1.4, alpha=0.35, zorder=3)
    return bodies | {"trail": trail}


def _move(bodies: dict[str, Any], obs: Array) -> None:
    """Show the last of the observations (steps, obs); the puck's trail shows the others."""
    for body in SIDES:
        bodies[body].set_xy(racket_outline(body, obs[-1]))
    puck = obs[:, BODIES["puck"]]
    bodies["puck"].set_center((puck[-1, 0], puck[-1, 1]))
    bodies["trail"].set_data(puck[:, 0], puck[:, 1])
