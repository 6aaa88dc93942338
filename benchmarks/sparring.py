"""How the sparring partners play, and what an action of theirs costs.

    python benchmarks/sparring.py [--rounds 200] [--seed 1] [--against weak,strong,champion] [--json FILE]

Plays every partner that ships anew; one process, one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--against", default=",".join(AGAINST))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    against, names = arguments.against.split(","), partner_names()
    cards, results = [], list[dict[str, Any]]()
    with counter("rounds") as count:
        done, total = itertools.count(1), arguments.rounds * len(against) * len(names)
        for name in names:
            policy, card = read_partner(partner_path(name))
            player = SparringPlayer(policy, name, repeat=card.repeat)
            measured, plays = measure(
                player,
                against,
                rounds=arguments.rounds,
                seed=arguments.seed,
                on_round=lambda _: count(next(done), total),
            )
            cards.append(card.model_copy(update={"results": measured, "plays": plays}))
            cost = round(microseconds_per_action(player), 1)
            results.append({"partner": name, "results": measured, "plays": plays, "action_us": cost})
    print_partners(cards)
    print(f"an action of one slot: {max(entry['action_us'] for entry in results)} us at most ({SLOTS} slots)")
    if arguments.json:
        report = {
            "machine": platform.processor() or platform.machine(),
            "rounds": arguments.rounds,
            "partners": results,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
