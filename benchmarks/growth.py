"""How time and memory grow with what there is more of: nothing may grow faster than in proportion.

    python benchmarks/growth.py [--only replay,league] [--json FILE] [--png FILE]

One thread, processor time, the median of a few repeats; memory is what the process has taken by then. The exponent is
that of time over size from the smallest to the largest: 1 is proportion, 0 is no growth at all. What takes other
processes to measure stands elsewhere: clients of the arena in classroom.py, matches over the wire in latency.py.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import click
import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from benchmarks.update import ACTION_SIZE, OBS_SIZE, random_replay
from competitor.config import load_config
from competitor.options import JSON
from competitor.play.rounds import RoundRunner, RoundSetup
from competitor.players import BasicPlayer, DreamerPlayer
from competitor.screen import Table
from competitor.train.league import League
from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.update import Updater

REPEATS = 5
ROUND = 250  # steps of a round that ends by time
Work = Callable[[], object]


def agent_of(config: DreamerConfig) -> Dreamer:
    return Dreamer(config, OBS_SIZE, ACTION_SIZE)


def rinks(size: int) -> Work:
    """A step of so many rinks, the agent against strong."""
    setups: Iterator[RoundSetup] = (RoundSetup(n % 2 == 0, seed=n, opponent="strong") for n in count())
    learner = DreamerPlayer(agent_of(load_config().dreamer), "learner", deterministic=False)
    return RoundRunner(size, learner, {"strong": BasicPlayer(weak=False)}, setups).step


def matches(size: int) -> Work:
    """An answer of the agent to so many matches at once."""
    agent = agent_of(load_config().dreamer)
    state, obs, first = agent.initial_state(size), torch.randn(size, OBS_SIZE), torch.zeros(size, dtype=torch.bool)
    return lambda: agent.act(state, obs, first, deterministic=True)


def replay(size: int) -> Work:
    """A batch drawn from so many steps."""
    buffer = EpisodeBuffer(load_config().replay, OBS_SIZE, ACTION_SIZE, mirror=None, seed=0)
    for _ in range(size // ROUND):
        obs, action = np.ones((ROUND + 1, OBS_SIZE), np.float32), np.ones((ROUND, ACTION_SIZE), np.float32)
        buffer.add(Episode(obs, action, np.ones(ROUND, np.float32), terminal=True))
    return buffer.sample


def league(size: int) -> Work:
    """Eight opponents drawn from so many past selves, and a new one among them."""
    pool, random, number = League([], size), np.random.default_rng(0), count()
    for _ in range(size):
        pool.add(f"member {next(number)}", 0)
    return lambda: (pool.add(f"member {next(number)}", 0), pool.draw(8, random))


def dreams(size: int) -> Work:
    """An update whose behaviour learns in so many dreams."""
    settings = load_config(overrides=[f"behavior.starts={size}"]).dreamer
    updater, buffer = Updater(agent_of(settings)), random_replay(settings)
    return lambda: updater.train_step(buffer.sample())


SERIES: dict[str, tuple[Callable[[int], Work], Sequence[int]]] = {
    "rinks": (rinks, (16, 64, 256, 512)),
    "matches": (matches, (1, 4, 16, 64, 256)),
    "replay": (replay, (100_000, 1_000_000, 4_000_000)),
    "league": (league, (10, 50, 200)),
    "dreams": (dreams, (64, 256, 1024)),
}


def measure(name: str) -> dict[str, list[float]]:
    """Sizes, milliseconds and megabytes of one series."""
    make, sizes = SERIES[name]
    found: dict[str, list[float]] = {"sizes": list(sizes), "ms": [], "mb": []}
    for size in sizes:
        work, times = make(size), []
        work()
        for _ in range(REPEATS):
            begun = time.thread_time()
            work()
            times.append(1e3 * (time.thread_time() - begun))
        found["ms"].append(statistics.median(times))
        found["mb"].append(psutil.Process().memory_info().rss / 2**20)
    return found


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """That of the power by which values grow with sizes, from the first to the last."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def table_of(results: dict[str, dict[str, list[float]]]) -> Table:
    rows = []
    for name, found in results.items():
        exponents = f"{exponent(found['sizes'], found['ms']):.2f}"
        for place, (size, ms, mb) in enumerate(zip(*found.values(), strict=True)):
            rows.append([name if not place else "", f"{size:,}", f"{ms:.2f}", f"{mb:.0f}", "" if place else exponents])
    return Table(["series", "size", "ms", "MB", "exponent"], rows, "Growth of time and memory")


def write_png(results: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Times over sizes, each in units of its first, beside proportion; needs the extra `plots`."""
    from matplotlib.figure import Figure

    from competitor.inspect.rink_axes import save_png

    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.loglog([1, 256], [1, 256], color="0.6", linestyle=":", label="in proportion")
    for (name, found), marker in zip(results.items(), "os^Dv", strict=False):
        sizes, times = ([value / values[0] for value in values] for values in (found["sizes"], found["ms"]))
        axes.loglog(sizes, times, marker=marker, label=name)
    axes.set(xlabel="size, times the smallest", ylabel="processor time, times the smallest's")
    axes.legend(frameon=False)
    save_png(figure, path)


@click.command(help=__doc__)
@click.option("--only", default=",".join(SERIES), show_default=True, help="Series to measure, with commas.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the times into a picture.")
@JSON
def main(only: str, png: Path | None, json_path: Path | None) -> None:
    torch.set_num_threads(1)
    results = {name: measure(name) for name in only.split(",")}
    report({"results": results}, json_path, table_of(results))
    if png is not None:
        write_png(results, png)


if __name__ == "__main__":
    main()
