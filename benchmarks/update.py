"""How long one whole update takes, and where the time goes.

    python benchmarks/update.py [--updates 50] [--threads 1,2] [--ways plain,native,overlapped] [--json FILE]

Two shapes: the default preset, and the standard unit that other DreamerV3 learners were measured with (16 sequences
of 64 steps, dreams of 15 steps from all 1,024 states, h 256, 16 x 16 latents, networks of width 256). An update is
everything: drawing the batch, world model, dream, actor, critic and the optimisers. The data are random numbers.

Ways: "plain" the reference modules and autograd, with as many torch threads as --threads says; "torch" the fused paths
without compiled kernels, and "native" with them, both in one thread; "overlapped" native in two (dreamer/pipeline.py).
Where there is a CUDA device: "uncaptured" static updates on it and "captured" the same as a CUDA graph
(dreamer/captured.py). They take turns, ten updates at a time, so that a busy machine is as unfair to one as to another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch loads: threads that spin while they wait starve any other process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from competitor.config import load_config
from dreamer import kernels
from dreamer.agent import Dreamer
from dreamer.captured import CapturedUpdate, CudaGraphs
from dreamer.config import DreamerConfig
from dreamer.pipeline import Pipeline
from dreamer.replay import Batch, Episode, EpisodeBuffer
from dreamer.sequence_model import State

OBS_SIZE, ACTION_SIZE = 18, 4
STANDARD = {
    "model": {"hidden": 256, "groups": 16, "classes": 16, "embedding": 256, "units": 256, "head_units": 256},
    "behavior": {"starts": 1024, "siblings": 1, "horizon": 15, "lookahead": 0},
    "replay": {"batch_size": 16, "sequence_length": 64},
}
ON_GPU = ("uncaptured", "captured")
KERNELS: dict[str, kernels.Kind] = {"plain": "plain", "torch": "torch", "native": "native", "overlapped": "native"}
KERNELS |= {way: "plain" for way in ON_GPU}
STRETCH = 10  # updates that each way makes in its turn; times are means over a stretch
Result = dict[str, Any]


def standard_unit(default: DreamerConfig) -> DreamerConfig:
    """The default preset in the shape of the standard unit."""
    settings = default.model_dump(by_alias=True)
    return DreamerConfig.model_validate({name: part | STANDARD.get(name, {}) for name, part in settings.items()})


def random_replay(config: DreamerConfig, episodes: int = 60) -> EpisodeBuffer:
    """Rounds of random numbers, as long as real ones."""
    random = np.random.default_rng(0)
    buffer = EpisodeBuffer(config.replay, OBS_SIZE, ACTION_SIZE, mirror=None, seed=0)
    for steps in random.integers(30, 252, episodes):
        obs = random.normal(size=(steps + 1, OBS_SIZE)).astype(np.float32)
        action = random.uniform(-1, 1, (steps, ACTION_SIZE)).astype(np.float32)
        buffer.add(Episode(obs, action, np.zeros(steps, np.float32), terminal=True))
    return buffer


def median_ms(work: Callable[[], object], repeats: int) -> list[float]:
    """[median, least, most] milliseconds of ``work`` after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(times[2:]), min(times[2:]), max(times[2:])]


