"""The arena over HTTP: a page for people and the same as JSON for programs. Nothing can be changed over HTTP.

==========================  ====================================================================================
GET /                       the page; it renews itself, needs no JavaScript and fetches nothing from elsewhere
GET /api/leaderboard.json   everybody who has finished a match, the best first
GET /api/running.json       matches in play, and how many players wait for one
GET /api/results.json       the last matches, 50 of them or as many as `?count=N` asks for, 1000 at most
GET /healthz                200 while the arena runs; `unsaved`: finished matches that the disk does not take
==========================  ====================================================================================
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from competitor.arena.limits import MOST_REMEMBERED, Budget, Clock
from competitor.arena.page import render
from competitor.arena.store import Entry
from competitor.arena.view import View

RESULTS, MOST_RESULTS = 50, 1000
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
REQUESTS_AT_ONCE, REQUESTS_PER_S = 60, 20.0
"""Of one address. A class behind one router that looks at the page makes about 6 a second."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)


def add_pages(app: web.Application, view: View, version: str) -> None:
    """Add the page and its data to `app`."""
    health = {"status": "ok", "version": version}
    app.router.add_get("/", _page(view, version))
    app.router.add_get("/api/leaderboard.json", _json(lambda request: _leaderboard(view)))
    app.router.add_get("/api/running.json", _json(lambda request: _running(view)))
    app.router.add_get("/api/results.json", _json(lambda request: _results(view, request)))
    app.router.add_get("/healthz", _json(lambda request: {**health, **_counts(view)}))


def _page(view: View, version: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=render(view, request.host, version), content_type="text/html", headers=HEADERS)

    return handle


def _json(answer: Callable[[web.Request], dict[str, Any]]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(answer(request), headers=HEADERS)

    return handle


def _leaderboard(view: View) -> dict[str, Any]:
    players = []
    for line in view.leaderboard():
        rating = {"rating": line.rating.shown, "mu": line.rating.mu, "sigma": line.rating.sigma}
        games = {"games": line.games, "wins": line.wins, "draws": line.draws, "losses": line.losses}
        players.append({"rank": line.rank, "name": line.name, "role": line.role, **rating, **games})
    return {"players": players}


def _running(view: View) -> dict[str, Any]:
    return {"matches": [asdict(match) for match in view.running()], "waiting": view.waiting()}


def _results(view: View, request: web.Request) -> dict[str, Any]:
    text = request.query.get("count", str(RESULTS))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise web.HTTPBadRequest(text="count: expected a whole number\n")
    return {"matches": [_result(entry) for entry in view.recent(min(int(text), MOST_RESULTS))]}


def _result(entry: Entry) -> dict[str, Any]:
    ratings = {"ratings_before": entry.before, "ratings_after": entry.after}
    return {**asdict(entry.result), "match_id": str(entry.result.match_id), **ratings}


def _counts(view: View) -> dict[str, Any]:
    numbers = {"running": len(view.running()), "waiting": view.waiting(), "unsaved": view.unsaved()}
    return {"uptime_s": view.uptime_s(), **numbers}


def limited(renew: Callable[[web.Request], None], clock: Clock = time.monotonic) -> Middleware:
    """A middleware that refuses what is more than an address may ask for. `renew` hears of every request."""
    budgets: OrderedDict[str, Budget] = OrderedDict()

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        renew(request)
        address = request.remote or ""
        budgets[address] = budget = budgets.pop(address, None) or Budget(REQUESTS_AT_ONCE, REQUESTS_PER_S, clock)
        if len(budgets) > MOST_REMEMBERED:
            budgets.popitem(last=False)
        if budget.spend():
            return await handler(request)
        log.warning("%s asks for too many pages: refused", address)
        refusal = web.Response(status=429, text="too many requests\n", headers={**HEADERS, "Retry-After": "1"})
        refusal.force_close()  # with all that it has sent in the meantime
        return refusal

    return limit


class HttpLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's logger for the arena: what a client does wrong, and is answered with 4xx, is no traceback."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, a client's mistake as one line."""
        if isinstance(kwargs.get("exc_info"), HttpProcessingError):
            level, msg = logging.WARNING, "a request that is no HTTP from %s"
            del kwargs["exc_info"]
        super().log(level, msg, *args, **kwargs)
