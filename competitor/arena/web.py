"""The arena over HTTP: all routes, and what an address may ask for. docs/arena.md lists the paths."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from competitor.arena import data, pages
from competitor.arena.live import PLACES, TooManyWatchers
from competitor.arena.site import Site
from competitor.viewer.web import HEADERS, add_viewer
from competitor.wire.budget import Budgets

REQUESTS_AT_ONCE, REQUESTS_PER_S = 120, 20.0
"""Of one address. A class behind one router that opens the page at once, and looks at it, asks so often."""
SILENT_S = 5.0  # between two signs of life on a stream; the connection is closed when it is idle for longer
STUCK_S = 10.0  # until a page that does not read is cut off
Renew = Callable[[web.Request], None]

log = logging.getLogger(__name__)


def add_pages(app: web.Application, site: Site, renew: Renew = lambda request: None) -> None:
    """Add all routes to `app`. renew: hears that a stream is still in use."""
    add_viewer(app)
    data.add_data(app, site)
    pages.add_pages(app, site)
    app.router.add_get("/events", _events(site, renew))


def _events(site: Site, renew: Renew) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        match = request.query.get("match")
        boards = PLACES if match is None else (match[:36],)
        try:
            with site.broadcast.watching(request.remote or "", boards) as watcher:
                headers = {**HEADERS, "Content-Type": "text/event-stream"}
                response = web.StreamResponse(headers=headers)
                await response.prepare(request)
                while event := await watcher.next(SILENT_S):
                    async with asyncio.timeout(STUCK_S):
                        await response.write(event)
                    renew(request)
                return response
        except TooManyWatchers:
            headers = {**HEADERS, "Retry-After": "10"}
            return web.Response(status=429, text="too many pages watch already\n", headers=headers)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
            return response

    return handle


def limited(renew: Renew, clock: Callable[[], float] = time.monotonic) -> Middleware:
    """A middleware that refuses what is more than an address may ask for. `renew` hears of every request."""
    budgets = Budgets(REQUESTS_AT_ONCE, REQUESTS_PER_S, clock)

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        renew(request)
        address = request.remote or ""
        if budgets.spend(address):
            if not _are_text(request.headers.values()):
                raise web.HTTPBadRequest(text="the headers are no text\n")
            return await handler(request)
        log.warning("%s asks for too many pages: refused", address)
        refusal = web.Response(status=429, text="too many requests\n", headers={**HEADERS, "Retry-After": "1"})
        refusal.force_close()  # with all that it has sent in the meantime
        return refusal

    return limit


def _are_text(headers: Iterable[str]) -> bool:
    """Whether all are UTF-8, so that they can stand in an answer."""
    try:
        "".join(headers).encode()
    except UnicodeEncodeError:
        return False
    return True
