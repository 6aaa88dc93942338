"""The HTTP port: /healthz for whoever watches over the daemon, /metrics for Prometheus.

A server of its own instead of aiohttp's, which sets no limit to connections, nor a time for a request to come: here
nobody can take more than MOST_CONNECTIONS sockets for REQUEST_TIMEOUT_S each, whatever he does; who comes later waits
in the system's queue and is served next.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from competitor.daemon.telemetry import Numbers, Telemetry
from competitor.errors import PortError

MOST_CONNECTIONS = 64
REQUEST_TIMEOUT_S = 2.0  # from being let in to the last byte of the answer
MOST_REQUEST_BYTES = 8192
QUEUE = 1024  # connections that the system keeps until they are let in
NO_SOCKETS_PAUSE_S = 0.2
CLOSE_WITHIN_S = 2.0
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Answer = tuple[int, str, bytes]


class HealthServer:
    """Answers on a port in a thread of its own until `close`. Raises PortError when the port cannot be had.

    stuck_after_s: seconds without a message while a match is in play after which the daemon is not well.
    """

    def __init__(
        self, host: str, port: int, telemetry: Telemetry, phase: Callable[[], str], *, stuck_after_s: float
    ) -> None:
        self._telemetry, self._phase, self._stuck_after_s = telemetry, phase, stuck_after_s
        self._listening = _listen(host, port)
        self.port = int(self._listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def answer(self, path: str) -> Answer:
        """Status code, content type and body for a path."""
        if path == "/healthz":
            return self._healthz()
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._telemetry.registry)
        return 404, TEXT, b"there are /healthz and /metrics\n"

    def close(self) -> None:
        """Stop answering; returns when the port is free."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(CLOSE_WITHIN_S)

    def _healthz(self) -> Answer:
        numbers = self._telemetry.numbers()
        problem = complaint(numbers, self._stuck_after_s)
        says = {
            "healthy": problem is None,
            "problem": problem,
            "warning": warning(numbers),
            "phase": self._phase(),
            "connected": numbers.connected,
            **asdict(numbers),
        }
        return (200 if problem is None else 503), JSON, (json.dumps(says, indent=2) + "\n").encode()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(asyncio.wait([self._serving]))
        finally:
            self._listening.close()
            self._loop.close()

    async def _serve(self) -> None:
        gate = asyncio.Semaphore(MOST_CONNECTIONS)
        async with asyncio.TaskGroup() as open_connections:
            while True:
                await gate.acquire()
                try:
                    peer, _ = await self._loop.sock_accept(self._listening)
                except OSError:  # no descriptors left, or the peer has gone already
                    gate.release()
                    await asyncio.sleep(NO_SOCKETS_PAUSE_S)
                    continue
                open_connections.create_task(self._attend(peer)).add_done_callback(lambda _: gate.release())

    async def _attend(self, peer: socket.socket) -> None:
        with peer:
            peer.setblocking(False)
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._loop.sock_sendall(peer, self._response(await self._request(peer)))
            except (TimeoutError, OSError):
                pass  # who is slow or hangs up is no event worth a word

    async def _request(self, peer: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request and len(request) < MOST_REQUEST_BYTES:
            data = await self._loop.sock_recv(peer, MOST_REQUEST_BYTES)
            if not data:
                raise ConnectionError
            request += data
        return request

    def _response(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if b"\r\n\r\n" not in request or not path.startswith("/"):
            code, kind, body = 400, TEXT, b"this is no request\n"
        elif method not in (b"GET", b"HEAD"):
            code, kind, body = 405, TEXT, b"GET is all there is\n"
        else:
            code, kind, body = self.answer(path)
        head = f"HTTP/1.1 {code} {REASONS[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + (b"" if method == b"HEAD" else body)


def complaint(numbers: Numbers, stuck_after_s: float) -> str | None:
    """What is wrong, None when all is well. Silence is wrong only during a match: a queue is silent."""
    if not numbers.connected:
        return "not connected"
    if numbers.playing and (numbers.last_message_age_s or 0.0) > stuck_after_s:
        return f"no message for {numbers.last_message_age_s:.0f} s within a match"
    return None


def warning(numbers: Numbers) -> str | None:
    """What needs a person but no new start, which would lose the matches that wait; None: nothing."""
    if not numbers.waiting:
        return None
    matches = "1 match waits" if numbers.waiting == 1 else f"{numbers.waiting} matches wait"
    return f"{matches} to be written: {numbers.refusal or 'the disk is slow'}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.create_server(address[:2], family=family, backlog=QUEUE)
        listening.setblocking(False)
        return listening
    except (OSError, OverflowError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise PortError(f"cannot listen on {place}: {reason}; choose another --http PORT") from None
