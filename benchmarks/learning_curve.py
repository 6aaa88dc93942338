"""How strong the agent becomes in so many minutes of training from nothing, on this machine.

Trains in runs/ and stops every `--every` minutes of training to play `--rounds` paired rounds with the deterministic
policy against weak and against strong, with a seed of its own, and to dream through the held-out rounds of the
training's own check. The time of this is not training time. With `training.overlap=false` one thread does everything,
and minutes are its processor time, so that a busy machine measures the same; with overlap they are those of the
clock. The JSON is written after every point. A run that was cut goes on with the same command: its run directory is
named by preset, seed and settings, and its points lie there too.
"""

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cli
from benchmarks.common import machine
from competitor.config import load_config
from competitor.errors import EXIT_INTERRUPTED
from competitor.evaluate.evaluation import EvaluationReport, evaluate
from competitor.inspect.dream_check import REPORTED, check_dream
from competitor.inspect.held_out import training_windows
from competitor.inspect.rink_axes import need_matplotlib, save_png
from competitor.options import MOST_SEED, ROUNDS, Minutes, ResultFile
from competitor.players import DreamerPlayer, make_player
from competitor.screen import Table, counter, print_line, print_table
from competitor.system import code_version, stopping_on_signals
from competitor.train.display import Display
from competitor.train.report import dream_metrics
from competitor.train.run_directory import RunDirectory
from competitor.train.selfplay import Trainer
from dreamer import fast
from dreamer.files import atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
OPPONENTS = {"weak": "#0072B2", "strong": "#D55E00"}
EVALUATION_SEED = 20_261_123
NEVER = 10**15
"""Environment steps: the limit of these trainings is time."""
KEPT = ("rounds", "wins", "draws", "losses", "win_rate", "ci95", "score")
Point = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is to be measured: see the command's options."""

    minutes: float
    seed: int
    every: float = 10.0
    rounds: int = 200
    preset: str = "default"
    settings: tuple[str, ...] = ()
    json: Path | None = None
    plot: Path | None = None
    runs: Path = ROOT / "runs"


class Curve:
    """The points measured so far, and the run that they are measured on; both lie in the run's directory."""

    def __init__(self, options: Options) -> None:
        self.options = options
        # Whoever measures something else, or with other defaults, gets a run of its own; more minutes go on with it.
        learning = load_config(preset=options.preset, overrides=options.settings)
        self._clock: Callable[[], float] = time.monotonic if learning.training.overlap else time.process_time
        kind = repr((learning.model_dump(exclude={"compete", "arena"}), options.every, options.rounds)).encode()
        name = f"curve-{options.preset}-{options.seed}-{hashlib.sha256(kind).hexdigest()[:6]}"
        self.path = options.runs / name
        self._file = self.path / "learning_curve.json"
        self.points: list[Point] = json.loads(self._file.read_text())["points"] if self._file.exists() else []

    @property
    def due(self) -> float | None:
        """Minutes of training at which the next point is due; None when all are there."""
        last, every = self.points[-1]["minutes"] if self.points else 0.0, self.options.every
        if last >= self.options.minutes:
            return None
        return float(min(every * (math.floor(last / every) + 1), self.options.minutes))

    def open(self, due: float) -> tuple[Trainer, float]:
        """The run as it was saved, or a new one, and the minutes of training that are left until `due`."""
        options = self.options
        if self.path.exists():
            left = due - trained_minutes(self.path)
            overrides = [f"training.minutes={left}"] if left > 0 else []
            return Trainer.resume(self.path, overrides, clock=self._clock), left
        limits = (f"training.environment_steps={NEVER}", f"training.minutes={due}")
        config = load_config(preset=options.preset, overrides=(*options.settings, f"run.seed={options.seed}", *limits))
        return Trainer.start(config, self.path, preset=options.preset, clock=self._clock), due

    def add(self, point: Point) -> None:
        """Take in a point and write everything anew, in the run's directory and to --json."""
        self.points.append(point)
        text = json.dumps(self._about() | {"points": self.points}, indent=1) + "\n"
        for path in filter(None, (self._file, self.options.json)):
            atomic_write_text(path, text)

    def _about(self) -> dict[str, Any]:
        options = self.options
        return {
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": code_version(),
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "kernels": fast.kind(),
            "preset": options.preset,
            "settings": list(options.settings),
            "seed": options.seed,
            "minutes_of": "the wall" if self._clock is time.monotonic else "the processor",
            "every_minutes": options.every,
            "rounds": options.rounds,
            "evaluation_seed": EVALUATION_SEED,
            "run": self.path.name,
        }


def trained_minutes(path: Path) -> float:
    """Minutes of training in the run's last save; 0 before the first."""
    save = RunDirectory.open(path).saves.current()
    return json.loads((save / "trainer.json").read_text())["counters"]["seconds"] / 60 if save else 0.0


def measure(curve: Curve) -> bool:
    """Train to the next point and take it; returns False when Ctrl-C or SIGTERM came, then all is saved."""
    due = curve.due
    assert due is not None, "there is no point left to measure"
    trainer, left = curve.open(due)
    with stopping_on_signals(trainer.stop) as signals:
        if left > 0:
            with Display() as display:
                trainer.train(display)
        else:  # cut after the training of this point and before its evaluation was written
            trainer.close()
    if signals:
        return False
    with trainer.run.sole_writer():  # whoever else measures this curve waits outside, also while rounds are played
        return take_point(curve, trainer)


