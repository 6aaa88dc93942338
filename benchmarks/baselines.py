"""How strong a stock SAC or TD3 becomes in so many minutes from nothing: what the dreamer is compared with.

    python benchmarks/baselines.py train SAC --minutes 180 --seed 1 [--every 10] [--json FILE]
    python benchmarks/baselines.py draw FILE... --plot docs/comparison.png

Needs the extra `sparring` to train: sbx-rl's algorithms with its own settings, an update of 256 per step of play or per
`--frames` of them, the reward and the opponents that config.toml gives the dreamer, one thread. Points are measured and
written like those of learning_curve.py, so that `draw` takes both. A run that was cut goes on with the same command; it
lies in runs/sparring/.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import machine
from benchmarks.learning_curve import EVALUATION_SEED, KEPT, OPPONENTS, Point
from competitor.config import PAST, Config, load_config
from competitor.errors import EXIT_INTERRUPTED
from competitor.evaluate.evaluation import evaluate
from competitor.options import JSON, MOST_SEED, Minutes
from competitor.players import make_player
from competitor.screen import Table, counter, print_table
from competitor.sparring.recipes import POOL, Recipe, load_recipe
from competitor.sparring.run import Run
from competitor.system import sole_writer, stopping_on_signals, use_threads
from competitor.train.curves import COLOURS
from dreamer.files import atomic_write_text

RUNS = Path(__file__).resolve().parent.parent / "runs" / "sparring"
POINTS = "points.json"
OVER = {"minutes": (1.0, "minutes"), "environment_steps": (1e6, "million steps of play")}


def stock(algorithm: str, seed: int, frames: int, config: Config) -> Recipe:
    """The recipe of a stock learner: one-step returns, the dreamer's reward and opponents, the pool as its past."""
    shares = {POOL if name == PAST else name: share for name, share in config.league.shares.items()}
    reward = load_recipe("striker").reward.model_copy(update=config.reward.model_dump())
    changes = {
        "style": f"a stock {algorithm}, for comparison",
        "algorithm": algorithm,
        "seed": seed,
        "discount": config.dreamer.behavior.discount,
        "steps": 1,
        "frames_per_update": frames,
        "updates": 10**12,
        "opponents": shares,
        "reward": reward.model_copy(update={"conceded": config.reward.goal}),
    }
    return load_recipe("striker").model_copy(update=changes)


@click.group(help=__doc__)
def main() -> None:
    """Train a baseline or draw curves."""


