"""How fast the default model is evaluated against the basic opponents, and on how many rinks at once.

Without a checkpoint a new agent of the default size plays: its rounds are long, so this is the slow case. The
numbers of rinks are tried with fewer rounds; the best of them then plays the full number.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.config import load_config
from competitor.evaluate.evaluation import evaluate
from competitor.options import JSON, ROUNDS
from competitor.players import DreamerPlayer, Player, make_player
from competitor.screen import Table
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
    found = evaluate(player, {opponent: make_player(opponent, seed=1)}, rounds=rounds, seed=1, rinks=rinks)
    result = found.results[0]
    return Measurement(
        opponent=opponent,
        rinks=rinks,
        rounds=result.rounds,
        seconds=found.seconds,
        rounds_per_s=result.rounds / found.seconds,
        steps_per_s=result.rounds * result.mean_steps / found.seconds,
        win_rate=result.win_rate,
        ci95=result.ci95,
    )


def table_of(title: str, measurements: list[Measurement]) -> Table:
    """One line per measurement."""
    rows = [
        (
            one.opponent,
            str(one.rinks),
            str(one.rounds),
            f"{one.seconds:.1f}",
            f"{one.rounds_per_s:.1f}",
            f"{one.steps_per_s:,.0f}",
            f"{one.win_rate:.1%} ({one.ci95[0]:.1%}-{one.ci95[1]:.1%})",
        )
        for one in measurements
    ]
    return Table(("opponent", "rinks", "rounds", "seconds", "rounds/s", "steps/s", "win rate (95 %)"), rows, title)


@click.command(help=__doc__)
@click.option("--rounds", type=ROUNDS, default=1000, show_default=True, help="Rounds against each opponent.")
@click.option("--checkpoint", help="Whom to evaluate; a new agent without it.")
@click.option("--threads", type=int, default=os.cpu_count() or 1, show_default=True, help="Threads of the network.")
@JSON
def main(rounds: int, checkpoint: str | None, threads: int, json_path: Path | None) -> None:
    """Measure and report; the exit code says whether the limit was kept."""
    torch.set_num_threads(threads)
    player = agent_player(checkpoint)
    trials = [measure(player, "strong", rounds=TRIAL_ROUNDS, rinks=rinks) for rinks in RINKS]
    best = max(trials, key=lambda trial: trial.rounds_per_s).rinks
    full = [measure(player, name, rounds=rounds, rinks=best) for name in ("weak", "strong")]
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    slowest_s = max(one.seconds / one.rounds * 1000 for one in full)
    figures = {
        "threads": threads,
        "trials": [asdict(one) for one in trials],
        "full": [asdict(one) for one in full],
        "seconds_per_1000_rounds": slowest_s,
        "peak_memory_mb": rss_mb,
    }
    tables = table_of(f"{player.name}: how many rinks at once", trials), table_of(f"{player.name}: the rounds", full)
    report(figures, json_path, *tables)
    print(f"1,000 rounds in {slowest_s:.1f} s (limit {LIMIT_S:.0f} s); peak memory {rss_mb:.0f} MB")
    sys.exit(slowest_s > LIMIT_S)


if __name__ == "__main__":
    main()
