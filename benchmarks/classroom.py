"""A class in the arena: 60 accounts, 30 clients that play at 50 steps a second, and in turns nobody, ten streams or ten
windows of a browser that watch.

    python benchmarks/classroom.py [--minutes 5] [--json benchmarks/results/classroom.json]

A stream reads what the first page gets and draws nothing: what is slower then is the arena's doing. Ten windows of a
real browser share the machine's cores with arena and clients, at a lower priority: what is slower then is drawing as
well. The three take turns of a minute, so that whatever else the machine does meanwhile meets all of them.
A wait is the time from the answer of the slower player of a match to the arrival of both players' next step.
"""

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import numpy as np
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arena_process import ROOT, Players, Target, arena_process
from benchmarks.common import report
from competitor.options import JSON
from competitor.screen import Table, print_line
from tests.browser import CHROMIUM, PHONE

ACCOUNTS, CLIENTS, WATCHERS = 60, 30, 10
STEP_S = 0.02
TURNS = 5
SAMPLE_S = 2.0
BROWSER_WITHIN_MS = 300_000
DESCRIPTORS = 1024
HOST = "127.0.0.1"
NOTHING = "about:blank"
YIELDING = 10
"""Priority of the windows: in a class they are other machines, here they take what arena and clients leave."""


@dataclass
class Audience:
    """What was measured while these watched, in all of their turns. cpu_s: processor time of the arena."""

    seconds: float = 0.0
    matches: int = 0
    broken: int = 0
    cpu_s: float = 0.0
    memory_mib: list[float] = field(default_factory=list)  # the most in each turn
    waits_ms: list[float] = field(default_factory=list)

    def measure(self, target: Target, players: Players, seconds: float) -> None:
        players.take()
        begun, cpu_s, peak = time.monotonic(), sum(target.process.cpu_times()[:2]), 0.0
        while time.monotonic() < begun + seconds:
            time.sleep(SAMPLE_S)
            peak = max(peak, target.memory_mib())
        play = players.take()
        self.seconds += time.monotonic() - begun
        self.cpu_s += sum(target.process.cpu_times()[:2]) - cpu_s
        self.memory_mib.append(peak)
        self.matches, self.broken = self.matches + play.played, self.broken + play.broken
        self.waits_ms += play.waits_ms

    def figures(self) -> dict[str, Any]:
        """All of it but the single waits."""
        median, p99, slowest = np.percentile(self.waits_ms, (50, 99, 100)).tolist()
        waits = {"median_ms": median, "p99_ms": p99, "slowest_ms": slowest}
        late = float(np.mean(np.array(self.waits_ms) > 1000 * STEP_S))
        rates = {"steps_per_s": len(self.waits_ms) / self.seconds, "cores": self.cpu_s / self.seconds, "late": late}
        return {key: value for key, value in asdict(self).items() if key != "waits_ms"} | waits | rates


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
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def browser_pages(problems: list[str]) -> Iterator[list[Any]]:
    """Ten empty windows of a browser; what their pages complain of goes into `problems`."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pages = [
            browser.new_page(viewport={"width": PHONE["width"], "height": PHONE["height"]}) for _ in range(WATCHERS)
        ]
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.nice(YIELDING)
        for page in pages:
            page.set_default_timeout(BROWSER_WITHIN_MS)
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        yield pages
        browser.close()


@contextlib.contextmanager
def windows(target: Target, pages: Sequence[Any]) -> Iterator[None]:
    """Six windows with the first page, two with a player, two with a match."""
    address = f"http://{HOST}:{target.http_port}"
    with urlopen(f"{address}/api/running.json") as answer:
        match = json.load(answer)["matches"][-1]["match_id"]
    paths = ["/"] * (WATCHERS - 4) + ["/players/student1"] * 2 + [f"/matches/{match}"] * 2
    for number, page in enumerate(pages):
        page.goto(address + paths[number], wait_until="commit")
    yield
    for page in pages:
        page.goto(NOTHING, wait_until="commit")


def class_list(folder: Path) -> None:
    """Give the class its accounts, as a teacher does."""
    (folder / "class.csv").write_text("name\n" + "".join(f"student{number}\n" for number in range(ACCOUNTS)))
    subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "arena", "accounts", "add", "class.csv"], cwd=folder, check=True
    )


def measured(folder: Path, minutes: float) -> tuple[dict[str, Audience], list[str], int]:
    """What was measured for each audience, complaints of the pages, tracebacks of the arena."""
    class_list(folder)
    found, problems = {name: Audience() for name in ("nobody", "10 streams", "10 windows")}, list[str]()
    names = [f"student{number}" for number in range(CLIENTS)]
    with (
        arena_process(folder, (), DESCRIPTORS, "--bots", "weak,strong") as target,
        browser_pages(problems) as pages,
        Players(target, names, STEP_S) as players,
    ):
        watch: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "nobody": contextlib.nullcontext,
            "10 streams": lambda: streams(target),
            "10 windows": lambda: windows(target, pages),
        }
        time.sleep(10.0)  # the first matches
        for turn in range(TURNS):
            for name, audience in found.items():
                with watch[name]():
                    audience.measure(target, players, 60 * minutes / TURNS)
                print_line(f"turn {turn + 1} of {TURNS}, {name}: {audience.matches} matches")
        return found, problems, sum("Traceback" in line for line in target.said)


def table(figures: dict[str, dict[str, Any]]) -> Table:
    columns = ["seconds", "matches", "broken", "steps_per_s", "median_ms", "p99_ms", "slowest_ms", "cores"]
    cells = [
        [name, *(f"{one[key]:,.2f}" for key in columns), f"{max(one['memory_mib']):.0f}"]
        for name, one in figures.items()
    ]
    return Table(["who watches", *columns, "MiB"], cells, f"{CLIENTS} clients of {ACCOUNTS} accounts")


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Of each audience.")
@JSON
def main(minutes: float, json_path: Path | None) -> None:
    if CHROMIUM is None:
        raise SystemExit("error: the windows need Chromium (on Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        found, problems, tracebacks = measured(Path(folder), minutes)
    figures = {name: one.figures() for name, one in found.items()}
    print_line(f"complaints of the pages: {problems or 'none'}; tracebacks of the arena: {tracebacks}")
    ratios = {
        name: {key: one[key] / figures["nobody"][key] for key in ("median_ms", "p99_ms", "steps_per_s", "cores")}
        for name, one in figures.items()
    }
    facts = {"turns": TURNS, "complaints": problems, "tracebacks": tracebacks}
    report({**facts, "audiences": figures, "ratios_to_nobody": ratios}, json_path, table(figures))


if __name__ == "__main__":
    main()
