"""How long one whole update takes, and where the time goes.

    python benchmarks/update.py [--updates 50] [--threads 1,2] [--ways plain,native,overlapped] [--set KEY=VALUE]
                                [--profile | --against COMMIT] [--json FILE]

Two shapes: the default preset, and the standard unit that other DreamerV3 learners were measured with (16 sequences
of 64 steps, dreams of 15 steps from all 1,024 states, h 256, 16 x 16 latents, networks of width 256). An update is
everything: drawing the batch, world model, dream, actor, critic and the optimisers. The data are random numbers.

Ways: "plain" the reference modules and autograd, with as many torch threads as --threads says; "native" the compiled
ways of dreamer/speed in one thread, "overlapped" in two (dreamer/pipeline.py), "bfloat16" and "overlapped bfloat16" the
same with products of rounded numbers. They take turns, ten updates at a time, so that a busy machine is as unfair to
one as to another.

The share of the peak is the arithmetic of the plain modules' products by the time and the speed of a large product that
is measured with as many threads. Parts (benchmarks/update_parts.py) are in float32; some are parts of others.

With --profile: where each millisecond of the compiled way goes, see benchmarks/update_profile.py. With --against: the
default preset in processor time, taking turns with that of another commit (benchmarks/update_against.py).
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

# Before torch loads: threads that spin while they wait starve any other process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from benchmarks.update_against import against, against_table
from benchmarks.update_parts import parts, peak_gflops, update_gflop
from benchmarks.update_profile import profile, profile_table
from competitor.config import load_config
from competitor.screen import Table
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from dreamer.pipeline import Pipeline
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.update import Updater

OBS_SIZE, ACTION_SIZE = 18, 4
STANDARD = {
    "model": {"hidden": 256, "groups": 16, "classes": 16, "units": 256, "prediction_width": 1},
    "behavior": {"starts": 1024, "siblings": 1, "horizon": 15, "lookahead": 0},
    "replay": {"batch_size": 16, "sequence_length": 64},
}
KERNELS: dict[str, fast.Kind] = {
    "plain": "plain",
    "native": "native",
    "bfloat16": "bfloat16",
    "overlapped": "native",
    "overlapped bfloat16": "bfloat16",
}
SHAPES = ("default preset", "standard unit")
STRETCH = 10  # updates that each way makes in its turn; times are means over a stretch
Result = dict[str, Any]


def standard_unit(default: DreamerConfig) -> DreamerConfig:
    """The default preset in the shape of the standard unit."""
    settings = default.model_dump(by_alias=True)
    return DreamerConfig.model_validate({name: part | STANDARD.get(name, {}) for name, part in settings.items()})


def random_replay(config: DreamerConfig) -> EpisodeBuffer:
    """Rounds of random numbers, as long as real ones."""
    random = np.random.default_rng(0)
    buffer = EpisodeBuffer(config.replay, OBS_SIZE, ACTION_SIZE, mirror=None, seed=0)
    for steps in random.integers(30, 252, 60):
        obs = random.normal(size=(steps + 1, OBS_SIZE)).astype(np.float32)
        action = random.uniform(-1, 1, (steps, ACTION_SIZE)).astype(np.float32)
        buffer.add(Episode(obs, action, np.zeros(steps, np.float32), terminal=True))
    return buffer


class Learning:
    """One agent learning in one way; ``threads`` are those of the plain way."""

    def __init__(self, config: DreamerConfig, way: str, threads: int) -> None:
        self.way = way
        self.is_overlapped = way.startswith("overlapped")
        self.threads = threads if way == "plain" else 1 + self.is_overlapped
        self.settle()  # before the pipeline, whose second thread keeps the number of threads that it finds
        self.agent, self.replay = Dreamer(config, OBS_SIZE, ACTION_SIZE), random_replay(config)
        self.agent.fit_normalizer(self.replay.observations(5000), self.replay.changes(5000))
        self.gflop = update_gflop(Updater(self.agent), self.replay)
        self.pipeline = Pipeline(self.agent, overlap=self.is_overlapped)
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []

    def settle(self) -> None:
        """Use the kernels and threads of this way."""
        fast.use(KERNELS[self.way])
        torch.set_num_threads(1 if self.is_overlapped else self.threads)

    def stretch(self, updates: int) -> None:
        """Some updates in a row, timed together: to the end of the last one, which overlaps nothing."""
        self.settle()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(updates):
            self.pipeline.train_step(self.replay.sample())
        self.pipeline.finish()
        self.wall_ms.append(1e3 * (time.perf_counter() - wall) / updates)
        self.cpu_ms.append(1e3 * (time.process_time() - cpu) / updates)


def measure(name: str, config: DreamerConfig, updates: int, ways: list[str], threads: int) -> list[Result]:
    """One shape: the whole update in every way, and its parts."""
    learning = [Learning(config, way, threads) for way in ways]
    for _ in range(1 + max(1, updates // STRETCH)):
        for one in learning:
            one.stretch(min(STRETCH, updates))
    return [_result(name, one, min(updates, 15)) for one in learning]


def _result(name: str, one: Learning, repeats: int) -> Result:
    wall, cpu = one.wall_ms[1:], one.cpu_ms[1:]
    torch.set_num_threads(one.threads)
    peak = peak_gflops(one.agent.device)
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
        "gflop": one.gflop,
        "peak_gflops": peak,
        "share_of_peak": 1e3 * one.gflop / statistics.median(wall) / peak,
        "parts_ms": parts(one.pipeline.updater, one.replay, repeats),
        "weights": sum(p.numel() for p in one.agent.parameters() if p.requires_grad),
    }


def tables(results: list[Result]) -> list[Table]:
    """What an update takes, then its parts: one line per measurement, times in milliseconds."""
    times = {"ms": "median", "ms_min": "least", "ms_max": "most", "cpu_ms": "processor"}
    columns = ["shape", "way", "threads", *times.values(), "per second", "GFLOP", "peak/s", "share", "weights"]
    names = list({name: None for one in results for name in one["parts_ms"]})
    wholes, pieces = [], []
    for one in results:
        who = [one["shape"], one["way"], str(one["threads"])]
        cells = [f"{one[key]:.0f}" for key in times] + [f"{one['updates_per_s']:.1f}", f"{one['gflop']:.1f}"]
        wholes.append(who + cells + [f"{one['peak_gflops']:.0f}", f"{one['share_of_peak']:.0%}", f"{one['weights']:,}"])
        pieces.append(who + [f"{one['parts_ms'][name]:.0f}" for name in names])
    return [Table(columns, wholes, texts=2), Table(["shape", "way", "threads", *names], pieces, texts=2)]


def main() -> None:
    """Measure both shapes with each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--threads", default="1,2", help="of torch, for the plain way")
    parser.add_argument("--ways", default="plain,native,overlapped")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    parser.add_argument("--profile", action="store_true", help="where the time of the compiled way goes instead")
    parser.add_argument("--against", metavar="COMMIT", help="compare with the compiled way of this commit instead")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    default, shapes = load_config(overrides=arguments.set).dreamer, arguments.shapes.split(",")
    for known, given in ((SHAPES, shapes), (KERNELS, arguments.ways.split(","))):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: there is {', '.join(known)}")
    configs = {shape: default if shape == "default preset" else standard_unit(default) for shape in shapes}
    about = {"torch": torch.__version__, "settings": arguments.set}
    if arguments.against:
        sides = against(arguments.against, arguments.ways.split(","), arguments.updates, STRETCH)
        report(about | {"against": sides}, arguments.json, against_table(sides))
        return
    if arguments.profile:
        found = {}
        for shape, config in configs.items():
            for way in sorted({"native", "bfloat16"} & set(arguments.ways.split(","))):
                one = Learning(config, way, 1)
                found[f"{shape}, {way}"] = profile(one.pipeline.updater, one.replay, STRETCH)
        report(about | {"profile": found}, arguments.json, *map(profile_table, found.values()))
        return
    ways, results = arguments.ways.split(","), []
    for threads in sorted({int(text) for text in arguments.threads.split(",")}):
        for shape, config in configs.items():
            updates = arguments.updates if shape == "default preset" else max(1, arguments.updates // 5)
            results += measure(shape, config, updates, ways, threads)
        ways = [way for way in ways if way == "plain"]  # the one that the number of threads changes
    report(about | {"results": results}, arguments.json, *tables(results))


if __name__ == "__main__":
    main()
