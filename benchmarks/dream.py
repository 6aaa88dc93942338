"""How well the world model dreams after some minutes of learning from recorded rounds, and nothing else.

    python benchmarks/dream.py [--minutes 10] [--updates N] [--set section.key=value ...] [--name TEXT]
                               [--seed 0] [--json FILE]

The data are 600 rounds between basic opponents, disturbed ones and random players, made by a seed and kept in
runs/; the last 60 are held out. The table tells median open-loop errors in units after 20 steps of context, the
goals foreseen and the bias of the dreamed returns (competitor/dream_check.py says exactly what).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.config import Config, load_config
from competitor.inspect.dream_check import HORIZONS, Windows, check_dream, cut_windows
from competitor.play.rounds import RewardWeights
from competitor.play.sizes import mirror
from competitor.play.warmup import play_warmup
from competitor.system import use_threads
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.update import Updater

ROUNDS, HELD_OUT, DATA_SEED = 600, 60, 2026
OBS_SIZE, ACTION_SIZE = 18, 4
ROOT = Path(__file__).resolve().parent.parent


def recorded(config: Config) -> list[tuple[Episode, Episode]]:
    """Both views of every round; played once, then read from runs/."""
    weights = config.reward.model_dump()
    path = ROOT / "runs" / f"dream-data-{DATA_SEED}-{ROUNDS}.npz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        rounds = play_warmup(ROUNDS, np.random.default_rng(DATA_SEED), rinks=32)
        arrays = {f"{key}{i}": getattr(r, key) for i, r in enumerate(rounds) for key in ("obs", "actions", "info")}
        np.savez_compressed(path, **arrays)
    data, reward = np.load(path), RewardWeights(**weights)
    pairs = []
    for i in range(ROUNDS):
        obs, actions, info = (data[f"{key}{i}"] for key in ("obs", "actions", "info"))
        terminal = bool(info[0, -1, 3])
        one, two = (Episode(obs[v], actions[v], reward.rewards(info[v]), terminal) for v in (0, 1))
        pairs.append((one, two))
    return pairs


def train(
    config: Config, episodes: list[Episode], *, seconds: float, updates: int, seed: int
) -> tuple[Dreamer, dict[str, float]]:
    """Fit the world model alone until either limit is reached: (agent, how long it learned)."""
    agent = Dreamer(config.dreamer, OBS_SIZE, ACTION_SIZE, seed=seed)
    replay = EpisodeBuffer(config.replay, OBS_SIZE, ACTION_SIZE, mirror=mirror(config), seed=seed)
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


def measure(config: Config, arguments: argparse.Namespace, windows: Windows, episodes: list[Episode]) -> dict[str, Any]:
    """Train and check once."""
    limits = {"seconds": 60 * arguments.minutes, "updates": arguments.updates}
    agent, spent = train(config, episodes, **limits, seed=arguments.seed)
    report = check_dream(agent.world_model, windows, discount=config.behavior.discount)
    about = {"name": arguments.name, "settings": arguments.set, "seed": arguments.seed}
    return {**about, **spent, **report.to_dict(), "kernels": fast.kind(), "threads": torch.get_num_threads()}


def print_table(result: dict[str, Any]) -> None:
    """Errors by body and horizon, then goals and returns."""
    title = f"{result['name']}: {result['updates']} updates, {result['cpu_minutes']:.1f} minutes, seed {result['seed']}"
    table = Table("error, units", *[f"h{horizon}" for horizon in HORIZONS], title=title)
    for middle, bodies in (("median", result["errors"]), ("mean", result["means"])):
        for body, errors in bodies.items():
            table.add_row(f"{body}, {middle}", *[f"{error:.3f}" for error in errors.values()])
    alone = {horizon: f"{error:.3f}" for horizon, error in result["untouched"].items()}
    table.add_row("untouched puck, median", *[alone.get(horizon, "") for horizon in HORIZONS])
    console = Console(width=100)
    console.print(table)
    console.print(
        f"goals foreseen {result['goals_seen']:.0%}, false alarms {result['false_alarms']:.1%}, "
        f"return of 15 steps dreamed {result['return_dreamed']:+.3f}, real {result['return_real']:+.3f}"
    )
    shots = result["shots"]
    console.print(
        f"{shots['shots']} shots in flight, {shots['arriving']:.0%} arrive in the dream; y at the goal line off by "
        f"{shots['y_median']:.2f} (median) and {shots['y_mean']:.2f} (mean); goals foreseen "
        f"{shots['goals_seen']:.0%} of {shots['goals']}, false alarms {shots['false_alarms']:.1%}"
    )


def main() -> None:
    """Train one variant of the world model and print how it dreams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time")
    parser.add_argument("--updates", type=int, default=10**9)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--name", default="default preset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="append the result to this JSON list")
    arguments = parser.parse_args()
    config = load_config(overrides=arguments.set)
    use_threads(config.run.threads)
    pairs = recorded(config)
    training = [view for pair in pairs[:-HELD_OUT] for view in pair]
    windows = cut_windows([view for pair in pairs[-HELD_OUT:] for view in pair])
    result = measure(config, arguments, windows, training)
    print_table(result)
    if arguments.json:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
        result |= {"machine": platform.platform(), "torch": torch.__version__}
        arguments.json.write_text(json.dumps([*known, result], indent=2) + "\n")


if __name__ == "__main__":
    main()