def peak_gflops(size: int = 768, repeats: int = 10) -> float:
    """Matrix-product speed of this machine with the current number of threads, in 10^9 operations a second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / (median_ms(lambda: a @ b, repeats)[0] * 1e6)


class Learning:
    """One agent learning in one way; ``threads`` are those of the plain way."""

    def __init__(self, config: DreamerConfig, way: str, threads: int) -> None:
        self.way = way
        self.threads = {"plain": threads, "overlapped": 2}.get(way, 1)
        self.settle()  # before the pipeline, whose second thread keeps the number of threads that it finds
        self.agent, self.replay = Dreamer(config, OBS_SIZE, ACTION_SIZE), random_replay(config)
        self.agent.fit_normalizer(self.replay.observations(5000))
        if way in ON_GPU:
            self.agent.settle(torch.device("cuda"))
        self.pipeline = Pipeline(self.agent) if way == "overlapped" else None
        self.train_step = self._learner()
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []

    def _learner(self) -> Callable[[Batch], dict[str, float]]:
        if self.way in ON_GPU:
            return CapturedUpdate(self.agent, CudaGraphs() if self.way == "captured" else None).train_step
        return (self.pipeline or self.agent).train_step

    def settle(self) -> None:
        """Use the kernels and threads of this way."""
        kernels.use(KERNELS[self.way])
        torch.set_num_threads(self.threads if self.way == "plain" else 1)

    def stretch(self) -> None:
        """Some updates in a row, timed together: to the end of the last one, which overlaps nothing."""
        self.settle()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STRETCH):
            self.train_step(self.replay.sample())
        if self.pipeline is not None:
            self.pipeline.finish()
        self.wall_ms.append(1e3 * (time.perf_counter() - wall) / STRETCH)
        self.cpu_ms.append(1e3 * (time.process_time() - cpu) / STRETCH)


def measure(name: str, config: DreamerConfig, updates: int, ways: list[str], threads: int) -> list[Result]:
    """One shape: the whole update in every way, and its parts."""
    learning = [Learning(config, way, threads) for way in ways]
    for _ in range(1 + max(1, updates // STRETCH)):
        for one in learning:
            one.stretch()
    return [_result(name, one, min(updates, 15)) for one in learning]


def _result(name: str, one: Learning, repeats: int) -> Result:
    wall, cpu = one.wall_ms[1:], one.cpu_ms[1:]
    one.settle()
    return {
        "shape": name,
        "way": one.way,
        "threads": one.threads,
        "ms": statistics.median(wall),
        "ms_min": min(wall),
        "ms_max": max(wall),
        "cpu_ms": statistics.median(cpu),
        "updates_per_s": 1e3 / statistics.median(wall),
        "peak_gflops": peak_gflops(),
        "parts_ms": {} if one.way in ON_GPU else parts(one.agent, one.replay, repeats),
        "weights": sum(p.numel() for p in one.agent.parameters() if p.requires_grad),
    }


def parts(agent: Dreamer, replay: EpisodeBuffer, repeats: int) -> dict[str, float]:
    """Median milliseconds of the parts of an update, each run by itself."""
    world, behavior, random = agent.world_model, agent.behavior, agent.learning_generator
    settings = agent.config.behavior
    batch = replay.sample()
    _, posteriors, _ = world.compute_loss(batch, agent.context, random)
    start = world.get_start_states(posteriors, batch, settings.starts // settings.siblings, random)

    def imagine() -> tuple[State, Tensor, Tensor, Tensor]:
        return world.imagine(behavior.policy, start, settings.horizon, random, settings.siblings)

    dream = imagine()
    posteriors = {key: value.detach() for key, value in posteriors.items()}

    def actor_critic() -> None:
        actor_loss, critic_loss, *_ = behavior.train_step(*dream, random)
        agent.behavior_learner.apply(actor_loss + critic_loss + behavior.replay_value_loss(posteriors, batch))

    work: dict[str, Callable[[], object]] = {
        "sampling": replay.sample,
        "world model, forward": lambda: world.compute_loss(batch, agent.context, random),
        "world model, whole": lambda: agent.world_learner.apply(world.compute_loss(batch, agent.context, random)[0]),
        "dream": imagine,
        "actor and critic, whole": actor_critic,
    }
    return {name: median_ms(part, repeats)[0] for name, part in work.items()}


def print_table(results: list[Result]) -> None:
    """One line per measurement, all times in milliseconds."""
    times = {"ms": "median", "ms_min": "least", "ms_max": "most", "cpu_ms": "processor"}
    parts = {name: name for one in results for name in one["parts_ms"]}
    table = Table("shape", "way", "threads", *times.values(), "per second", *parts, "GFLOP/s", "weights")
    for one in results:
        cells = [f"{one[key]:.0f}" for key in times] + [f"{one['updates_per_s']:.1f}"]
        cells += [f"{one['parts_ms'][name]:.0f}" if one["parts_ms"] else "" for name in parts]
        cells += [f"{one['peak_gflops']:.0f}", f"{one['weights']:,}"]
        table.add_row(one["shape"], one["way"], str(one["threads"]), *cells)
    Console(width=190).print(table)


def main() -> None:
    """Measure both shapes with each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--threads", default="1,2", help="of torch, for the plain way")
    on_gpu = f",{','.join(ON_GPU)}" if torch.cuda.is_available() else ""
    parser.add_argument("--ways", default="plain,native,overlapped" + on_gpu)
    parser.add_argument("--shapes", default="default preset,standard unit")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    default, results = load_config().dreamer, []
    ways = arguments.ways.split(",")
    for threads in sorted({int(text) for text in arguments.threads.split(",")}):
        for shape in arguments.shapes.split(","):
            config = default if shape == "default preset" else standard_unit(default)
            updates = arguments.updates if shape == "default preset" else max(STRETCH, arguments.updates // 5)
            results += measure(shape, config, updates, ways, threads)
        ways = [way for way in ways if way == "plain"]  # the only one that the number of threads changes
    print_table(results)
    if arguments.json:
        about = {"machine": platform.platform(), "torch": torch.__version__, "results": results}
        arguments.json.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