def take_point(curve: Curve, trainer: Trainer) -> bool:
    """Play, dream and write down what came of it; returns False when Ctrl-C came."""
    report = judge(trainer, curve.options.rounds)
    if report.partial:
        return False
    counters = trainer.state.counters
    about = {"minutes": counters.seconds / 60, "updates": trainer.state.agent.updates}
    results = {one.opponent: {key: getattr(one, key) for key in KEPT} for one in report.results}
    steps = {"environment_steps": counters.environment_steps}
    curve.add(about | steps | {"against": results, "dream": dream(trainer)})
    return True


def judge(trainer: Trainer, rounds: int) -> EvaluationReport:
    """Play the deterministic policy of the agent as it is now."""
    config = trainer.config
    keep_mode = config.rink.keep_mode
    player = DreamerPlayer(trainer.state.pipeline.averaged, "learner", deterministic=True)
    opponents = {name: make_player(name, seed=EVALUATION_SEED, keep_mode=keep_mode) for name in OPPONENTS}
    with counter("rounds") as count:
        return evaluate(
            player,
            opponents,
            rounds=rounds,
            seed=EVALUATION_SEED,
            engine=config.rink.engine,
            keep_mode=keep_mode,
            on_progress=count,
        )


def dream(trainer: Trainer) -> dict[str, float | None]:
    """How well the world model dreams now, as a training reports it; None for what could not be measured."""
    config, world = trainer.config, trainer.state.pipeline.averaged.world_model
    report = check_dream(world, training_windows(config), discount=config.behavior.discount, horizons=REPORTED)
    metrics = {name.removeprefix("dream/"): value for name, value in dream_metrics(report).items()}
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def print_tables(points: list[Point]) -> None:
    """One line per point: how well it plays, and how well it dreams."""
    print_table(_results_table(points))
    print_table(_dream_table([point for point in points if "dream" in point]))


def _results_table(points: list[Point]) -> Table:
    rows = []
    for point in points:
        cells = [f"{point['minutes']:.1f}", f"{point['updates']:,}", f"{point['environment_steps']:,}"]
        for one in point["against"].values():
            low, high = one["ci95"]
            cells.append(f"{one['wins']}/{one['draws']}/{one['losses']}")
            cells.append(f"{100 * one['win_rate']:.1f} ({100 * low:.0f}-{100 * high:.0f})")
        rows.append(cells)
    columns = ["minutes", "updates", "steps", *(part for name in OPPONENTS for part in (name, "won"))]
    return Table(columns, rows, "deterministic policy, won/drawn/lost and won in % (95 %)", texts=0)


def _dream_table(points: list[Point]) -> Table:
    names = list({name: None for point in points for name in point["dream"]})
    numbers = ([point["dream"].get(name) for name in names] for point in points)
    cells = (["-" if one is None else f"{one:.2f}" for one in row] for row in numbers)
    rows = [[f"{point['minutes']:.1f}", *row] for point, row in zip(points, cells, strict=True)]
    columns = ["minutes", *(name.replace("_", " ") for name in names)]
    return Table(columns, rows, "the dream: median errors in units, shares, bias of 15 steps", texts=0)


def draw(points: list[Point], title: str, path: Path) -> None:
    """Draw the win rates over the minutes, with their intervals as bands. Needs the extra `plots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    minutes = [point["minutes"] for point in points]
    for name, colour in OPPONENTS.items():
        results = [point["against"][name] for point in points]
        rates, bounds = [100 * one["win_rate"] for one in results], [one["ci95"] for one in results]
        low, high = ([100 * bound[side] for bound in bounds] for side in (0, 1))
        axes.fill_between(minutes, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(minutes, rates, "o-", color=colour, linewidth=2, markersize=4, label=f"against {name}")
    axes.set(title=title, xlabel="minutes of training", ylabel="rounds won, %, with 95 % intervals", ylim=(0, 100))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    save_png(figure, path)


def run(options: Options) -> int:
    """Measure until all points are there; returns the exit code."""
    if options.plot:
        need_matplotlib()
    curve, going_on = Curve(options), True
    print_line(f"the run: {curve.path}; the same command goes on with it")
    show(curve)
    while going_on and curve.due is not None:
        going_on = measure(curve)
        show(curve)
    return 0 if going_on else EXIT_INTERRUPTED


def show(curve: Curve) -> None:
    """The points measured so far, as tables and, where it is wished for, as a plot."""
    if curve.points:
        print_tables(curve.points)
        if curve.options.plot:
            draw(curve.points, f"preset {curve.options.preset}, seed {curve.options.seed}", curve.options.plot)


@click.command(help=__doc__)
@click.option("--minutes", type=Minutes(is_open=True), required=True, help="Of training.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), required=True)
@click.option("--every", type=Minutes(is_open=True), default=10.0, show_default=True, help="Between two points.")
@click.option("--rounds", type=ROUNDS, default=200, show_default=True, help="Against each opponent, at each point.")
@click.option("--preset", default="default", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change a setting.")
@click.option("--json", type=ResultFile(), help="Write the points here too, after each of them.")
@click.option("--plot", type=ResultFile(".png"), help="Draw the curve into this picture, after each point.")
def main(**given: Any) -> int:
    """Measure one curve."""
    return run(Options(**given))


if __name__ == "__main__":
    sys.exit(cli.run(sys.argv[1:], main))
