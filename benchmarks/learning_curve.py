"""How strong the agent becomes in so many minutes of training from nothing, on this machine.

    python benchmarks/learning_curve.py --minutes M --seed S [--every 10] [--rounds 200] [--preset NAME]
                                        [--set section.key=value ...] [--threads N] [--json FILE]
                                        [--plot FILE]

Trains in runs/ and stops every `--every` minutes of training to play `--rounds` paired rounds with the deterministic
policy against weak and against strong, with a seed of its own, and to dream through the held-out rounds of the
training's own check. The time of this is not training time. The JSON is written after every point. A run that was cut
goes on with the same command: its run directory is named by preset, seed and settings, and its points lie there too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.config import load_config
from competitor.errors import EXIT_INTERRUPTED, CompetitorError, exit_code, message
from competitor.evaluate.evaluation import EvaluationReport, evaluate
from competitor.inspect.dream_check import REPORTED, check_dream
from competitor.inspect.held_out import training_windows
from competitor.inspect.rink_axes import need_matplotlib, save_png
from competitor.players import DreamerPlayer, make_player
from competitor.screen import Table, counter, print_table
from competitor.system import code_version, stopping_on_signals
from competitor.train.display import make_display
from competitor.train.report import dream_metrics
from competitor.train.run_directory import RunDirectory
from competitor.train.selfplay import Trainer
from dreamer import fast
from dreamer.errors import DreamerError
from dreamer.files import atomic_write_text

ROOT = Path(__file__).resolve().parent.parent
OPPONENTS = {"weak": "#0072B2", "strong": "#D55E00"}
EVALUATION_SEED = 20_261_123
NEVER = 10**15
"""Environment steps: the limit of these trainings is time."""
KEPT = ("rounds", "wins", "draws", "losses", "win_rate", "ci95", "score")
Point = dict[str, Any]


class Curve:
    """The points measured so far, and the run that they are measured on; both lie in the run's directory."""

    def __init__(self, arguments: argparse.Namespace, runs: Path) -> None:
        self._arguments = arguments
        # Whoever measures something else, or with other defaults, gets a run of its own; more minutes go on with it.
        learning = load_config(preset=arguments.preset, overrides=arguments.set)
        kind = repr((learning.model_dump(exclude={"compete", "arena"}), arguments.every, arguments.rounds)).encode()
        name = f"curve-{arguments.preset}-{arguments.seed}-{hashlib.sha256(kind).hexdigest()[:6]}"
        self.path = runs / name
        self._file = self.path / "learning_curve.json"
        self.points: list[Point] = json.loads(self._file.read_text())["points"] if self._file.exists() else []

    @property
    def due(self) -> float | None:
        """Minutes of training at which the next point is due; None when all are there."""
        last, every = self.points[-1]["minutes"] if self.points else 0.0, self._arguments.every
        if last >= self._arguments.minutes:
            return None
        return float(min(every * (math.floor(last / every) + 1), self._arguments.minutes))

    def open(self, due: float) -> tuple[Trainer, float]:
        """The run as it was saved, or a new one, and the minutes of training that are left until `due`."""
        arguments = self._arguments
        if self.path.exists():
            left = due - trained_minutes(self.path)
            return Trainer.resume(self.path, [f"training.minutes={left}"] if left > 0 else []), left
        limits = (f"training.environment_steps={NEVER}", f"training.minutes={due}")
        config = load_config(preset=arguments.preset, overrides=(*arguments.set, f"run.seed={arguments.seed}", *limits))
        return Trainer.start(config, self.path, preset=arguments.preset), due

    def add(self, point: Point) -> None:
        """Take in a point and write everything anew, in the run's directory and to --json."""
        self.points.append(point)
        text = json.dumps(self._about() | {"points": self.points}, indent=1) + "\n"
        for path in filter(None, (self._file, self._arguments.json)):
            atomic_write_text(path, text)

    def _about(self) -> dict[str, Any]:
        arguments = self._arguments
        return {
            "machine": f"{processor()}, {os.cpu_count()} cores",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": code_version(),
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "kernels": fast.kind(),
            "preset": arguments.preset,
            "settings": arguments.set,
            "seed": arguments.seed,
            "every_minutes": arguments.every,
            "rounds": arguments.rounds,
            "evaluation_seed": EVALUATION_SEED,
            "run": self.path.name,
        }


def processor() -> str:
    """What the processor calls itself, where Linux tells."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def trained_minutes(path: Path) -> float:
    """Minutes of training in the run's last save; 0 before the first."""
    save = RunDirectory.open(path).current_save()
    return json.loads((save / "trainer.json").read_text())["counters"]["seconds"] / 60 if save else 0.0


def measure(curve: Curve, rounds: int) -> bool:
    """Train to the next point and take it; returns False when Ctrl-C or SIGTERM came, then all is saved."""
    due = curve.due
    assert due is not None, "there is no point left to measure"
    trainer, left = curve.open(due)
    with stopping_on_signals(trainer.stop) as signals:
        if left > 0:
            with make_display() as display:
                trainer.train(display)
        else:  # cut after the training of this point and before its evaluation was written
            trainer.close()
    if signals:
        return False
    with trainer.run.sole_writer():  # whoever else measures this curve waits outside, also while rounds are played
        return take_point(curve, trainer, rounds)


def take_point(curve: Curve, trainer: Trainer, rounds: int) -> bool:
    """Play, dream and write down what came of it; returns False when Ctrl-C came."""
    report = judge(trainer, rounds)
    if report.partial:
        return False
    counters = trainer.state.counters
    about = {"minutes": counters.seconds / 60, "updates": trainer.state.agent.updates}
    results = {one["opponent"]: {key: one[key] for key in KEPT} for one in report.to_dict()["results"]}
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


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=positive, required=True, help="of training")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--every", type=positive, default=10.0, help="minutes of training between two points")
    parser.add_argument("--rounds", type=whole, default=200, help="against each opponent, at each point")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--threads", type=whole, help="of arithmetic; the same as --set run.threads=N")
    parser.add_argument("--json", type=Path, help="write the points here too, after each of them")
    parser.add_argument("--plot", type=Path, help="draw the curve into this PNG, after each point")
    arguments = parser.parse_args(words)
    arguments.set += [f"run.threads={arguments.threads}"] if arguments.threads else []
    return arguments


def whole(text: str) -> int:
    """A whole number above 0; raises ValueError for anything else."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """A number above 0; raises ValueError for anything else."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def run(arguments: argparse.Namespace, runs: Path = ROOT / "runs") -> int:
    """Measure until all points are there; returns the exit code."""
    if arguments.plot:
        need_matplotlib()
    curve, going_on = Curve(arguments, runs), True
    print(f"the run: {curve.path}; the same command goes on with it", flush=True)
    show(curve, arguments)
    while going_on and curve.due is not None:
        going_on = measure(curve, arguments.rounds)
        show(curve, arguments)
    return 0 if going_on else EXIT_INTERRUPTED


def show(curve: Curve, arguments: argparse.Namespace) -> None:
    """The points measured so far, as tables and, where it is wished for, as a plot."""
    if curve.points:
        print_tables(curve.points)
        if arguments.plot:
            draw(curve.points, f"preset {arguments.preset}, seed {arguments.seed}", arguments.plot)


def main() -> None:
    """Measure one curve; a user's mistake is one line and the exit code that docs/commands.md lists."""
    try:
        sys.exit(run(read_arguments()))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (CompetitorError, DreamerError, OSError) as error:
        print(f"error: {message(error)}", file=sys.stderr)
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
