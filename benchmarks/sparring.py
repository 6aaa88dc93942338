"""How the sparring partners play, and what an action of theirs costs.

Plays every partner that ships anew; one process, one thread.
"""

import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.options import JSON, ROUNDS
from competitor.players.sparring import SparringPlayer, partner_names, partner_path, read_partner
from competitor.screen import counter
from competitor.sparring.partner import AGAINST, measure
from competitor.sparring.tables import print_partners

SLOTS, REPEATS = 64, 50


def microseconds_per_action(player: SparringPlayer) -> float:
    """Processor time of one slot's action, the best of the repeats, for policies that decide in every frame."""
    obs = np.random.default_rng(0).normal(0.0, 2.0, (SLOTS, 18)).astype(np.float32)
    player.reset(SLOTS)
    everywhere = np.ones(SLOTS, np.bool_)
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        player.act(obs, everywhere)
        times.append(time.process_time() - begin)
    return 1e6 * min(times) / SLOTS


@click.command(help=__doc__)
@click.option("--rounds", type=ROUNDS, default=200, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--against", default=",".join(AGAINST), show_default=True)
@JSON
def main(rounds: int, seed: int, against: str, json_path: Path | None) -> None:
    torch.set_num_threads(1)
    opponents, names = against.split(","), partner_names()
    cards, results = [], list[dict[str, Any]]()
    for name in names:
        policy, card = read_partner(partner_path(name))
        player = SparringPlayer(policy, name, repeat=card.repeat)
        with counter(name) as count:
            measured, plays = measure(player, opponents, rounds=rounds, seed=seed, count=count)
        cards.append(card.model_copy(update={"results": measured, "plays": plays}))
        cost = round(microseconds_per_action(player), 1)
        results.append({"partner": name, "results": measured, "plays": plays, "action_us": cost})
    report({"rounds": rounds, "partners": results}, json_path)
    print_partners(cards)
    print(f"an action of one slot: {max(entry['action_us'] for entry in results)} us at most ({SLOTS} slots)")


if __name__ == "__main__":
    main()
