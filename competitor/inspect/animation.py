"""The animation of `inspect --gif`: the real rink on the left, the dream on the right, example after example.

Import it only after `rink_axes.need_matplotlib`, which brings Pillow along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.text import Text
from PIL import Image

from competitor.inspect.dream_check import BODIES, CONTEXT
from competitor.inspect.examples import DreamExample
from competitor.inspect.rink_axes import BODY_COLOURS, SIDES, draw_rink, racket_outline, rgb
from competitor.rink.bodies import PUCK_RADIUS
from competitor.screen import Count
from dreamer.files import atomic_write
from dreamer.replay import Array

FRAME_MS, PAUSE_MS = 70, 1200
"""A frame is one step of 20 ms, shown 3.5 times slower."""
LINGERING = 5
"""Frames that an example goes on for when reality and dream have ended."""
COLOURS = 64
GOES_ON, ENDS, EMPTY = "#0072B2", "#D55E00", "#e3e8ed"


@dataclass(frozen=True)
class Frame:
    """One step of an example: observations (steps so far, obs) of both rinks; dreamed: 0 while the context is seen."""

    real: Array
    dream: Array
    dreamed: int
    goes_on: float
    example: DreamExample


def write_gif(examples: list[DreamExample], path: Path, on_frame: Count | None = None) -> int:
    """Draw the examples one after another; returns the number of frames. Raises OSError when the disk refuses."""
    frames = [frame for example in examples for frame in _frames(example)]
    stage, pictures, durations = _Stage(), [], []
    for number, frame in enumerate(frames, start=1):
        pictures.append(stage.picture(frame))
        durations.append(PAUSE_MS if number == len(frames) or frames[number].dreamed < frame.dreamed else FRAME_MS)
        if on_frame is not None:
            on_frame(number, len(frames))
    first, rest = pictures[0], pictures[1:]
    options = {"save_all": True, "append_images": rest, "duration": durations, "loop": 0}
    atomic_write(path, lambda file: first.save(file, format="GIF", **options))
    return len(frames)


def _frames(example: DreamExample) -> Iterator[Frame]:
    """The context, then reality and dream, each until its end, and a little longer."""
    for step in range(1, CONTEXT):
        yield Frame(example.seen[:step], example.seen[:step], 0, 1.0, example)
    real, dream = (np.concatenate([example.seen[:-1], after]) for after in (example.real, example.dreams[0]))
    last = len(example.real) - 1
    end = example.dream_ends(last)[0]
    for dreamed in range(min(last, max(example.steps_left, end) + LINGERING) + 1):
        shown = min(dreamed, end)
        seen = real[: CONTEXT + dreamed], dream[: CONTEXT + shown]
        yield Frame(*seen, dreamed, float(example.goes_on[0, shown]), example)


class _Stage:
    """Two rinks whose bodies are moved from frame to frame; the ice is drawn once."""

    def __init__(self) -> None:
        self._figure = Figure(figsize=(9.4, 4.25), dpi=80, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        self._rinks = [_Rink(self._figure.add_axes((left, 0.1, 0.49, 0.78))) for left in (0.005, 0.505)]
        self._captions = [self._caption(x, 0.93) for x in (0.25, 0.75)]
        self._below = [self._caption(x, 0.035) for x in (0.25, 0.66)]
        self._bar = self._add_bar()
        self._palette: Image.Image | None = None

    def picture(self, frame: Frame) -> Image.Image:
        """The frame as a picture of few colours."""
        for rink, obs in zip(self._rinks, (frame.real, frame.dream), strict=True):
            rink.move(obs)
        for text, line in zip([*self._captions, *self._below], _lines(frame), strict=True):
            text.set_text(line)
        self._bar.set_width(frame.goes_on)
        self._bar.set_facecolor(GOES_ON if frame.goes_on >= 0.5 else ENDS)
        self._canvas.draw()
        pixels = np.asarray(self._canvas.buffer_rgba())[..., :3]
        return self._few_colours(Image.fromarray(pixels))

    def _few_colours(self, picture: Image.Image) -> Image.Image:
        """The picture in the colours of the first one: with one palette only what moves is stored again."""
        if self._palette is None:
            self._palette = picture.quantize(COLOURS)
        return picture.quantize(palette=self._palette, dither=Image.Dither.NONE)

    def _caption(self, x: float, y: float) -> Text:
        return self._figure.text(x, y, "", ha="center", va="center", fontsize=12 if y > 0.5 else 10)

    def _add_bar(self) -> Rectangle:
        axes = self._figure.add_axes((0.79, 0.01, 0.2, 0.05))
        axes.set_axis_off()
        axes.add_patch(Rectangle((0, 0.1), 1, 0.8, facecolor=EMPTY, linewidth=0))
        bar = Rectangle((0, 0.1), 1, 0.8, facecolor=GOES_ON, linewidth=0)
        axes.add_patch(bar)
        return bar


def _lines(frame: Frame) -> tuple[str, str, str, str]:
    """The two headings and the two lines below."""
    if not frame.dreamed:
        return "real", "seen", frame.example.title, f"looks on, step {len(frame.real)} of {CONTEXT}"
    over = frame.dreamed >= frame.example.steps_left
    now = "the round is over" if over else f"step {frame.dreamed}"
    dreamed = f"step {len(frame.dream) - CONTEXT}; that the round goes on:"
    return "real", "dreamed", f"{frame.example.title}: {now}", dreamed


class _Rink:
    """One rink: two rackets, the puck, and the trail of the puck."""

    def __init__(self, axes: Axes) -> None:
        draw_rink(axes)
        self._rackets = {body: Polygon([(0, 0)], facecolor=rgb(BODY_COLOURS[body]), zorder=4) for body in SIDES}
        self._puck = Circle((0, 0), PUCK_RADIUS, facecolor=rgb(BODY_COLOURS["puck"]), zorder=5)
        for patch in (*self._rackets.values(), self._puck):
            axes.add_patch(patch)
        self._trail = Line2D([], [], color=rgb(BODY_COLOURS["puck"]), linewidth=1.4, alpha=0.35, zorder=3)
        axes.add_line(self._trail)

    def move(self, obs: Array) -> None:
        """Show the last of the observations (steps, obs); the puck's trail shows the others."""
        for body, racket in self._rackets.items():
            racket.set_xy(racket_outline(body, obs[-1]))
        puck = obs[:, BODIES["puck"]]
        self._puck.set_center((puck[-1, 0], puck[-1, 1]))
        self._trail.set_data(puck[:, 0], puck[:, 1])
