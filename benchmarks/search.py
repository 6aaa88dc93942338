"""What search at decision time wins: the same agent with and without it, in the same paired rounds.

The duel of both is judged by a sequential test (Elo 0 against 50) as well, which may end it early. Processor time is
that of the whole meeting, the opponent's included. The JSON file is written after each opponent.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.statistics import Sprt
from competitor.options import JSON, ROUNDS
from competitor.players import checkpoint_path, make_player, searching
from competitor.players.sparring import partner_names
from competitor.screen import Table, print_table
from competitor.system import use_threads
from dreamer.checkpoint import read_card

OPPONENTS = ("weak", "strong", *(f"sparring:{name}" for name in partner_names()))
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


@click.command(help=__doc__)
@click.argument("player", default="champion")
@click.option("--against", default="", help="Opponents, separated by commas.  [default: itself and all others]")
@click.option("--rounds", type=ROUNDS, default=100, show_default=True, help="Rounds per opponent with search.")
@click.option("--without", type=ROUNDS, default=400, show_default=True, help="Rounds per opponent without.")
@JSON
def main(player: str, against: str, rounds: int, without: int, json_path: Path | None) -> None:
    use_threads(1)
    opponents = against.split(",") if against else [player, *OPPONENTS]
    about = {"player": player, "sha256": read_card(checkpoint_path(player))["sha256"], "seed": SEED}
    rows: list[tuple[str, ...]] = []
    results: dict[str, Any] = {}
    for opponent in opponents:
        plain = None if opponent == player else meeting(player, opponent, without)
        found = meeting(searching(player), opponent, rounds)
        results[opponent] = {"without": plain, "with": found}
        rows.append((opponent, shown(plain), shown(found), f"{found['cpu_ms_per_step']:.1f}"))
        report(about | {"results": results}, json_path)
    print_table(Table(("opponent", "without", "with", "ms a step"), rows))


if __name__ == "__main__":
    main()
