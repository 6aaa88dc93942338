"""What search at decision time wins: the same agent with and without it, in the same paired rounds.

    python benchmarks/search.py [champion] [--against PLAYERS] [--rounds 100] [--without 400] [--json FILE]

Against each opponent the agent plays `--rounds` rounds with search and `--without` without, from one seed: the first of
them are the same. The duel of both is judged by a sequential test (Elo 0 against 50) as well. Processor time is that
of the whole meeting, the opponent's included. With --json the file is written after each opponent.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.statistics import Sprt
from competitor.players import checkpoint_path, make_player, searching
from competitor.screen import Table, print_table
from competitor.system import use_threads
from dreamer.checkpoint import read_card

PARTNERS = ("exploiter", "keeper", "spoiler", "veteran", "slow", "holder", "striker")
OPPONENTS = ("weak", "strong", *(f"sparring:{name}" for name in PARTNERS))
SEED, RINKS = 20261127, 64


def meeting(player: str, opponent: str, rounds: int) -> dict[str, Any]:
    """`rounds` paired rounds of two players named as in `evaluate`."""
    began = time.process_time()
    other = {opponent: make_player(opponent, seed=SEED + 1)}
    test = Sprt(elo0=0, elo1=50) if searching(opponent) == player else None
    judged = make_player(player, seed=SEED)
    result = evaluate(judged, other, rounds=rounds, seed=SEED, rinks=RINKS, sprt=test).results[0]
    steps, seconds = result.mean_steps * result.rounds, time.process_time() - began
    kept = {key: getattr(result, key) for key in ("rounds", "wins", "draws", "losses", "score", "pairs")}
    return kept | {"cpu_ms_per_step": 1000 * seconds / steps, "sprt": asdict(result.sprt) if result.sprt else None}


def shown(found: dict[str, Any] | None) -> str:
    """Won, drawn and lost rounds, and the share of the points."""
    return "" if found is None else f"{found['wins']}/{found['draws']}/{found['losses']} {100 * found['score']:.1f} %"


def main() -> None:
    """Play against one opponent after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("player", nargs="?", default="champion")
    parser.add_argument("--against", default=None, help="comma-separated; default: the agent itself and all")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--without", type=int, default=400)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    use_threads(1)
    player: str = arguments.player
    opponents = arguments.against.split(",") if arguments.against else [player, *OPPONENTS]
    rows: list[tuple[str, ...]] = []
    results: dict[str, Any] = {}
    for opponent in opponents:
        plain = None if opponent == player else meeting(player, opponent, arguments.without)
        found = meeting(searching(player), opponent, arguments.rounds)
        results[opponent] = {"without": plain, "with": found}
        rows.append((opponent, shown(plain), shown(found), f"{found['cpu_ms_per_step']:.1f}"))
        about = {"player": player, "sha256": read_card(checkpoint_path(player))["sha256"], "seed": SEED}
        report(about | {"results": results}, arguments.json)
    print_table(Table(("opponent", "without", "with", "ms a step"), rows))


if __name__ == "__main__":
    main()
