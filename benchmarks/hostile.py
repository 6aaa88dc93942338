"""What hostile clients cost the arena: memory, connections, log lines, and the matches that run meanwhile.

The command `arena` runs in a process of its own that may open so many descriptors, with the shipped house bots. Two
clients play against them all the time, while one attack follows another; each is bounded in bytes, count and time, and
goes to 127.0.0.1 only. Memory is the process's resident set, read ten times a second; "after" is read when the attack's
connections have been closed for SETTLE_S.
"""

import asyncio
import contextlib
import json
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.arena_process import MIB, Play, Players, Target, arena_process
from benchmarks.common import report
from competitor.options import JSON
from competitor.screen import Table, print_line
from tests.competitor.arena.raw_client import RawClient
from tests.competitor.wire.boxes import write_box

HOST = "127.0.0.1"
DESCRIPTORS = 256  # a common limit
LONGEST_S = 20.0  # of one attack
HALF_OPEN_S = 18.0
SETTLE_S = 3.0
SAMPLE_S = 0.1
MOST_MIB, MOST_LINES = 100.0, 100  # what issue and docs ask for
PIECE = struct.pack(">H", 1) + b"k" + struct.pack(">H", 60_000) + bytes(60_000)
MASKED = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"{}"  # a WebSocket message that is none of the protocol
PING = bytes([0x89, 0x80, 0, 0, 0, 0])
QUESTION = write_box({"_ask": b"1", "_command": b"Anything"})
LARGEST_PAGE = b"GET /api/results.json?count=1000 HTTP/1.1\r\nHost: arena\r\n\r\n"
PLAYERS = ("ada", "bob")
Row = dict[str, Any]
Attack = Callable[[Target], Awaitable[str]]


@dataclass
class Client:
    """A connection that reads only up to the answer to its first words."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def begin(self, words: bytes, answer: bytes) -> None:
        """Say the first words and wait for the arena's answer to them."""
        self.writer.write(words)
        await self.reader.readuntil(answer)

    async def pour(self, data: bytes, most_bytes: int) -> int:
        """Send `data` again and again until the arena hangs up or enough is sent; returns the bytes that have left."""
        sent = 0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LONGEST_S):
                while sent < most_bytes and not self.writer.transport.is_closing():
                    self.writer.write(data)
                    await self.writer.drain()
                    sent += len(data)
        return sent - self.writer.transport.get_write_buffer_size()

    async def is_closed(self) -> bool:
        """Whether the arena has hung up: it does not take what is written any more."""
        with contextlib.suppress(OSError):
            for _ in range(2):
                self.writer.write(b"x")
                await asyncio.sleep(0.002)
        return self.writer.transport.is_closing()


@contextlib.asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Client]]:
    """`count` connections; those that the arena refuses at once are left out."""
    clients = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            # asyncio stops reading when twice the limit waits to be taken: these never read all.
            clients.append(Client(*await asyncio.open_connection(HOST, port, limit=2048)))
    try:
        yield clients
    finally:
        for client in clients:
            client.writer.transport.abort()


async def pour_all(port: int, count: int, data: bytes, most_bytes: int, words: bytes = b"", answer: bytes = b"") -> str:
    """Pour over `count` connections at once, after their first words if there are any."""
    async with connected(port, count) as clients:
        if words:
            await asyncio.gather(*(client.begin(words, answer) for client in clients))
        sent = await asyncio.gather(*(client.pour(data, most_bytes) for client in clients))
    return f"{count} x, {sum(sent) / MIB:.1f} MiB sent"


def login(token: str) -> bytes:
    """The answer to the first question of the course's server."""
    return write_box({"_answer": b"1", "token": token.encode(), "version": b"1"})


def poured_box(data: bytes, most_bytes: int) -> Attack:
    """Pour over connections that have logged in to the course's server."""
    return lambda one: pour_all(one.comprl_port, 8, data, most_bytes, login(one.tokens["eve"]), b"Ready")


def poured_frames(data: bytes) -> Attack:
    """Pour over WebSockets that have logged in."""
    return lambda one: pour_all(one.http_port, 8, data, 8 * MIB, handshake(one.tokens["eve"]), b"\r\n\r\n")


async def idle(target: Target) -> str:
    """600 connections to either port that say nothing; then somebody logs in and plays."""
    async with connected(target.comprl_port, 300) as some, connected(target.http_port, 300) as others:
        client = RawClient(target.comprl_port, target.tokens["eve"])
        played = await asyncio.to_thread(client.play, 1)
        await asyncio.sleep(2.0)
        return f"{len(some) + len(others)} x, then a newcomer plays {len(played)} match"


async def half_headers(target: Target) -> str:
    """200 requests that are never complete, for longer than the arena waits."""
    async with connected(target.http_port, 200) as clients:
        for client in clients:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: arena\r\nX-Half: ")
        await asyncio.sleep(HALF_OPEN_S)
        still_open = [not await client.is_closed() for client in clients]
    return f"200 x, {sum(still_open)} still open after {HALF_OPEN_S:.0f} s"


