"""Two bare tournament servers for the benchmarks: they send recorded observations as fast as they are answered.

No rink, no matchmaking, no checks: what they measure is the client. Both note for every step how many milliseconds
passed from the message to its answer, and count every answer that a real server would refuse.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

GAMES = Path(__file__).resolve().parent.parent / "tests" / "data" / "comprl_rounds_public.npz"
Observations = list[list[float]]
Box = dict[bytes, bytes]


def recorded_matches() -> list[Observations]:
    """The observations (steps, 18) of all recorded matches, from both players' sides."""
    with np.load(GAMES, allow_pickle=False) as games:
        names = [str(game) for game in games["games"]]
        return [games[f"{name}_{side}_obs"].tolist() for name in names for side in ("p1", "p2")]


@dataclass
class Load:
    """What is to be played, and what was measured. `steps` counts those of one match."""

    steps: int
    recordings: Sequence[Observations] = field(default_factory=recorded_matches)
    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    begun: int = 0
    ended: int = 0
    first_step_at: float = 0.0
    last_step_at: float = 0.0

    def next_match(self) -> Observations:
        """The `steps` observations of the next match."""
        recording = self.recordings[self.begun % len(self.recordings)]
        self.begun += 1
        return [recording[step % len(recording)] for step in range(self.steps)]

    def note(self, sent_at: float, action: Sequence[float]) -> None:
        """Count one answered step."""
        now = time.perf_counter()
        self.first_step_at = self.first_step_at or sent_at
        self.last_step_at = now
        self.latencies_ms.append(1e3 * (now - sent_at))
        self.refused += not (len(action) == 4 and all(-1.0 <= number <= 1.0 for number in action))


class ComprlLoad(asyncio.Protocol):
    """One AMP connection that plays `matches` matches, one after the other, and hangs up when asked for more."""

    def __init__(self, load: Load, matches: int) -> None:
        self._load, self._left = load, matches
        self._buffer = b""
        self._tag = 0
        self._sent: dict[bytes, tuple[bytes, float]] = {}
        self._observations: Iterator[list[float]] = iter(())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server speaks first."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._ask(b"Auth")

    def data_received(self, data: bytes) -> None:
        """Cut answers out of the stream and go on with each of them."""
        self._buffer += data
        while (box := self._next_box()) is not None:
            command, sent_at = self._sent.pop(box[b"_answer"])
            self._go_on(command, sent_at, box)

    def _go_on(self, command: bytes, sent_at: float, box: Box) -> None:
        if command == b"Auth":
            self._ask(b"Ready")
        elif command == b"Ready" and box.get(b"ready") == b"True":
            self._begin()
        elif command == b"Step":
            self._load.note(sent_at, _floats(box.get(b"action", b"")))
            self._next_step()
        elif command == b"EndGame":
            self._load.ended += 1

    def _begin(self) -> None:
        if not self._left:
            self._transport.close()
            return
        self._left -= 1
        self._observations = iter(self._load.next_match())
        self._ask(b"StartGame", game_id=uuid.uuid4().bytes)
        self._next_step()

    def _next_step(self) -> None:
        obs = next(self._observations, None)
        if obs is not None:
            self._ask(b"Step", obv=b"".join([_item(b"%r" % number) for number in obs]))
            return
        self._ask(b"Ready")
        self._ask(b"EndGame", result=b"False", stats=2 * _item(b"0.0"))

    def _ask(self, command: bytes, **fields: bytes) -> None:
        self._tag += 1
        tag = b"%x" % self._tag
        self._sent[tag] = command, time.perf_counter()
        box = {b"_ask": tag, b"_command": command} | {key.encode(): value for key, value in fields.items()}
        self._transport.write(b"".join([_item(key) + _item(box[key]) for key in sorted(box)]) + b"\0\0")

    def _next_box(self) -> Box | None:
        """Take the first whole box off the buffer."""
        box: Box = {}
        place, buffer = 0, self._buffer
        while place + 2 <= len(buffer):
            key, place = _cut(buffer, place)
            if not key:
                self._buffer = buffer[place:]
                return box
            box[key], place = _cut(buffer, place)
        return None


def _cut(buffer: bytes, place: int) -> tuple[bytes, int]:
    """The text at `place`, behind its length in two bytes, and the place after it."""
    end = place + 2 + int.from_bytes(buffer[place : place + 2], "big")
    return buffer[place + 2 : end], end


def _item(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def _floats(text: bytes) -> list[float]:
    numbers, place = [], 0
    while place < len(text):
        number, place = _cut(text, place)
        numbers.append(float(number))
    return numbers


class WebSocketLoad:
    """One WebSocket connection that plays `matches` matches, many at once, and hangs up when asked for more."""

    def __init__(self, load: Load, matches: int) -> None:
        self._load, self._left = load, matches
        self._places = 0
        self._left_of: dict[str, Iterator[list[float]]] = {}
        self._sent_at: dict[str, tuple[int, float]] = {}

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the client's messages until it leaves."""
        self._socket = web.WebSocketResponse(compress=False)
        await self._socket.prepare(request)
        async for frame in self._socket:
            if frame.type is WSMsgType.TEXT:
                await self._go_on(json.loads(frame.data))
        return self._socket

    async def _go_on(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "hello":
            await self._send(type="welcome", version=1, player="benchmark", deadline_s=10.0, rating=None)
        elif kind == "ready":
            self._places = message["matches"]
            await self._fill()
        elif kind == "seen":
            await self._fill()
        elif kind == "action":
            step, sent_at = self._sent_at[message["match"]]
            self._load.note(sent_at, message["action"] if message["step"] == step else ())
            await self._next_step(message["match"])

    async def _fill(self) -> None:
        if self._places and not self._left and not self._left_of:
            await self._socket.close()
        for _ in range(min(self._left, self._places - len(self._left_of))):
            await self._begin()

    async def _begin(self) -> None:
        self._left -= 1
        match = uuid.uuid4().hex
        self._left_of[match] = iter(self._load.next_match())
        await self._send(type="start", match=match, opponent="recording", rounds=4)
        await self._next_step(match)

    async def _next_step(self, match: str) -> None:
        obs = next(self._left_of[match], None)
        if obs is None:
            del self._left_of[match]
            self._load.ended += 1
            await self._send(type="end", match=match, own=0, other=0, won=False, rating=None)
            return
        step = 1 + self._sent_at.get(match, (0, 0.0))[0]
        self._sent_at[match] = step, time.perf_counter()
        await self._send(type="step", match=match, step=step, obs=obs)

    async def _send(self, **message: object) -> None:
        await self._socket.send_str(json.dumps(message))


@asynccontextmanager
async def comprl_server(load: Load, matches: int) -> AsyncIterator[str]:
    """Yields the address; every connection plays `matches` matches."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ComprlLoad(load, matches), "127.0.0.1", 0)
    async with server:
        yield f"comprl://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def websocket_server(load: Load, matches: int) -> AsyncIterator[str]:
    """Yields the address; every connection plays `matches` matches."""
    application = web.Application()
    application.router.add_get("/play", lambda request: WebSocketLoad(load, matches).serve(request))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/play"
    finally:
        await runner.cleanup()
