"""What averaging weights brings: snapshots of a run one by one, and their mean.

Plays the newest snapshots of the run's league against weak and strong with the deterministic policy, and then agents
whose weights are the mean of the last 2, 3, ... of them. A run that is to tell something was made with
`--set optimizer.average_share=0`: otherwise the snapshots are averages already.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.evaluate.evaluation import evaluate
from competitor.options import FOLDER, JSON, ROUNDS
from competitor.players import BasicPlayer, DreamerPlayer
from competitor.screen import Table
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
    found = evaluate(DreamerPlayer(agent, name, deterministic=True), opponents, rounds=rounds, seed=seed)
    scores = {result.opponent: result.score for result in found.results}
    return {"name": name, "updates": agent.updates, **scores, "score": statistics.mean(scores.values())}


@click.command(help=__doc__)
@click.argument("run", type=FOLDER)
@click.option("--last", default=6, show_default=True)
@click.option("--rounds", type=ROUNDS, default=200, show_default=True)
@click.option("--seed", default=99, show_default=True)
@JSON
def main(run: Path, last: int, rounds: int, seed: int, json_path: Path | None) -> None:
    """Play and report."""
    torch.set_num_threads(1)
    files = sorted((run / "league").glob("*.safetensors"))[-last:]
    agents = {file.stem: load_checkpoint(file)[0] for file in files}
    results = [play(name, agent, rounds, seed) for name, agent in agents.items()]
    for count in range(2, len(agents) + 1):
        results.append(play(f"mean of the last {count}", mean_agent(list(agents.values())[-count:]), rounds, seed))
    rows = [(one["name"], *(f"{one[key]:.3f}" for key in ("weak", "strong", "score"))) for one in results]
    table = Table(("agent", "score against weak", "against strong", "mean"), rows)
    report({"run": run.name, "rounds": rounds, "seed": seed, "results": results}, json_path, table)


if __name__ == "__main__":
    main()
