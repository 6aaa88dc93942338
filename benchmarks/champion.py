"""Judge a checkpoint with many rounds and make it the shipped champion, with what was measured on its card.

    python benchmarks/champion.py runs/NAME/checkpoints/best [--rounds 1000] [--seed 20261122]

Writes checkpoints/champion.safetensors and champion.json (the card: settings, counters, results per opponent), and
the run's evaluations and thinned metrics to benchmarks/results/champion_training.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.tables import print_report
from competitor.players import DreamerPlayer, make_player
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parent.parent
THINNING = 500
OPPONENTS = ("weak", "strong", "random")
KEPT = ("opponent", "rounds", "wins", "draws", "losses", "win_rate", "ci95", "mean_steps", "elo", "elo_error95")


def training_curve(run: Path) -> list[dict[str, Any]]:
    """The evaluations that training made on its way, and its metrics every THINNING updates, in order."""
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "evaluation" or line["updates"] % THINNING == 0]


def ship(agent: Dreamer, card: dict[str, Any]) -> None:
    """Save the weights with what was measured on their card."""
    save_checkpoint(ROOT / "checkpoints" / "champion", agent, card)


def main() -> None:
    """Evaluate, print, and write champion and curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261122)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    agent, card = load_checkpoint(arguments.checkpoint)
    player = DreamerPlayer(agent, "champion", deterministic=True)
    opponents = {name: make_player(name, seed=arguments.seed) for name in OPPONENTS}
    report = evaluate(player, opponents, rounds=arguments.rounds, seed=arguments.seed)
    print_report(report)
    results = [{key: result[key] for key in KEPT} for result in report.to_dict()["results"]]
    about = {"policy": report.policy, "seed": report.seed, "machine": f"{platform.machine()}, 2 cores, 1 thread"}
    ship(agent, card | {"results": results, "measured_with": about})
    curve = ROOT / "benchmarks" / "results" / "champion_training.json"
    curve.parent.mkdir(exist_ok=True)
    curve.write_text(json.dumps(training_curve(arguments.checkpoint.parents[1]), indent=1) + "\n")


if __name__ == "__main__":
    main()
