"""How fast the default model is evaluated against the basic opponents, and on how many rinks at once.

    python benchmarks/evaluation.py [--rounds 1000] [--checkpoint FILE] [--threads N] [--json FILE]

Without a checkpoint a new agent of the default size plays: its rounds are long, so this is the slow case. The
numbers of rinks are tried with fewer rounds; the best of them then plays the full number.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.config import load_config
from competitor.evaluate.evaluation import evaluate
from competitor.players import DreamerPlayer, Player, make_player
from dreamer.agent import Dreamer

RINKS = (16, 32, 64, 128, 256)
TRIAL_ROUNDS = 512
LIMIT_S = 60.0


@dataclass(frozen=True)
class Measurement:
    """One evaluation: how it was played and how long it took."""

    opponent: str
    rinks: int
    rounds: int
    seconds: float
    rounds_per_s: float
    steps_per_s: float
    win_rate: float
    ci95: tuple[float, float]


def agent_player(checkpoint: str | None) -> Player:
    """The player to be judged: a checkpoint, or a new agent of the default size."""
    if checkpoint:
        return make_player(checkpoint, seed=0)
    return DreamerPlayer(Dreamer(load_config().dreamer), "new agent", deterministic=True)


def measure(player: Player, opponent: str, *, rounds: int, rinks: int) -> Measurement:
    """Evaluate once."""
    report = evaluate(player, {opponent: make_player(opponent, seed=1)}, rounds=rounds, seed=1, rinks=rinks)
    result = report.results[0]
    return Measurement(
        opponent=opponent,
        rinks=rinks,
        rounds=result.rounds,
        seconds=report.seconds,
        rounds_per_s=result.rounds / report.seconds,
        steps_per_s=result.rounds * result.mean_steps / report.seconds,
        win_rate=result.win_rate,
        ci95=result.ci95,
    )


def print_table(title: str, measurements: list[Measurement]) -> None:
    """Print one line per measurement."""
    table = Table(title=title)
    for column in ("opponent", "rinks", "rounds", "seconds", "rounds/s", "steps/s", "win rate (95 %)"):
        table.add_column(column, justify="right")
    for one in measurements:
        low, high = one.ci95
        table.add_row(
            one.opponent,
            str(one.rinks),
            str(one.rounds),
            f"{one.seconds:.1f}",
            f"{one.rounds_per_s:.1f}",
            f"{one.steps_per_s:,.0f}",
            f"{one.win_rate:.1%} ({low:.1%}-{high:.1%})",
        )
    Console().print(table)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="rounds against each opponent")
    parser.add_argument("--checkpoint", help="whom to evaluate; a new agent without it")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of the network")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, write the JSON; the exit code says whether the limit was kept."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    player = agent_player(arguments.checkpoint)
    trials = [measure(player, "strong", rounds=TRIAL_ROUNDS, rinks=rinks) for rinks in RINKS]
    print_table(f"{player.name}: how many rinks at once", trials)
    best = max(trials, key=lambda trial: trial.rounds_per_s).rinks
    full = [measure(player, name, rounds=arguments.rounds, rinks=best) for name in ("weak", "strong")]
    print_table(f"{player.name}: {arguments.rounds} rounds", full)
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    slowest_s = max(one.seconds / one.rounds * 1000 for one in full)
    print(f"1,000 rounds in {slowest_s:.1f} s (limit {LIMIT_S:.0f} s); peak memory {rss_mb:.0f} MB")
    if arguments.json:
        figures = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "threads": arguments.threads,
            "trials": [asdict(one) for one in trials],
            "full": [asdict(one) for one in full],
            "seconds_per_1000_rounds": slowest_s,
            "peak_memory_mb": rss_mb,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(slowest_s > LIMIT_S)


if __name__ == "__main__":
    main()
