"""How long the daemon takes from a server's message to its answer, over both wires, with one match and with many.

    python benchmarks/latency.py [--matches 1,64] [--steps 1000] [--cores 2] [--json FILE]
    python benchmarks/latency.py --checkpoint search:champion --matches 1,16 --steps 300

The agent does not search at decision time unless it is named so.

The real command `cli.py compete` plays against a bare server in this process (benchmarks/load_server.py) that sends
the next recorded observation as soon as the last one is answered, the hardest load there is. The daemon gets the given
number of cores; the server gets the others, or shares them where there are no others. What is measured is what the
server sees: from sending a step to having read its answer.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from benchmarks.load_server import Load, comprl_server, websocket_server
from competitor.screen import Table

ROOT = Path(__file__).resolve().parent.parent
SERVERS = {"comprl": comprl_server, "websocket": websocket_server}
TOKEN = "benchmark"
WARM_UP_STEPS = 50
Result = dict[str, Any]
Cores = frozenset[int]


async def measure(wire: str, matches: int, steps: int, checkpoint: str, cores: Cores) -> Result:
    """Let the daemon play `matches` matches at once, of `steps` steps each."""
    load = Load(steps + WARM_UP_STEPS)
    per_connection = 1 if wire == "comprl" else matches
    with tempfile.TemporaryDirectory() as records:
        async with SERVERS[wire](load, per_connection) as address:
            options = {"--server": address, "--connections": matches, "--games": matches, "--records": records}
            words = [str(word) for option in options.items() for word in option]
            daemon = await start_daemon([checkpoint, "--no-search", *words], cores)
            resident = asyncio.create_task(peak_memory(daemon.pid))
            _, errors = await daemon.communicate()
            peak = await resident
    if daemon.returncode or load.ended != matches:
        raise SystemExit(f"the daemon ended with code {daemon.returncode}: {errors.decode()}")
    return summary(load, matches) | {"wire": wire, "matches": matches, "memory_mb": peak}


async def start_daemon(arguments: Sequence[str], cores: Cores) -> asyncio.subprocess.Process:
    """The real command, in a process of its own, on these cores."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "cli.py"), "compete", *arguments),
        env=os.environ | {"COMPRL_ACCESS_TOKEN": TOKEN},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def share_cores(count: int) -> Cores:
    """The daemon's cores; this process moves to the others, if there are any."""
    cores = sorted(os.sched_getaffinity(0))
    if others := cores[count:]:
        os.sched_setaffinity(0, others)
    return frozenset(cores[:count])


async def peak_memory(process_id: int) -> float:
    """The most resident memory, in MB, that the process was seen with until it ended."""
    peak, process = 0, psutil.Process(process_id)
    try:
        while process.status() != psutil.STATUS_ZOMBIE:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.1)
    except psutil.NoSuchProcess:
        pass
    return peak / 2**20


def summary(load: Load, matches: int) -> Result:
    """Percentiles of what came after the warm-up steps."""
    latencies = load.latencies_ms[WARM_UP_STEPS * matches :]
    points = dict(zip(("p50", "p90", "p99", "max"), np.percentile(latencies, [50, 90, 99, 100]).tolist(), strict=True))
    rate = len(load.latencies_ms) / (load.last_step_at - load.first_step_at)
    return {"steps": len(latencies), **points, "steps_per_s": rate, "refused": load.refused}


def table_of(results: Sequence[Result]) -> Table:
    """One row per measurement."""
    columns = {"p50": ".2f", "p90": ".2f", "p99": ".2f", "max": ".2f", "steps_per_s": ",.0f", "memory_mb": ".0f"}
    rows = [
        [
            row["wire"],
            str(row["matches"]),
            *(f"{row[key]:{form}}" for key, form in columns.items()),
            str(row["refused"]),
        ]
        for row in results
    ]
    return Table(["wire", "matches", "p50 ms", "p90 ms", "p99 ms", "max ms", "steps/s", "MB", "refused"], rows)


def main() -> None:
    """Measure both wires with each number of matches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", default="1,64")
    parser.add_argument("--steps", type=int, default=1000, help="steps of every match; a whole one has up to 1004")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--checkpoint", default="champion")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores, results = share_cores(arguments.cores), []
    for matches in map(int, arguments.matches.split(",")):
        work = (matches, arguments.steps, arguments.checkpoint, cores)
        results += [asyncio.run(measure(wire, *work)) for wire in SERVERS]
    report({"cores": len(cores), "results": results}, arguments.json, table_of(results))


if __name__ == "__main__":
    main()
