"""How much memory training and evaluation need, with a replay of a million environment steps.

Each part runs in a process of its own; resident memory is what Linux reports for it. "highest" includes the
peak while everything for --resume is saved.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.config import Config, load_config
from competitor.evaluate.evaluation import evaluate
from competitor.options import JSON
from competitor.play.rounds import RewardWeights, Round
from competitor.play.sizes import mirror, sizes
from competitor.play.warmup import play_warmup
from competitor.players import BasicPlayer, DreamerPlayer
from competitor.screen import Table
from competitor.train.selfplay import Trainer
from dreamer.agent import Dreamer
from dreamer.replay import Episode, EpisodeBuffer

MB = 1e6
TRAINING_LIMIT_MB, REPLAY_LIMIT_MB, EVALUATION_LIMIT_MB = 2500.0, 250.0, 800.0
Result = dict[str, float]


def resident_mb() -> float:
    """Resident memory of this process now, in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MB


def highest_mb() -> float:
    """The most resident memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def recorded_rounds(count: int = 200) -> list[Round]:
    """Real rounds between basic opponents, as templates."""
    return play_warmup(count, np.random.default_rng(0), rinks=32)


def fill(replay: EpisodeBuffer, environment_steps: int, weights: RewardWeights) -> int:
    """Add copies of real rounds from both sides until that many environment steps are there."""
    rounds, filled = recorded_rounds(), 0
    while filled < environment_steps:
        played = rounds[filled % len(rounds)]  # step counts wander through all of them
        for view in (0, 1):
            episode = played.episode(view, weights)
            arrays = episode.obs.copy(), episode.action.copy(), episode.reward.copy()
            replay.add(Episode(*arrays, terminal=episode.terminal))
        filled += played.steps
    return filled


def measure_replay(steps: int) -> Result:
    """The replay alone: resident growth while it is filled."""
    config = load_config()
    obs_size, action_size = sizes(config)
    replay = EpisodeBuffer(config.replay, obs_size, action_size, mirror=mirror(config), seed=0)
    fill(replay, 1000, RewardWeights())
    before = resident_mb()
    filled = fill(replay, steps, RewardWeights())
    return {"replay_mb_per_million_steps": (resident_mb() - before) * 1e6 / filled}


def measure_training(steps: int) -> Result:
    """A training of the default preset that starts with a full replay: two dozen updates and a save."""
    config = load_config(overrides=["training.warmup_rounds=50", "training.evaluate_every_steps=1000000000"])
    with tempfile.TemporaryDirectory() as directory:
        trainer = Trainer.start(config, Path(directory) / "run")
        fill(trainer.state.replay, steps, RewardWeights())
        filled = resident_mb()
        trainer.train(_Stopper(trainer, updates=24))
    return {"training_filled_mb": filled, "training_mb": resident_mb(), "training_highest_mb": highest_mb()}


class _Stopper:
    """Stops a training after a number of updates."""

    def __init__(self, trainer: Trainer, updates: int) -> None:
        self._trainer, self._updates = trainer, updates

    def __call__(self, status: Any) -> None:
        if status.updates >= self._updates:
            self._trainer.stop()


def measure_evaluation(steps: int) -> Result:
    """A thousand rounds of an agent of the default size against the basic opponents; `steps` is not used."""
    config: Config = load_config()
    player = DreamerPlayer(Dreamer(config.dreamer), "agent", deterministic=True)
    opponents = {"weak": BasicPlayer(weak=True), "strong": BasicPlayer(weak=False)}
    evaluate(player, opponents, rounds=500)
    return {"evaluation_mb": highest_mb()}


def in_a_process_of_its_own(part: Callable[[int], Result], steps: int) -> Result:
    """Run `part` in a fresh process, so that parts do not count each other's memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(part, (steps,))


ROWS = (
    ("replay, per million environment steps (both views)", "replay_mb_per_million_steps", REPLAY_LIMIT_MB),
    ("training, replay filled", "training_filled_mb", TRAINING_LIMIT_MB),
    ("training, after updates and a save", "training_mb", TRAINING_LIMIT_MB),
    ("training, highest (while saving)", "training_highest_mb", TRAINING_LIMIT_MB),
    ("evaluation, highest", "evaluation_mb", EVALUATION_LIMIT_MB),
)


@click.command(help=__doc__)
@click.option("--steps", default=1_000_000, show_default=True, help="Environment steps in the replay.")
@JSON
def main(steps: int, json_path: Path | None) -> None:
    """Measure and report."""
    result: Result = {"environment_steps": float(steps)}
    for part in (measure_replay, measure_training, measure_evaluation):
        result |= in_a_process_of_its_own(part, steps)
    rows = [(what, f"{result[key]:.0f}", f"{limit:.0f}") for what, key, limit in ROWS]
    report(result, json_path, Table(("what", "MB", "limit"), rows, f"{steps:,} environment steps in the replay"))


if __name__ == "__main__":
    main()
