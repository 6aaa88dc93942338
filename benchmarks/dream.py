"""How well the world model dreams after some minutes of learning from recorded rounds, and nothing else.

The data are 600 rounds between basic opponents, disturbed ones and random players, made by a seed; the last 60 are held
out. The tables tell median and mean open-loop errors in units after 20 steps of context, the goals foreseen and the
bias of the dreamed returns (competitor/inspect/dream_check.py says exactly what).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.config import Config, load_config
from competitor.inspect.dream_check import HORIZONS, check_dream, cut_windows
from competitor.options import JSON, SET, Minutes
from competitor.play.sizes import mirror, sizes
from competitor.play.warmup import play_warmup
from competitor.screen import Table
from competitor.system import use_threads
from dreamer import fast
from dreamer.agent import Dreamer
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
    """Fit the world model alone until either limit is reached: (agent, how long it learned)."""
    agent = Dreamer(config.dreamer, *sizes(config), seed=seed)
    replay = EpisodeBuffer(config.replay, *sizes(config), mirror=mirror(config), seed=seed)
    for episode in episodes:
        replay.add(episode)
    count = 2 * len(replay)
    agent.fit_normalizer(replay.observations(count), replay.changes(count))
    updater = Updater(agent)
    start, start_cpu, done = time.monotonic(), time.process_time(), 0
    while time.process_time() - start_cpu < seconds and done < updates:
        updater.learn_world(replay.sample())
        done += 1
    spent = {"minutes": (time.monotonic() - start) / 60, "cpu_minutes": (time.process_time() - start_cpu) / 60}
    return agent, {"updates": done, **spent}


def tables(result: dict[str, Any]) -> tuple[Table, Table]:
    """Errors by body and horizon; then goals, returns and shots."""
    title = f"{result['updates']:,} updates, {result['cpu_minutes']:.1f} minutes, seed {result['seed']}"
    errors = {
        f"{body}, {middle}": of_body
        for middle, bodies in (("median", result["errors"]), ("mean", result["means"]))
        for body, of_body in bodies.items()
    }
    errors["untouched puck, median"] = result["untouched"]
    rows = [[name, *(f"{one[h]:.3f}" if h in one else "" for h in HORIZONS)] for name, one in errors.items()]
    shots = result["shots"]
    facts = {
        "goals foreseen": f"{result['goals_seen']:.0%}",
        "false alarms": f"{result['false_alarms']:.1%}",
        "return of 15 steps, dreamed": f"{result['return_dreamed']:+.3f}",
        "return of 15 steps, real": f"{result['return_real']:+.3f}",
        "shots in flight": str(shots["shots"]),
        "of which arrive in the dream": f"{shots['arriving']:.0%}",
        "off at the goal line, median and mean": f"{shots['y_median']:.2f}, {shots['y_mean']:.2f}",
        f"foreseen of {shots['goals']} goals among them": f"{shots['goals_seen']:.0%}",
        "false alarms among them": f"{shots['false_alarms']:.1%}",
    }
    columns = ["error, units", *[f"h{horizon}" for horizon in HORIZONS]]
    return Table(columns, rows, title), Table(["", ""], [list(fact) for fact in facts.items()])


@click.command(help=__doc__)
@click.option("--minutes", type=Minutes(), default=10.0, show_default=True, help="Of processor time.")
@click.option("--updates", type=int, default=10**9, help="Stop after so many.")
@SET
@click.option("--seed", type=int, default=0, show_default=True)
@JSON
def main(minutes: float, updates: int, overrides: tuple[str, ...], seed: int, json_path: Path | None) -> None:
    """Train one variant of the world model and print how it dreams."""
    config = load_config(overrides=overrides)
    use_threads(config.run.threads)
    fast.use(config.run.kernels)
    views = recorded(config)
    agent, spent = train(config, views[: -2 * HELD_OUT], seconds=60 * minutes, updates=updates, seed=seed)
    windows = cut_windows(views[-2 * HELD_OUT :])
    found = check_dream(agent.world_model, windows, discount=config.behavior.discount)
    about = {"settings": overrides, "seed": seed, "kernels": fast.kind(), "torch": str(torch.__version__)}
    result = about | spent | found.to_dict()
    report(result, json_path, *tables(result))


if __name__ == "__main__":
    main()
