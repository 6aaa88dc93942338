"""The arena's pages, made from the templates in pages/: leaderboard, results, a player, a match, registration."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from competitor.arena import data
from competitor.arena.live import PLACES
from competitor.arena.logins import Refused
from competitor.arena.queries import PLAYED, Entry
from competitor.arena.registration import Registration
from competitor.arena.site import Running, Site
from competitor.screen import duration
from competitor.viewer.web import HEADERS as LOCKED_DOWN
from competitor.viewer.web import page

POLICY = "Content-Security-Policy"
HEADERS = {**LOCKED_DOWN, POLICY: LOCKED_DOWN[POLICY].replace("form-action 'none'", "form-action 'self'")}
ROWS = 25
CURVE_WIDTH, CURVE_HEIGHT = 600, 160
LONGEST_SEARCH = 32
Context = dict[str, Any]
Playing = Sequence[Running]


def add_pages(app: web.Application, site: Site) -> None:
    """Add the pages and the files that they load to `app`."""

    def add(path: str, template: str, context: Callable[[Site, web.Request, Playing], Context]) -> None:
        async def handle(request: web.Request) -> web.Response:
            playing = site.running()  # here, as the lobby belongs to the event loop
            return await _page(site, request, template, await site.in_thread(context, site, request, playing))

        app.router.add_get(path, handle)

    add("/", "index.html", _index)
    add("/results", "results.html", lambda site, request, _: {"events": "/events", **_paged(site, request, None)})
    add("/players/{name}", "player.html", _player)
    add("/matches/{match}", "match.html", _match)
    for name in ("arena.css", "arena.js"):
        app.router.add_get(f"/{name}", page(name, "arena/pages"))
    if site.registration is not None:
        _add_registration(app, site, site.registration)


def _add_registration(app: web.Application, site: Site, registration: Registration) -> None:
    async def form(request: web.Request) -> web.Response:
        return await _page(site, request, "register.html", {"token": "", "wrong": ""})

    async def register(request: web.Request) -> web.Response:
        """Open an account; a program that does not ask for HTML gets the token alone."""
        try:
            given = await request.post()
        except web.HTTPException:
            raise
        except Exception as error:  # whatever a form provokes in the libraries is its mistake, not ours
            raise web.HTTPBadRequest(text="the form cannot be read\n") from error
        name, key = (str(given.get(field, "")).strip() for field in ("name", "key"))
        token, wrong, status = "", "", 201
        try:
            token = await registration.open_account(name, key, request.remote or "")
        except Refused as refused:
            wrong, status = str(refused), refused.status
        if "text/html" not in request.headers.get("Accept", ""):
            return web.Response(text=f"{token or wrong}\n", status=status, headers=HEADERS)
        return await _page(site, request, "register.html", {"token": token, "wrong": wrong}, status)

    app.router.add_get("/register", form)
    app.router.add_post("/register", register)


async def _page(site: Site, request: web.Request, template: str, context: Context, status: int = 200) -> web.Response:
    host = request.host
    common = {
        **site.counts(),
        "now": site.now(),
        "version": site.version,
        "comprl": f"{host.rsplit(':', 1)[0]}:{site.comprl_port}",
        "websocket": f"ws://{host}/play",
        "registration": site.registration is not None,
    }
    text = await site.in_thread(_templates().get_template(template).render, {**common, **context})
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


@cache
def _templates() -> Environment:
    loader = PackageLoader("competitor.arena", "pages")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(duration=duration, change=_change, curve=curve)
    return made


def _index(site: Site, request: web.Request, playing: Playing) -> Context:
    search = request.query.get("q", "").strip()[:LONGEST_SEARCH]
    standings = [line for line in site.store.leaderboard() if search.lower() in line.name.lower()]
    tables = {"standings": standings, "playing": playing, "matches": site.store.recent(ROWS)}
    return {"events": "/events", "places": PLACES, "q": search, **tables}


def _paged(site: Site, request: web.Request, user: str | None) -> Context:
    """One page of finished matches; `older` and `newer` are the numbers of its neighbours, 0 where there is none."""
    page = max(1, data.whole(request, "page", 1))
    found = site.store.recent(ROWS + 1, skip=ROWS * (page - 1), user=user)
    return {"matches": found[:ROWS], "older": page + 1 if len(found) > ROWS else 0, "newer": page - 1, "me": user}


def _player(site: Site, request: web.Request, playing: Playing) -> Context:
    account = site.store.account(request.match_info["name"])
    if account is None:
        raise web.HTTPNotFound(text="there is no such player\n")
    ranks = {line.name: line.rank for line in site.store.leaderboard()}
    return {
        "events": "/events",
        "player": account,
        "rank": ranks.get(account.name),
        "opponents": site.store.opponents(account.name),
        "points": site.store.rating_curve(account.name),
        **_paged(site, request, account.name),
    }


def _match(site: Site, request: web.Request, playing: Playing) -> Context:
    match_id = data.match_id(request)
    running = next((match for match in playing if match.match_id == str(match_id)), None)
    entry = site.store.match(match_id)
    if running is None and entry is None:
        raise web.HTTPNotFound(text="there is no such match\n")
    users = running.users if running else entry.result.users if entry else ()
    return {
        "events": f"/events?match={match_id}" if running else "",
        "id": str(match_id),
        "users": users,
        "in_play": running,
        "entry": entry,
        "has_recording": site.recordings.find(match_id) is not None,
    }


def _change(entry: Entry, who: int) -> str:
    """By how much a match moved a rating; nothing for one that did not count."""
    return f"{entry.after[who] - entry.before[who]:+.2f}" if entry.result.ending == PLAYED else ""


def curve(points: Sequence[tuple[float, float]]) -> Context:
    """A rating's course as points of an SVG polyline, one match after the other, and the numbers on its axis."""
    ratings = [rating for _, rating in points]
    low, high = min(ratings), max(ratings)
    span, last = high - low or 1.0, max(1, len(ratings) - 1)
    places = (
        f"{CURVE_WIDTH * at / last:.1f},{CURVE_HEIGHT * (high - one) / span:.1f}" for at, one in enumerate(ratings)
    )
    return {"low": low, "high": high, "line": " ".join(places), "width": CURVE_WIDTH, "height": CURVE_HEIGHT}
