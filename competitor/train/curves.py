"""Learning curves of several runs beside each other: in the terminal, as a picture, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from rich.text import Text

from competitor.errors import ConfigError, plain
from competitor.screen import make_console, wrapped
from competitor.train.run_list import number, record

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Of Okabe and Ito, "Color Universal Design" (2008): told apart with any kind of colour blindness."""
MARKS = "ox+*#@%&"
"""One for each colour, where there are none."""
STYLES = ("-", "--", "-.", ":")
WIDTH, HEIGHT = 78, 18
"""Characters of a drawing in the terminal, where there is room."""
FEW_POINTS = 60
"""Up to so many each point of a picture is marked."""
OVER = {"steps": "environment steps", "minutes": "minutes of training"}


@dataclass(frozen=True)
class Curve:
    """The points of one run, x ascending."""

    run: str
    x: list[float]
    y: list[float]


def read_curves(paths: Sequence[Path], metric: str, over: str) -> list[Curve]:
    """A curve of `metric` for each run, over "steps" or "minutes"; one without a point where a run has no such metric.

    Raises ConfigError when no run has it.
    """
    records = {path: record(path) for path in paths}
    curves = []
    for path, lines in records.items():
        key, unit = ("environment_steps", 1.0) if over == "steps" else ("seconds", 60.0)
        read = ((number(line.get(key)), number(line.get(metric))) for line in lines)
        points = sorted((x / unit, y) for x, y in read if x is not None and y is not None)
        curves.append(Curve(str(path), [x for x, _ in points], [y for _, y in points]))
    if not any(curve.x for curve in curves):
        known = sorted({key for lines in records.values() for line in lines for key in line})
        near = get_close_matches(metric, known, n=5, cutoff=0.3)
        hint = f": there is {', '.join(near)}" if near else ""
        raise ConfigError(f"none of the runs has recorded {metric!r} yet{hint}")
    return curves


def curves_json(curves: Sequence[Curve], metric: str, over: str) -> str:
    runs = [{"run": curve.run, "points": list(zip(curve.x, curve.y, strict=True))} for curve in curves]
    return json.dumps({"metric": metric, "over": over, "runs": runs}, indent=1) + "\n"


def print_curves(curves: Sequence[Curve], metric: str, over: str) -> None:
    """Draw the curves with characters, each with a mark and a colour of its own, and a legend below."""
    console = make_console()
    width = min(WIDTH, console.width)
    for line in [Text(metric, style="bold"), *_drawing(curves, over, width), *_legend(curves, width)]:
        console.print(line, soft_wrap=True)


def _drawing(curves: Sequence[Curve], over: str, width: int) -> list[Text]:
    left, right = _bounds([curve.x for curve in curves])
    low, high = _bounds([curve.y for curve in curves])
    labels = {0: f"{high:.4g}", HEIGHT // 2: f"{low / 2 + high / 2:.4g}", HEIGHT - 1: f"{low:.4g}"}
    margin = max(map(len, labels.values())) + 1
    columns = max(10, width - margin - 1)
    cells = [[" "] * columns for _ in range(HEIGHT)]
    for mark, curve in zip(MARKS, curves, strict=False):
        for column, row in _marked(curve, np.linspace(left, right, columns), low, high):
            cells[row][column] = mark
    lines = []
    for row, drawn in enumerate(cells):
        line = Text(f"{labels.get(row, ''):>{margin - 1}} |")
        for cell in drawn:
            line.append(cell, style=_colour(MARKS.index(cell)) if cell in MARKS else "")
        line.rstrip()
        lines.append(line)
    first, last = _short(left), _short(right)
    below = [f"+{'-' * columns}", f"{first}{last:>{columns + 1 - len(first)}}", f"{OVER[over]:>{columns + 1}}"]
    return [*lines, *(Text(" " * margin + line) for line in below)]


def _marked(curve: Curve, xs: np.ndarray, low: float, high: float) -> list[tuple[int, int]]:
    """The (column, row) cells of a curve; between two points it is a straight line."""
    if not curve.x:
        return []
    half = (xs[1] - xs[0]) / 2
    inside = np.flatnonzero((xs >= curve.x[0] - half) & (xs <= curve.x[-1] + half))
    # Halves, since the distance of two numbers may be more than a float holds.
    heights = (np.interp(xs[inside], curve.x, curve.y) / 2 - low / 2) / (high / 2 - low / 2)
    rows = np.rint((1.0 - heights) * (HEIGHT - 1)).astype(int)
    return list(zip(inside.tolist(), rows.tolist(), strict=True))


def _bounds(series: Sequence[Sequence[float]]) -> tuple[float, float]:
    low = min(value for values in series for value in values)
    high = max(value for values in series for value in values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _short(value: float) -> str:
    return f"{value:,.0f}" if 100 <= abs(value) < 1e12 else f"{value:.3g}"


def _colour(place: int) -> str:
    return COLOURS[place] if COLOURS[place] != "#000000" else ""  # black: whatever the terminal writes with


def _legend(curves: Sequence[Curve], width: int) -> list[Text]:
    lines = []
    for place, curve in enumerate(curves):
        last = f"{_short(curve.y[-1])} in the end" if curve.y else "has none yet"
        parts = wrapped(f"{MARKS[place]} {plain(curve.run)}  {last}", width)
        lines += [Text(part, style=_colour(place)) for part in parts]
    return lines


def write_png(curves: Sequence[Curve], metric: str, over: str, path: Path) -> None:
    """Draw the curves into a picture. Raises OSError when it cannot be written; needs the extra `plots`."""
    from matplotlib.figure import Figure

    from competitor.inspect.rink_axes import save_png

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        marker = "os^Dv<>P"[place] if len(curve.x) <= FEW_POINTS else ""
        look = {"color": COLOURS[place], "linestyle": STYLES[place % len(STYLES)], "marker": marker, "markersize": 4}
        axes.plot(curve.x, curve.y, linewidth=1.8, label=curve.run, **look)  # type: ignore[arg-type]
    axes.set(xlabel=OVER[over], ylabel=metric)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=False)
    save_png(figure, path)
