"""Microseconds of a step of the rink, alone and beside the course's `hockey` package where it is installed.

One process, one thread. Times are processor time, and every figure is the best of the repeats: other programs
on the machine only ever slow a run down.
"""

import importlib
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.errors import EngineError
from competitor.options import JSON
from competitor.rink import BasicOpponent, RinkBatch, make_rink, simulation
from competitor.rink.bindings import step_world
from competitor.rink.engines import check_engine
from competitor.screen import Table

RINKS = 32


def random_actions(engine: str, steps: int) -> float:
    """Seconds for so many steps with random actions, with both observations after each."""
    env = make_rink(engine)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 8))
    begin = time.process_time()
    for action in actions:
        done = env.step(action)[2]
        env.obs_agent_two()
        if done:
            env.reset()
    return time.process_time() - begin


def basic_opponents(engine: str, steps: int) -> float:
    """Seconds for so many steps of the strong against the weak opponent, their own thinking included."""
    np.random.seed(0)
    env = make_rink(engine)
    opponent = BasicOpponent
    if engine == "hockey":
        opponent = importlib.import_module("hockey.hockey_env").BasicOpponent
    one, two = opponent(weak=False), opponent(weak=True)
    obs, obs_two = env.reset(seed=0)[0], env.obs_agent_two()
    begin = time.process_time()
    for _ in range(steps):
        obs, _, done, _, _ = env.step(np.hstack([one.act(obs), two.act(obs_two)]))
        if done:
            obs, _ = env.reset()
        obs_two = env.obs_agent_two()
    return time.process_time() - begin


def batch(engine: str, steps: int) -> float:
    """Seconds for so many steps on all rinks together, with a fresh rink for every round."""
    rinks = RinkBatch(RINKS, engine=engine)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps // RINKS, RINKS, 8))
    seed = 0
    begin = time.process_time()
    for action in actions:
        for index in np.flatnonzero(rinks.done).tolist():
            rinks.reset(index, one_starting=seed % 2 == 0, seed=seed)
            seed += 1
        rinks.step(action)
    return time.process_time() - begin


CASES: dict[str, Callable[[str, int], float]] = {
    "random actions, both views": random_actions,
    "two basic opponents, both views": basic_opponents,
    f"RinkBatch of {RINKS}, random actions": batch,
}


def engine_seconds(case: Callable[[str, int], float], steps: int) -> float:
    """What Box2D itself takes of so many steps: the part that no Python code can save."""
    inside = 0.0

    def timed(*arguments: Any) -> None:
        nonlocal inside
        begin = time.process_time()
        step_world(*arguments)
        inside += time.process_time() - begin

    with patch.object(simulation, "step_world", timed):
        case("builtin", steps)
    return inside


def measure(steps: int, repeats: int, engines: list[str]) -> list[dict[str, Any]]:
    """Microseconds of a step by case: on each engine, and in Box2D."""
    found = []
    for name, case in CASES.items():
        kinds = {engine: partial(case, engine) for engine in engines} | {"box2d": partial(engine_seconds, case)}
        least = {kind: min(run(steps) for _ in range(repeats)) for kind, run in kinds.items()}
        found.append({"case": name, **{kind: round(1e6 * seconds / steps, 2) for kind, seconds in least.items()}})
    return found


@click.command(help=__doc__)
@click.option("--steps", default=20_000, show_default=True, help="Environment steps of one run.")
@click.option("--repeats", default=5, show_default=True, help="Runs of each case, of which the best counts.")
@JSON
def main(steps: int, repeats: int, json_path: Path | None) -> None:
    engines = ["builtin"]
    with suppress(EngineError):
        check_engine("hockey")
        engines.append("hockey")
    results = measure(steps, repeats, engines)
    rows = [[str(value) for value in entry.values()] for entry in results]
    report({"step_us": results}, json_path, Table(list(results[0]), rows, "The rink, microseconds a step"))
    if len(engines) == 1:
        print("The hockey package is not installed: nothing to compare with.")


if __name__ == "__main__":
    main()
