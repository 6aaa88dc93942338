"""Whether the daemon stays as it is: memory and open files over a run as long as an hour of a tournament.

On the real server one connection plays a match of 685 steps in about 7 seconds, waiting included: 500 matches an hour.
Here a bare server (benchmarks/load_server.py) sends the steps of as many matches as fast as they are answered, hangs up
after every 10 matches of a connection, and the daemon gets a SIGHUP (reload) every 10 seconds. Memory and file
descriptors are read every half second; compared are the medians of the second and of the last quarter of the run.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from benchmarks.latency import SERVERS, Cores, share_cores, start_daemon
from benchmarks.load_server import Load
from competitor.options import JSON
from competitor.screen import Table

CORES = 2  # for the daemon
STEPS = 685
MATCHES_PER_CONNECTION = 10
SAMPLE_EVERY_S = 0.5
RELOAD_EVERY_SAMPLES = 20
Sample = dict[str, float]


async def soak(wire: str, matches: int, at_once: int, checkpoint: str, cores: Cores) -> dict[str, Any]:
    """Play all matches over one wire: what was sampled, and what the server counted."""
    load, begun_at = Load(STEPS), time.monotonic()
    with tempfile.TemporaryDirectory() as records:
        async with SERVERS[wire](load, MATCHES_PER_CONNECTION) as address:
            options = ["--server", address, "--connections", str(at_once), "--games", str(matches)]
            daemon = await start_daemon([checkpoint, *options, "--records", records], cores)
            watching = asyncio.create_task(watch(daemon.pid, load))
            _, errors = await daemon.communicate()
            samples = await watching
    if daemon.returncode:
        raise SystemExit(f"the daemon ended with code {daemon.returncode}: {errors.decode()}")
    return {
        "wire": wire,
        "matches": load.ended,
        "steps": len(load.latencies_ms),
        "refused": load.refused,
        "seconds": time.monotonic() - begun_at,
        **growth(samples),
        "samples": samples,
    }


async def watch(process_id: int, load: Load) -> list[Sample]:
    """Memory and open files while steps are played; a reload now and then."""
    samples: list[Sample] = []
    process = psutil.Process(process_id)
    try:
        while process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(SAMPLE_EVERY_S)
            if load.ended:
                files = process.num_fds()
                samples.append({"memory_mb": process.memory_info().rss / 2**20, "files": files})
                if len(samples) % RELOAD_EVERY_SAMPLES == 0:
                    process.send_signal(signal.SIGHUP)
    except psutil.Error:
        pass
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Medians of the second and the last quarter, and the highest value."""
    quarter = len(samples) // 4
    if not quarter:
        raise SystemExit("the run was too short to say anything: use more --matches")
    found = {}
    for key in ("memory_mb", "files"):
        values = [sample[key] for sample in samples]
        found[f"{key}_early"] = statistics.median(values[quarter : 2 * quarter])
        found[f"{key}_late"] = statistics.median(values[-quarter:])
        found[f"{key}_most"] = max(values)
    return found


def table_of(results: Sequence[dict[str, Any]]) -> Table:
    """One column per wire."""
    rows = {
        "matches": "{matches:,}",
        "steps": "{steps:,}",
        "answers a server would refuse": "{refused}",
        "seconds": "{seconds:.0f}",
        "memory, second quarter, MB": "{memory_mb_early:.0f}",
        "memory, last quarter, MB": "{memory_mb_late:.0f}",
        "memory, most, MB": "{memory_mb_most:.0f}",
        "open files, second quarter": "{files_early:.0f}",
        "open files, last quarter": "{files_late:.0f}",
    }
    cells = [[text, *[form.format(**result) for result in results]] for text, form in rows.items()]
    return Table(["", *[result["wire"] for result in results]], cells)


@click.command(help=__doc__)
@click.option("--matches", default=500, show_default=True)
@click.option("--at-once", default=8, show_default=True)
@click.option("--checkpoint", default="champion", show_default=True)
@JSON
def main(matches: int, at_once: int, checkpoint: str, json_path: Path | None) -> None:
    """Soak both wires."""
    cores = share_cores(CORES)
    results = [asyncio.run(soak(wire, matches, at_once, checkpoint, cores)) for wire in SERVERS]
    kept = [{key: value for key, value in result.items() if key != "samples"} for result in results]
    report({"results": kept}, json_path, table_of(results))


if __name__ == "__main__":
    main()
