"""The HTTP port: /healthz for whoever watches over the daemon, /metrics for Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from competitor.daemon.telemetry import Numbers, Telemetry
from competitor.errors import PortError

LOOPBACK = "127.0.0.1"
REQUEST_TIMEOUT_S = 5.0
STOP_POLL_S = 0.05
JSON, TEXT = "application/json", "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]


class HealthServer:
    """Answers on a port in threads of its own until `close`. Raises PortError when the port cannot be had.

    stuck_after_s: seconds without a message while a match is in play after which the daemon is not well.
    """

    def __init__(
        self, host: str, port: int, telemetry: Telemetry, phase: Callable[[], str], *, stuck_after_s: float
    ) -> None:
        self._telemetry, self._phase, self._stuck_after_s = telemetry, phase, stuck_after_s
        try:
            self._server = _Server((host, port), _handler(self.answer))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PortError(f"cannot listen on {host}:{port}: {reason}; choose another --http PORT") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_S,), name="health", daemon=True
        )
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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _healthz(self) -> Answer:
        numbers = self._telemetry.numbers()
        problem = complaint(numbers, self._stuck_after_s)
        says = {
            "healthy": problem is None,
            "problem": problem,
            "phase": self._phase(),
            "connected": numbers.connected,
            **asdict(numbers),
        }
        return (200 if problem is None else 503), JSON, (json.dumps(says, indent=2) + "\n").encode()


def complaint(numbers: Numbers, stuck_after_s: float) -> str | None:
    """What is wrong, None when all is well. Silence is wrong only during a match: a queue is silent."""
    if not numbers.connected:
        return "not connected"
    if numbers.playing and (numbers.last_message_age_s or 0.0) > stuck_after_s:
        return f"no message for {numbers.last_message_age_s:.0f} s within a match"
    return None


class _Server(ThreadingTCPServer):  # http.server's own class asks the name service for its name when it starts
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up early is no event worth a traceback."""


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            code, kind, body = answer(self.path.partition("?")[0])
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a probe comes every few seconds."""

    return Handler
