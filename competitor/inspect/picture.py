"""The picture of `inspect --png`: a few rounds beside their dreams, the errors, and whether the dream sees the end.

Import it only after `rink_axes.need_matplotlib`.
"""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from competitor.inspect.dream_check import BODIES, CONTEXT
from competitor.inspect.examples import DREAMS, DreamExample, DreamExamples
from competitor.inspect.inspection import Inspection
from competitor.inspect.rink_axes import BODY_COLOURS, SIDES, draw_rink, racket_outline, rgb, save_png
from competitor.rink.bodies import PUCK_RADIUS
from dreamer.replay import Array

DREAM_COLOURS = {"own": "#E69F00", "opponent": "#56B4E9", "puck": "#CC79A7"}
"""Of Okabe and Ito, as are those of the examples: told apart with any kind of colour blindness."""
EXAMPLE_LOOKS = (("#009E73", "-"), ("#D55E00", "--"), ("#5a6472", "-."))
GREY = "#5a6472"
MARK_EVERY = 3
"""Steps between two marks of a dream: enough of them to see how fast it is."""
WIDTH_IN = 10.0
"""With the text's size it decides how large that is on a page, which shows the picture about 880 pixels wide."""


def write_png(inspection: Inspection, examples: DreamExamples, path: Path) -> None:
    """Draw everything into one picture. Raises OSError when it cannot be written."""
    count = len(examples.chosen)
    figure = Figure(figsize=(WIDTH_IN, 8.4), layout="constrained")
    headline = f"{inspection.checkpoint}: what happened, and what it dreamed after seeing {CONTEXT} steps"
    figure.suptitle(headline, fontsize=14)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.0, 1.1))[:, 0]
    for axes, example in zip(above.subplots(1, count, squeeze=False)[0], examples.chosen, strict=True):
        _draw_example(axes, example)
    above.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=11)
    errors, goes_on = below.subplots(1, 2)
    _draw_errors(errors, examples)
    _draw_goes_on(goes_on, examples)
    save_png(figure, path)


def _draw_example(axes: Axes, example: DreamExample) -> None:
    draw_rink(axes)
    axes.set_title(example.title, fontsize=12)
    last = min(example.steps_left, len(example.real) - 1)
    first, *others = (dream[: end + 1] for dream, end in zip(example.dreams, example.dream_ends(last), strict=True))
    for body, where in BODIES.items():
        colour, dreamed = rgb(BODY_COLOURS[body]), DREAM_COLOURS[body]
        _path(axes, example.seen[:, where], color=colour, linewidth=1.2, linestyle=":", alpha=0.6)
        for dream in others:
            _path(axes, dream[:, where], color=dreamed, linewidth=0.9, alpha=0.3)
        _path(axes, example.real[: last + 1, where], color=colour, linewidth=2.8, alpha=0.9)
        _path(axes, first[:, where], color=dreamed, **DREAM)
        _draw_body(axes, body, example.real[0], alpha=0.25)
        _draw_body(axes, body, example.real[last], alpha=0.9)
        _draw_body(axes, body, first[-1], alpha=None)


DREAM: dict[str, Any] = {"linewidth": 1.8, "marker": "o", "markersize": 4, "markevery": MARK_EVERY}


def _path(axes: Axes, places: Array, **style: object) -> None:
    axes.plot(places[:, 0], places[:, 1], zorder=3, solid_capstyle="round", **style)  # type: ignore[arg-type]


def _draw_body(axes: Axes, body: str, obs: Array, *, alpha: float | None) -> None:
    """Draw a body as `obs` (obs,) says; without alpha its outline alone in another colour, which stands for a dream."""
    dreamed = alpha is None
    colour = DREAM_COLOURS[body] if dreamed else rgb(BODY_COLOURS[body])
    if body in SIDES:
        patch: Polygon | Circle = Polygon(racket_outline(body, obs), alpha=alpha, zorder=4)
    else:
        x, y = obs[BODIES[body]]
        patch = Circle((x, y), PUCK_RADIUS, alpha=alpha, zorder=4)
    patch.set(facecolor="none" if dreamed else colour, edgecolor=colour if dreamed else "none", linewidth=2)
    axes.add_patch(patch)


def _legend() -> list[Line2D]:
    seen = Line2D([], [], color=GREY, linestyle=":", linewidth=1.4, label="seen before")
    real = [Line2D([], [], color=rgb(colour), linewidth=3, label=body) for body, colour in BODY_COLOURS.items()]
    others = Line2D([], [], color=GREY, linewidth=0.9, alpha=0.5, label="other dreams")
    dreamed = [
        Line2D([], [], color=colour, **DREAM, label=f"{body}, dreamed") for body, colour in DREAM_COLOURS.items()
    ]
    # Columns are filled from top to bottom: each body's dream stands below the body.
    return [line for pair in zip([seen, *real], [others, *dreamed], strict=True) for line in pair]


def _draw_errors(axes: Axes, examples: DreamExamples) -> None:
    for body, (low, median, high) in examples.errors.items():
        colour, steps = rgb(BODY_COLOURS[body]), range(len(median))
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, median, color=colour, linewidth=2, label=body)
    _label(axes, f"Error: median and quartiles\n(all windows of {examples.source})", "units")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", frameon=False, fontsize=11)


def _draw_goes_on(axes: Axes, examples: DreamExamples) -> None:
    for (colour, style), example in zip(EXAMPLE_LOOKS, examples.chosen, strict=False):
        steps = range(example.goes_on.shape[1])
        axes.plot(steps, example.goes_on.T, color=colour, linewidth=0.8, alpha=0.2)
        axes.plot(steps, example.goes_on.mean(0), color=colour, linestyle=style, linewidth=2.4, label=example.title)
        if example.steps_left < len(steps):
            axes.plot([example.steps_left] * 2, [0, 1], color=colour, linewidth=1.2, marker="v", markevery=[1])
    _label(axes, f"Does the round go on? {DREAMS} dreams\n(upright: the real goal)", "probability")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="lower left", frameon=False, fontsize=11)


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=12)
    axes.set_xlabel("steps dreamed", fontsize=11)
    axes.set_ylabel(unit, fontsize=11)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