async def wrong_tokens(target: Target) -> str:
    async def guess() -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LONGEST_S):
                reader, writer = await asyncio.open_connection(HOST, target.comprl_port)
                writer.write(login("guessed"))
                await reader.read()

    begun = time.monotonic()
    for _ in range(10):
        await asyncio.gather(*(guess() for _ in range(30)))
        if time.monotonic() - begun > LONGEST_S:
            break
    return f"up to 300 x, {time.monotonic() - begun:.1f} s"


def handshake(token: str) -> bytes:
    return (
        f"GET /play HTTP/1.1\r\nHost: arena\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


async def streams(target: Target) -> str:
    """More pages that watch than may, of which none reads."""
    async with connected(target.http_port, 60) as clients:
        for client in clients:
            client.writer.write(b"GET /events HTTP/1.1\r\nHost: arena\r\n\r\n")
        await asyncio.sleep(HALF_OPEN_S)
    return f"60 x, {HALF_OPEN_S:.0f} s"


async def no_http(target: Target) -> str:
    bad = ["GET /?count=ü HTTP/1.1\r\n\r\n".encode(), b"GET / HTTP/1.1\r\nX: " + 9000 * b"x" + b"\r\n\r\n"]
    bad += [b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"]
    for _ in range(25):
        for request in bad:
            async with connected(target.http_port, 5) as clients:
                for client in clients:
                    client.writer.write(request)
                await asyncio.sleep(0)
    return f"{25 * len(bad) * 5} x"


ATTACKS: dict[str, Attack] = {
    "endless box, no login": lambda target: pour_all(target.comprl_port, 8, PIECE, 64 * MIB),
    "endless box, logged in": poured_box(PIECE, 64 * MIB),
    "requests, nothing read": poured_box(QUESTION * 1000, 8 * MIB),
    "idle connections": idle,
    "half HTTP headers": half_headers,
    "wrong tokens": wrong_tokens,
    "WebSocket messages": poured_frames(MASKED * 1000),
    "WebSocket pings": poured_frames(PING * 1000),
    "pages, nothing read": lambda target: pour_all(target.http_port, 50, LARGEST_PAGE * 100, MIB),
    "streams, nothing read": streams,
    "no HTTP": no_http,
}


async def watched(target: Target, attack: Attack) -> tuple[str, float]:
    """Carry an attack out; returns what was sent and the most memory meanwhile, in MiB."""
    task = asyncio.create_task(asyncio.wait_for(attack(target), 3 * LONGEST_S))
    peak = target.memory_mib()
    while not task.done():
        await asyncio.wait({task}, timeout=SAMPLE_S)
        peak = max(peak, target.memory_mib())
    return task.result(), peak


async def measure(target: Target, players: Players) -> list[Row]:
    await asyncio.sleep(10.0)  # what the first matches need is part of the rest
    rest = target.memory_mib()
    rows = [row_of("none", f"{rest:.0f} MiB at rest", 10.0, 0.0, 0.0, 0, players.take())]
    for name, attack in ATTACKS.items():
        players.take()
        lines, begun = target.noise(), time.monotonic()
        sent, peak = await watched(target, attack)
        seconds = time.monotonic() - begun
        await asyncio.sleep(SETTLE_S)
        above = peak - rest, target.memory_mib() - rest
        rows.append(row_of(name, sent, seconds, *above, target.noise() - lines, players.take()))
        print_line(f"{name}: {sent}; {seconds:.0f} s")
    return rows


def row_of(
    attack: str, sent: str, seconds: float, peak_mib: float, after_mib: float, log_lines: int, play: Play
) -> Row:
    """One attack; memory is above rest."""
    about = {"attack": attack, "sent": sent, "seconds": seconds, "peak_mib": peak_mib, "after_mib": after_mib}
    waits = {"steps": len(play.waits_ms), "slowest_step_ms": max(play.waits_ms, default=0.0)}
    return about | waits | {"broken_matches": play.broken, "log_lines": log_lines}


def table(rows: Sequence[Row]) -> Table:
    cells = [[f"{one:.1f}" if isinstance(one, float) else str(one) for one in row.values()] for row in rows]
    return Table(list(rows[0]), cells, "hostile clients: memory is above rest", texts=2)


@click.command(help=__doc__)
@click.option("--descriptors", type=int, default=DESCRIPTORS, show_default=True)
@JSON
def main(descriptors: int, json_path: Path | None) -> None:
    users = (*PLAYERS, "eve")
    with tempfile.TemporaryDirectory() as folder, arena_process(Path(folder), users, descriptors) as target:
        at_start = target.noise()
        with Players(target, PLAYERS) as players:
            rows = asyncio.run(measure(target, players))
    summary = {
        "descriptors": descriptors,
        "worst_peak_mib": max(row["peak_mib"] for row in rows),
        "worst_after_mib": max(row["after_mib"] for row in rows),
        "median_slowest_step_ms": statistics.median(row["slowest_step_ms"] for row in rows),
        "broken_matches": sum(row["broken_matches"] for row in rows),
        "log_lines": target.noise() - at_start,
        "tracebacks": sum("Traceback" in line for line in target.said),
    }
    report(summary | {"attacks": rows}, json_path, table(rows))
    few = summary["worst_peak_mib"] <= MOST_MIB and summary["log_lines"] <= MOST_LINES
    good = few and not summary["broken_matches"]
    print_line(f"{'within' if good else 'BEYOND'} the bounds: {json.dumps(summary)}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
