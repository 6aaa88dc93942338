"""The HTTP port: /healthz for whoever watches over the daemon, /metrics for Prometheus.

aiohttp serves it behind the arena's kind of listener: aiohttp's own sets no limit to connections, nor a time for a
request to come. Here each has ANSWERED_WITHIN_S and one answer, and where there are too many a newcomer takes the place
of the oldest.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from competitor.daemon.telemetry import Telemetry
from competitor.errors import PortError
from competitor.wire.address import host_and_port
from competitor.wire.connections import Connections, most_connections
from competitor.wire.listener import HttpLog, Listener

ANSWERED_WITHIN_S = 2.0  # from being let in to the last byte of the answer
LOOK_EVERY_S = 0.5
CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


class HealthServer:
    """Answers on a port in a thread of its own until `close`. Raises PortError when the port cannot be had.

    stuck_after_s: seconds without a message while a match is in play after which the daemon is not well.
    """

    def __init__(
        self, host: str, port: int, telemetry: Telemetry, phase: Callable[[], str], *, stuck_after_s: float
    ) -> None:
        self._telemetry, self._phase, self._stuck_after_s = telemetry, phase, stuck_after_s
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve(host, port))
        self._opened: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()
        self.port = self._opened.result()

    def close(self) -> None:
        """Stop answering; returns when the port is free."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(CLOSE_WITHIN_S)

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)

    async def _serve(self, host: str, port: int) -> None:
        app = web.Application(middlewares=[_answered_once])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, logger=HttpLog(log, logging.DEBUG), shutdown_timeout=0.0)
        await runner.setup()
        assert runner.server is not None
        most = most_connections() // 2  # the other half is for the matches, which are not open yet
        connections = Connections(most, most_per_address=most)
        try:
            listener = await Listener.open(host, port, runner.server, connections, idle_s=ANSWERED_WITHIN_S)
        except (OSError, OverflowError, UnicodeError) as error:
            self._opened.set_exception(_refused(host, port, error))
            return
        self._opened.set_result(listener.port)
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                connections.close_overdue()
        finally:
            listener.close()
            await runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        numbers = self._telemetry.numbers()
        problem = numbers.complaint(self._stuck_after_s)
        says = {
            "healthy": problem is None,
            "problem": problem,
            "warning": numbers.warning,
            "phase": self._phase(),
            "connected": numbers.connected,
            **asdict(numbers),
        }
        status = 200 if problem is None else 503
        return web.json_response(says, status=status, dumps=lambda value: json.dumps(value, indent=2) + "\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        body = generate_latest(self._telemetry.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


@web.middleware
async def _answered_once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say with every answer that the connection ends: who asked again on it would lose the second request."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response


def _refused(host: str, port: int, error: Exception) -> PortError:
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        reason = os.strerror(error.errno)
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return PortError(f"cannot listen on {host_and_port(host, port)}: {reason}; choose another --http PORT")
