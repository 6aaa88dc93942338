"""Pages with <rink-viewer> over HTTP: the files that a page loads, the token that opens it, and the server itself.

A page may load nothing from elsewhere and runs no script but ours; whoever serves it sends HEADERS.
"""

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from functools import cache
from importlib import resources

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from competitor.errors import PortError
from competitor.system import stopped_by_signals
from competitor.wire.address import host_and_port
from competitor.wire.connections import Connections, most_connections
from competitor.wire.listener import HttpLog, Listener

STATIC = "/viewer/"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
FILES = ("rink-viewer.js", "watch.js", "play.js", "page.css")
EVERYWHERE = ("0.0.0.0", "::", "")
CLOSE_WITHIN_S = 1.0
IDLE_S, LOOK_S = 15.0, 1.0  # who does not bring the token is closed after so long, or when others need the place

log = logging.getLogger(__name__)


@cache
def static_text(name: str, folder: str = "viewer/static") -> str:
    """One of the files that ship in a folder of this package."""
    return resources.files("competitor").joinpath(folder, name).read_text(encoding="utf-8")


def add_viewer(app: web.Application) -> None:
    """Serve the files that a page with <rink-viewer> loads: /viewer/rink-viewer.js and its neighbours."""
    for name in FILES:
        app.router.add_get(STATIC + name, page(name))


def page(name: str, folder: str = "viewer/static") -> Handler:
    """A handler that answers with one of the shipped files."""

    async def handle(request: web.Request) -> web.Response:
        kind = TYPES[name.rpartition(".")[2]]
        return web.Response(text=static_text(name, folder), content_type=kind, charset="utf-8", headers=HEADERS)

    return handle


def only_with(token: str) -> Middleware:
    """A middleware that refuses whoever does not bring the token, and whoever comes from another site's page.

    Other people's pages, and other people on this machine, reach the port as well.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given, origin = request.query.get("token", ""), request.headers.get("Origin")
        is_ours = origin is None or origin.partition("://")[2] == request.host
        is_open = request.path.startswith(STATIC)
        if is_ours and (is_open or hmac.compare_digest(given.encode(), token.encode())):
            return await handler(request)
        text = "open the address that the program has printed, with its token\n"
        return web.Response(status=403, text=text, headers=HEADERS)

    return check


def _staying(connections: Connections) -> Middleware:
    """A middleware behind `only_with`: the connections of who brings the token stay open."""

    @web.middleware
    async def stay(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(STATIC):
            connections.log_in(request.transport, "a page")
        return await handler(request)

    return stay


def new_app(token: str) -> web.Application:
    """An application that opens to who has the token, and serves the viewer's files."""
    app = web.Application(middlewares=[only_with(token)])
    add_viewer(app)
    return app


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(12)


def serve(app: web.Application, token: str, host: str, port: int, *, browser: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; port 0: any free one. `say` hears the address, and a browser opens it if it may.

    Raises PortError when the port cannot be had.
    """
    asyncio.run(_serve(app, token, host, port, browser, say))


async def _serve(
    app: web.Application, token: str, host: str, port: int, browser: bool, say: Callable[[str], None]
) -> None:
    logger, connections = HttpLog(log, logging.DEBUG), Connections(most_connections())
    app.middlewares.append(_staying(connections))
    runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    assert runner.server is not None
    try:
        with contextlib.closing(await _listen(runner.server, host, port, connections)) as listener:
            name = socket.gethostname() if host in EVERYWHERE else host
            address = f"http://{host_and_port(name, listener.port)}/?token={token}"
            say(f"open {address}  (Ctrl-C ends)")
            if browser and not _open(address):
                say(f"no browser here; from another machine: ssh -L {listener.port}:localhost:{listener.port} ...")
            await _until_stopped(connections)
    finally:
        await runner.cleanup()


async def _until_stopped(connections: Connections) -> None:
    with stopped_by_signals() as stop:
        while not stop.is_set():
            connections.close_overdue()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stop.wait()


async def _listen(server: web.Server, host: str, port: int, connections: Connections) -> Listener:
    try:
        return await Listener.open(host, port, server, connections, idle_s=IDLE_S)
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).rpartition(": ")[2]
        raise PortError(
            f"cannot listen on {host_and_port(host, port)}: {reason}; choose another --port, 0 takes a free one"
        ) from None


def _open(address: str) -> bool:
    """Open the address where there is a screen: a browser for terminals would take this one."""
    has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return has_screen and webbrowser.open(address)
