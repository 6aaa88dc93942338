"""How well the world model dreams after some minutes of learning from recorded rounds, and nothing else.

The data are 600 rounds between basic opponents, disturbed ones and random players, made by a seed; the last 60 are held
out. The mean of the latest weights dreams, which is also what a training judges and keeps. The tables are those of
`inspect` (docs/inspect.md); the JSON has means and further shares as well.
"""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.config import Config, load_config
from competitor.inspect.dream_check import check_dream, cut_windows
from competitor.inspect.tables import dream_tables
from competitor.options import JSON, SET, Minutes
from competitor.play.sizes import mirror, sizes
from competitor.play.warmup import play_warmup
from competitor.screen import print_line
from competitor.system import use_threads
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.averaging import WeightAverage
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.update import Updater

ROUNDS, HELD_OUT, DATA_SEED = 600, 60, 2026


def recorded(config: Config) -> list[Episode]:
    """Both views of every round."""
    rounds = play_warmup(ROUNDS, np.random.default_rng(DATA_SEED), rinks=32, keep_mode=config.rink.keep_mode)
    return [one.episode(view, config.reward) for one in rounds for view in (0, 1)]


def train(
    config: Config, episodes: list[Episode], *, seconds: float, updates: int, seed: int
) -> tuple[Dreamer, dict[str, float]]:
    """Fit the world model alone until either limit is reached: (its averaged weights, how long it learned)."""
    agent = Dreamer(config.dreamer, *sizes(config), seed=seed)
    replay = EpisodeBuffer(config.replay, *sizes(config), mirror=mirror(config), seed=seed)
    for episode in episodes:
        replay.add(episode)
    count = 2 * len(replay)
    agent.fit_normalizer(replay.observations(count), replay.changes(count))
    updater, average = Updater(agent), WeightAverage(agent, config.dreamer.optimizer.average_share)
    start, start_cpu, done = time.monotonic(), time.process_time(), 0
    while time.process_time() - start_cpu < seconds and done < updates:
        updater.learn_world(replay.sample())
        average.update()
        done += 1
    spent = {"minutes": (time.monotonic() - start) / 60, "cpu_minutes": (time.process_time() - start_cpu) / 60}
    return average.agent, {"updates": done, **spent}


@click.command(help=__doc__)
@click.option("--minutes", type=Minutes(), default=10.0, show_default=True, help="Of processor time.")
@click.option("--updates", type=int, default=10**9, help="Stop after so many.")
@SET
@click.option("--seed", type=int, default=0, show_default=True)
@JSON
def main(minutes: float, updates: int, overrides: tuple[str, ...], seed: int, json_path: Path | None) -> None:
    config = load_config(overrides=overrides)
    use_threads(config.run.threads)
    fast.use(config.run.kernels)
    views = recorded(config)
    agent, spent = train(config, views[: -2 * HELD_OUT], seconds=60 * minutes, updates=updates, seed=seed)
    windows = cut_windows(views[-2 * HELD_OUT :])
    found = check_dream(agent.world_model, windows, discount=config.behavior.discount)
    about = {"settings": overrides, "seed": seed, "kernels": fast.kind(), "torch": str(torch.__version__)}
    report(about | spent | asdict(found), json_path, *dream_tables({"held out": found}))
    print_line(f"{spent['updates']:,} updates, {spent['cpu_minutes']:.1f} minutes, seed {seed}")


if __name__ == "__main__":
    main()
