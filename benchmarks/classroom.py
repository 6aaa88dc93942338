"""A class in the arena: 60 accounts, 30 clients that play at 50 steps a second, first nobody who watches, then many.

    python benchmarks/classroom.py [--minutes 5] [--json benchmarks/results/classroom.json] [--picture FILE.png]

Ten light watchers read the streams of the first page and draw nothing: what is slower then is the arena's doing. Ten
windows of a real browser share the machine's cores with arena and clients: what is slower then is drawing as well.
A wait is the time from the answer of the slower player of a match to the arrival of both players' next step.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arena_process import ROOT, Players, Target, arena_process
from benchmarks.common import report
from competitor.options import JSON, ResultFile
from competitor.screen import Table, print_line

ACCOUNTS, CLIENTS, WATCHERS = 60, 30, 10
STEP_S = 0.02
QUIET_S = 60.0
SAMPLE_S = 2.0
BROWSER_WITHIN_MS = 120_000
DESCRIPTORS = 1024
HOST = "127.0.0.1"


@dataclass
class Phase:
    """What was measured while so many watched. cpu: processor time of the arena per second."""

    watching: str
    seconds: float
    matches: int
    broken: int
    steps_per_s: float
    median_ms: float
    p99_ms: float
    slowest_ms: float
    memory_mib: float
    cpu: float


def measured(target: Target, players: Players, watching: str, seconds: float, look: Callable[[], None]) -> Phase:
    """Let the class play for so long; `look` is called now and then."""
    players.take()
    begun, cpu_s, peak = time.monotonic(), sum(target.process.cpu_times()[:2]), 0.0
    while time.monotonic() < begun + seconds:
        time.sleep(SAMPLE_S)
        look()
        peak = max(peak, target.memory_mib())
    took_s, play = time.monotonic() - begun, players.take()
    median, p99, slowest = np.percentile(play.waits_ms, (50, 99, 100)).tolist()
    cpu = (sum(target.process.cpu_times()[:2]) - cpu_s) / took_s
    steps = len(play.waits_ms) / took_s
    phase = Phase(watching, took_s, play.played, play.broken, steps, median, p99, slowest, peak, cpu)
    print_line(f"{watching}: {phase}")
    return phase


@contextlib.contextmanager
def streams(target: Target) -> Iterator[None]:
    """Ten watchers that read all that the first page gets."""
    over = threading.Event()

    def watch() -> None:
        connection = http.client.HTTPConnection(HOST, target.http_port, timeout=30)
        connection.request("GET", "/events")
        with contextlib.closing(connection.getresponse()) as answer:
            while not over.is_set() and answer.read1(65_536):
                pass
        connection.close()

    threads = [threading.Thread(target=watch) for _ in range(WATCHERS)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def windows(target: Target, picture: Path | None) -> Iterator[Callable[[], None]]:
    """Ten windows of a browser: most show the first page, some a player and a match."""
    from playwright.sync_api import sync_playwright

    from tests.browser import CHROMIUM

    address = f"http://{HOST}:{target.http_port}"
    problems: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pages = [browser.new_page() for _ in range(WATCHERS)]
        for number, page in enumerate(pages):
            page.set_default_timeout(BROWSER_WITHIN_MS)
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.goto(address + ("/" if number < WATCHERS - 4 else f"/players/student{number}"))
        for page in pages[-2:]:
            page.goto(address)
            page.goto(address + str(page.get_attribute("#playing td.score a", "href")))

        def look() -> None:
            pages[0].evaluate("document.querySelector('rink-viewer').steps")

        yield look
        if picture is not None:
            pages[0].screenshot(path=picture)
        browser.close()
    print_line(f"complaints of the pages: {problems or 'none'}")


def class_list(folder: Path) -> None:
    """Give the class its accounts, as a teacher does."""
    (folder / "class.csv").write_text("name\n" + "".join(f"student{number}\n" for number in range(ACCOUNTS)))
    subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "arena", "accounts", "add", "class.csv"], cwd=folder, check=True
    )


def phases(folder: Path, minutes: float, picture: Path | None) -> list[Phase]:
    class_list(folder)
    with arena_process(folder, (), DESCRIPTORS, "--bots", "weak,strong") as target:
        players = Players(target, [f"student{number}" for number in range(CLIENTS)], STEP_S)
        try:
            time.sleep(10.0)  # the first matches
            found = [measured(target, players, "nobody", QUIET_S, lambda: None)]
            with streams(target):
                found.append(measured(target, players, "10 streams", QUIET_S, lambda: None))
            with windows(target, picture) as look:
                found.append(measured(target, players, "10 browser windows", 60 * minutes, look))
            found.append(measured(target, players, "nobody any more", QUIET_S, lambda: None))
        finally:
            players.stop()
        tracebacks = sum("Traceback" in line for line in target.said)
        print_line(f"lines that are no results: {target.noise()}, tracebacks: {tracebacks}")
    return found


def table(found: list[Phase]) -> Table:
    columns = ["who watches", "s", "matches", "broken", "steps/s", "median ms", "99 % ms", "slowest ms", "MiB", "cores"]
    cells: list[list[Any]] = [
        [one.watching, f"{one.seconds:.0f}", one.matches, one.broken, f"{one.steps_per_s:.0f}", f"{one.median_ms:.1f}",
         f"{one.p99_ms:.1f}", f"{one.slowest_ms:.0f}", f"{one.memory_mib:.0f}", f"{one.cpu:.2f}"]
        for one in found
    ]  # fmt: skip
    return Table(columns, [[str(cell) for cell in row] for row in cells], f"{CLIENTS} clients of {ACCOUNTS} accounts")


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Of browsers.")
@click.option("--picture", type=ResultFile(".png"), help="Picture of the first page at the end.")
@JSON
def main(minutes: float, picture: Path | None, json_path: Path | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        found = phases(Path(folder), minutes, picture)
    report({"phases": [asdict(phase) for phase in found]}, json_path, table(found))


if __name__ == "__main__":
    main()
