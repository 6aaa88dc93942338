"""What averaging weights brings: snapshots of a run one by one, and their mean.

    python benchmarks/average.py runs/NAME [--last 6] [--rounds 200] [--seed 99] [--json FILE]

Plays the newest snapshots of the run's league against weak and strong with the deterministic policy, and then agents
whose weights are the mean of the last 2, 3, ... of them. A run that is to tell something was made with
`--set optimizer.average_share=0`: otherwise the snapshots are averages already.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.evaluate.evaluation import evaluate
from competitor.players import BasicPlayer, DreamerPlayer
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint


def mean_agent(agents: Sequence[Dreamer]) -> Dreamer:
    """An agent whose weights are the mean of theirs."""
    weights = [agent.state_dict() for agent in agents]
    twin = agents[0].snapshot()
    twin.load_state_dict({key: torch.stack([one[key] for one in weights]).mean(0) for key in weights[0]})
    return twin


def play(name: str, agent: Dreamer, rounds: int, seed: int) -> dict[str, Any]:
    """The score against weak and strong, draws half a point, and the mean of both."""
    opponents = {"weak": BasicPlayer(weak=True), "strong": BasicPlayer(weak=False)}
    report = evaluate(DreamerPlayer(agent, name, deterministic=True), opponents, rounds=rounds, seed=seed)
    scores = {result.opponent: result.score for result in report.results}
    return {"name": name, "updates": agent.updates, **scores, "score": statistics.mean(scores.values())}


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """One line per agent."""
    table = Table("agent", "score against weak", "against strong", "mean")
    for one in results:
        table.add_row(one["name"], *(f"{one[key]:.3f}" for key in ("weak", "strong", "score")))
    Console().print(table)


def main() -> None:
    """Play, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--last", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted((arguments.run / "league").glob("*.safetensors"))[-arguments.last :]
    agents = {file.stem: load_checkpoint(file)[0] for file in files}
    results = [play(name, agent, arguments.rounds, arguments.seed) for name, agent in agents.items()]
    for count in range(2, len(agents) + 1):
        mean = mean_agent(list(agents.values())[-count:])
        results.append(play(f"mean of the last {count}", mean, arguments.rounds, arguments.seed))
    print_table(results)
    if arguments.json:
        about = {"run": arguments.run.name, "rounds": arguments.rounds, "seed": arguments.seed}
        arguments.json.write_text(json.dumps(about | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
