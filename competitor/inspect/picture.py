"""The picture of `inspect --png`: a few rounds beside their dreams, the errors, and whether the dream sees the end.

Import it only after `rink_axes.need_matplotlib`.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from competitor.inspect.dream_check import BODIES, CONTEXT
from competitor.inspect.inspection import Inspection
from competitor.inspect.rink_axes import BODY_COLOURS, SIDES, draw_rink, racket_outline, rgb, save_png
from competitor.inspect.scenes import DREAMS, Gallery, Scene
from competitor.rink.bodies import PUCK_RADIUS
from dreamer.replay import Array

SCENE_COLOURS = ("#2a9d5c", "#c0392b", "#7a7f87")
GREY = "#5a6472"


def write_png(inspection: Inspection, gallery: Gallery, path: Path) -> None:
    """Draw everything into one picture. Raises OSError when it cannot be written."""
    count = len(gallery.scenes)
    figure = Figure(figsize=(max(10.0, 5.0 * count), 8.2), layout="constrained")
    headline = f"{inspection.checkpoint}: what happened, and what it dreamed after seeing {CONTEXT} steps"
    figure.suptitle(headline, fontsize=13)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.25, 1.0))[:, 0]
    for axes, scene in zip(above.subplots(1, count, squeeze=False)[0], gallery.scenes, strict=True):
        _draw_scene(axes, scene)
    above.legend(handles=_legend(), loc="lower center", ncols=6, frameon=False, fontsize=9)
    errors, goes_on = below.subplots(1, 2)
    _draw_errors(errors, gallery)
    _draw_goes_on(goes_on, gallery)
    save_png(figure, path)


def _draw_scene(axes: Axes, scene: Scene) -> None:
    draw_rink(axes)
    axes.set_title(scene.title, fontsize=12)
    last = min(scene.steps_left, len(scene.real) - 1)
    first, *others = (dream[: end + 1] for dream, end in zip(scene.dreams, scene.dream_ends(last), strict=True))
    for body, where in BODIES.items():
        colour = rgb(BODY_COLOURS[body])
        _path(axes, scene.seen[:, where], color=colour, linewidth=1.2, linestyle=":", alpha=0.6)
        for dream in others:
            _path(axes, dream[:, where], color=colour, linewidth=0.9, alpha=0.16)
        _path(axes, scene.real[: last + 1, where], color=colour, linewidth=2.6, alpha=0.9)
        _path(axes, first[:, where], color=colour, linewidth=1.6, linestyle=(0, (3, 1.5)))
        _draw_body(axes, body, scene.real[0], alpha=0.25)
        _draw_body(axes, body, scene.real[last], alpha=0.9)
        _draw_body(axes, body, first[-1], alpha=None)


def _path(axes: Axes, places: Array, **style: object) -> None:
    axes.plot(places[:, 0], places[:, 1], zorder=3, solid_capstyle="round", **style)  # type: ignore[arg-type]


def _draw_body(axes: Axes, body: str, obs: Array, *, alpha: float | None) -> None:
    """Draw a body as `obs` (obs,) says; without alpha its outline alone, which stands for a dream."""
    colour, dreamed = rgb(BODY_COLOURS[body]), alpha is None
    if body in SIDES:
        patch: Polygon | Circle = Polygon(racket_outline(body, obs), alpha=alpha, zorder=4)
    else:
        x, y = obs[BODIES[body]]
        patch = Circle((x, y), PUCK_RADIUS, alpha=alpha, zorder=4)
    patch.set(facecolor="none" if dreamed else colour, edgecolor=colour if dreamed else "none", linewidth=1.3)
    axes.add_patch(patch)


def _legend() -> list[Line2D]:
    bodies = [Line2D([], [], color=rgb(colour), linewidth=3, label=body) for body, colour in BODY_COLOURS.items()]
    styles = {
        "seen before": {"linestyle": ":", "linewidth": 1.4},
        "real": {"linewidth": 2.6},
        "a dream (fainter: others)": {"linestyle": (0, (3, 1.5)), "linewidth": 1.6},
    }
    return bodies + [Line2D([], [], color=GREY, label=label, **style) for label, style in styles.items()]  # type: ignore[arg-type]


def _draw_errors(axes: Axes, gallery: Gallery) -> None:
    for body, (low, median, high) in gallery.errors.items():
        colour, steps = rgb(BODY_COLOURS[body]), range(len(median))
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, median, color=colour, linewidth=2, label=body)
    _label(axes, f"Error: median and quartiles of all windows ({gallery.source})", "units")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", frameon=False, fontsize=9)


def _draw_goes_on(axes: Axes, gallery: Gallery) -> None:
    for colour, scene in zip(SCENE_COLOURS, gallery.scenes, strict=False):
        steps = range(scene.goes_on.shape[1])
        axes.plot(steps, scene.goes_on.T, color=colour, linewidth=0.8, alpha=0.2)
        axes.plot(steps, scene.goes_on.mean(0), color=colour, linewidth=2.2, label=scene.title)
        if scene.steps_left < len(steps):
            axes.axvline(scene.steps_left, color=colour, linewidth=1.2, linestyle="--")
    _label(axes, f"Does the round go on? Mean of {DREAMS} dreams (dashed: the real goal)", "probability")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="lower left", frameon=False, fontsize=9)


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("steps dreamed")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
