"""The command `arena` in a process of its own, and clients that play in it, for benchmarks of what else it can bear."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.competitor.arena.raw_client import RawClient  # noqa: E402 - the path is known from here on

MIB = 1 << 20
OPEN_WITHIN_S = 120.0
THINKS_S = 0.005


@dataclass
class Target:
    """An arena that runs; `said` is what it has printed so far."""

    process: psutil.Process
    comprl_port: int
    http_port: int
    tokens: dict[str, str]
    said: list[str]

    def memory_mib(self) -> float:
        return float(self.process.memory_info().rss) / MIB

    def noise(self) -> int:
        """Lines that are no results of matches."""
        return sum("; ratings " not in line and "broken off" not in line for line in self.said)


@dataclass
class Play:
    """What well-behaved clients saw. waits_ms: from the answer of the slower player of a match to the next step."""

    waits_ms: list[float] = field(default_factory=list)
    played: int = 0
    broken: int = 0


class Players(contextlib.AbstractContextManager["Players"]):
    """Clients that play one match after another, each in a thread, as long as the context lasts."""

    def __init__(self, target: Target, names: Sequence[str], thinks_s: float = THINKS_S) -> None:
        self._target, self._stop, self._thinks_s = target, threading.Event(), thinks_s
        self._answered_at: dict[bytes, float] = {}  # by match: both players write there, the slower one last
        self._play = Play()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(target.tokens[name],)) for name in names]
        for thread in self._threads:
            thread.start()

    def take(self) -> Play:
        with self._lock:
            play, self._play = self._play, Play()
        return play

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, token: str) -> None:
        while not self._stop.is_set():
            self._play_one(token)

    def _play_one(self, token: str) -> None:
        def act(obs: list[float]) -> Sequence[float]:
            now, match = time.perf_counter(), client.matches[-1].match_id
            if len(client.matches[-1].observations) > 1:
                with self._lock:
                    self._play.waits_ms.append(1e3 * (now - self._answered_at[match]))
            time.sleep(self._thinks_s)  # a client that thinks; as fast as it can be, it would be an attack of its own
            self._answered_at[match] = time.perf_counter()
            return [max(-1.0, min(1.0, obs[12] - obs[0])), max(-1.0, min(1.0, obs[13] - obs[1])), 0.0, 1.0]

        finished = []
        client = RawClient(self._target.comprl_port, token, act=act)
        with contextlib.suppress(OSError):
            finished = client.play(1)
        with self._lock:
            self._play.played += len(finished)
            self._play.broken += not finished


@contextlib.contextmanager
def arena_process(folder: Path, users: Sequence[str], descriptors: int, *more: str) -> Iterator[Target]:
    """The command, with accounts for `users` and `more` options, in a process that may open so many descriptors."""
    options = ["--comprl-port", "0", "--http-port", "0", *more]
    accounts = [word for name in users for word in ("--user", name)]
    command = [sys.executable, str(ROOT / "cli.py"), "arena", *options, *accounts]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )  # fmt: skip
    said: list[str] = []
    opened = threading.Event()
    assert process.stdout is not None
    reading = threading.Thread(target=collect, args=(process.stdout, said, opened))
    reading.start()
    try:
        opened.wait(OPEN_WITHIN_S)
        text = "".join(said)
        ports = [re.search(rf"{scheme}://127\.0\.0\.1:(\d+)", text) for scheme in ("comprl", "http")]
        if None in ports:
            raise SystemExit(f"the arena did not open: {text}")
        tokens = {file.name: file.read_text().strip() for file in (folder / "arena" / "tokens").iterdir()}
        comprl, http = (int(found[1]) for found in ports if found)
        yield Target(psutil.Process(process.pid), comprl, http, tokens, said)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        reading.join()


def collect(stream: IO[str], said: list[str], opened: threading.Event) -> None:
    for line in stream:
        said.append(line)
        if line.startswith("the arena is open"):
            opened.set()
    opened.set()