@main.command()
@click.argument("algorithm", type=click.Choice(["SAC", "TD3", "TQC", "CrossQ"]))
@click.option("--minutes", type=Minutes(), required=True, help="Of training.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), required=True)
@click.option("--every", type=Minutes(), default=10.0, show_default=True, help="Minutes between two points.")
@click.option("--rounds", type=click.IntRange(2), default=200, show_default=True, help="Per opponent, at each point.")
@click.option("--frames", type=click.IntRange(1), default=1, show_default=True, help="Steps of play per update.")
@JSON
def train(
    algorithm: str, minutes: float, seed: int, every: float, rounds: int, frames: int, json_path: Path | None
) -> None:
    """Train one learner and measure it every few minutes."""
    use_threads(1)
    path = RUNS / f"baseline-{algorithm}-{frames}-{seed}"
    is_new = not (path / "recipe.toml").exists()
    run = Run.create(path, stock(algorithm, seed, frames, load_config())) if is_new else Run.open(path)
    about = {"machine": machine(), "learner": algorithm, "frames_per_update": frames, "seed": seed}
    with sole_writer(path, f"the run {path}"):
        for points in measured(run, minutes=minutes, every=every, rounds=rounds):
            for file in filter(None, (path / POINTS, json_path)):
                atomic_write_text(file, json.dumps(about | {"points": points}, indent=1) + "\n")
            print_points({algorithm: points})


def measured(run: Run, *, minutes: float, every: float, rounds: int) -> Iterator[list[Point]]:
    """Train from point to point: all points so far, after each. A signal saves and ends the command."""
    from competitor.sparring.sbx_replay import ReplayLearner
    from competitor.sparring.trainer import Trainer

    learner = ReplayLearner(run.recipe, np.random.default_rng(run.recipe.seed))
    trainer = Trainer(run, learner, clock=time.monotonic, say=click.echo)
    kept = run.path / POINTS
    points: list[Point] = json.loads(kept.read_text())["points"] if kept.exists() else []
    while trainer.seconds < 60 * minutes:
        left = min(minutes, every * (len(points) + 1)) - trainer.seconds / 60
        with stopping_on_signals(trainer.stop) as signals:
            if left > 0:
                trainer.train(minutes=left)
        if signals:
            sys.exit(EXIT_INTERRUPTED)
        trainer.examine()  # writes the policy that is judged
        about = {"minutes": trainer.seconds / 60, "updates": learner.updates, "environment_steps": trainer.frames}
        points.append(about | {"against": judge(run.path, rounds)})
        yield points


def judge(run: Path, rounds: int) -> dict[str, Any]:
    """Paired rounds of the run's newest policy, without noise."""
    player = make_player(f"sparring:{run / 'latest.safetensors'}", seed=EVALUATION_SEED)
    opponents = {name: make_player(name, seed=EVALUATION_SEED) for name in OPPONENTS}
    with counter("rounds") as count:
        played = evaluate(player, opponents, rounds=rounds, seed=EVALUATION_SEED, on_progress=count)
    return {one.opponent: {key: getattr(one, key) for key in KEPT} for one in played.results}


def print_points(curves: dict[str, list[Point]]) -> None:
    """A line per point: how long it has learned, and what it won."""
    rows = [
        [
            name,
            f"{point['minutes']:.0f}",
            f"{point['updates']:,}",
            f"{point['environment_steps']:,}",
            *(f"{100 * point['against'][opponent]['win_rate']:.1f}" for opponent in OPPONENTS),
        ]
        for name, points in curves.items()
        for point in points
    ]
    print_table(Table(["learner", "minutes", "updates", "steps", *OPPONENTS], rows, "rounds won in %"))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), required=True)
def draw(files: Sequence[Path], plot: Path) -> None:
    """Draw curves beside each other, over minutes and over steps of play."""
    curves = read_curves(files)
    print_points(curves)
    write_png(curves, plot)


def read_curves(files: Sequence[Path]) -> dict[str, list[Point]]:
    """The points of each file, named by its learner and the file."""
    facts = {file.stem: json.loads(file.read_text()) for file in files}
    return {f"{one.get('learner', 'dreamer')} ({name})": one["points"] for name, one in facts.items()}


def write_png(curves: dict[str, list[Point]], path: Path) -> None:
    """Draw all curves: a column per opponent, over minutes above and over steps of play below."""
    from matplotlib.figure import Figure

    from competitor.inspect.rink_axes import save_png

    figure = Figure(figsize=(9.0, 6.4), layout="constrained")
    grid = figure.subplots(len(OVER), len(OPPONENTS), sharey=True)
    for row, (key, (unit, label)) in zip(grid, OVER.items(), strict=True):
        for axes, opponent in zip(row, OPPONENTS, strict=True):
            draw_curves(axes, curves, opponent, key, unit)
            axes.set(title=f"against {opponent}", xlabel=label, ylim=(0, 101), ylabel="rounds won, %")
    grid[0, 0].legend(frameon=False, fontsize=8)
    save_png(figure, path)


def draw_curves(axes: Any, curves: dict[str, list[Point]], opponent: str, key: str, unit: float) -> None:
    """A line per curve, what was won against `opponent` over `key` in units of `unit`."""
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        rates = [100 * point["against"][opponent]["win_rate"] for point in points]
        axes.plot([point[key] / unit for point in points], rates, "o-", color=colour, markersize=3, label=name)
    axes.grid(alpha=0.25)


if __name__ == "__main__":
    main()
