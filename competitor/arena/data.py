"""The arena for programs: JSON and CSV, recordings, health.

==========================  ====================================================================================
/api/leaderboard.json       everybody who has finished a match, the best first
/api/running.json           matches in play, and how many players wait for one
/api/results.json           finished matches, the newest first: `count`, 50 if not said and 1000 at most, `page`
/api/results.csv            from 1, `player`: those of one account
/api/players/NAME.json      rating, counts, head-to-head, the rating's course
/matches/ID.npz, ID.json    the recorded steps of a match; the first is seen by one player, `?side=2` by the other
==========================  ====================================================================================
"""

import csv
import io
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from competitor.arena.queries import Entry
from competitor.arena.recordings import seen_by_second
from competitor.arena.site import Site
from competitor.errors import RecordingError
from competitor.play.match_file import read_match
from competitor.play.npz import SUFFIX
from competitor.viewer.frames import match_rounds
from competitor.viewer.web import HEADERS

RESULTS, MOST_RESULTS = 50, 1000
MOST_PAGE = 10**9
COLUMNS = ("match_id", "started_at", "ended_at", "first", "second", "first_score", "second_score", "ending", "left_by")
RATINGS = ("first_rating_before", "second_rating_before", "first_rating_after", "second_rating_after")


def add_data(app: web.Application, site: Site) -> None:
    """Add the paths above, and /healthz, to `app`."""

    def add(path: str, answer: Callable[[web.Request], dict[str, Any]]) -> None:
        async def handle(request: web.Request) -> web.Response:
            return web.json_response(await site.in_thread(answer, request), headers=HEADERS)

        app.router.add_get(path, handle)

    async def health(request: web.Request) -> web.Response:
        uptime_s = time.monotonic() - site.opened_at
        facts = {"status": "ok", "version": site.version, "uptime_s": uptime_s, **site.counts()}
        return web.json_response(facts, headers=HEADERS)

    async def running(request: web.Request) -> web.Response:
        matches = [asdict(match) for match in site.running()]
        return web.json_response({"matches": matches, "waiting": site.counts()["waiting"]}, headers=HEADERS)

    async def results_csv(request: web.Request) -> web.Response:
        text = await site.in_thread(lambda: _csv(entries(site, request, RESULTS)))
        return web.Response(text=text, content_type="text/csv", headers=_named("results.csv"))

    add("/api/leaderboard.json", lambda request: {"players": [asdict(line) for line in site.store.leaderboard()]})
    add("/api/results.json", lambda request: {"matches": [_result(one) for one in entries(site, request, RESULTS)]})
    add("/api/players/{name}.json", lambda request: _player(site, request))
    app.router.add_get("/api/running.json", running)
    app.router.add_get("/api/results.csv", results_csv)
    app.router.add_get("/healthz", health)
    app.router.add_get("/matches/{match}.{kind:npz|json}", partial(_recording, site))


def whole(request: web.Request, name: str, default: int, most: int = MOST_PAGE) -> int:
    """A whole number in the query, at most `most`. Raises HTTPBadRequest."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number\n")
    return min(int(text), most)


def entries(site: Site, request: web.Request, default: int) -> list[Entry]:
    """The finished matches that a request asks for with count, page and player. Raises HTTPBadRequest."""
    count = whole(request, "count", default, MOST_RESULTS)
    page = max(1, whole(request, "page", 1))
    return site.store.recent(count, skip=count * (page - 1), user=request.query.get("player"))


def match_id(request: web.Request) -> uuid.UUID:
    """The match that a path names. Raises HTTPNotFound."""
    try:
        return uuid.UUID(request.match_info["match"])
    except ValueError:
        raise web.HTTPNotFound(text="there is no such match\n") from None


async def _recording(site: Site, request: web.Request) -> web.StreamResponse:
    """A recorded match as one of its players saw it, or as <rink-viewer> takes it."""
    match, kind, side = match_id(request), request.match_info["kind"], request.query.get("side", "1")
    if side not in ("1", "2"):
        raise web.HTTPBadRequest(text="side: expected 1 or 2\n")
    found = await site.in_thread(site.recordings.find, match)
    try:
        if found is not None and kind == "npz":
            content = await site.in_thread(_file, site, match, found, side)
            name = found.name.replace(SUFFIX, f"-{side}{SUFFIX}")
            return web.Response(body=content, content_type="application/octet-stream", headers=_named(name))
        if found is not None:
            return web.json_response(await site.in_thread(_shown, site, match, found), headers=HEADERS)
    except (OSError, RecordingError):  # it has just been deleted, or somebody has damaged it
        pass
    raise web.HTTPNotFound(text="there is no recording of this match\n")


def _file(site: Site, match_id: uuid.UUID, path: Path, side: str) -> bytes:
    entry = site.store.match(match_id) if side == "2" else None
    return path.read_bytes() if entry is None else seen_by_second(path, entry.result, site.version)


def _shown(site: Site, match_id: uuid.UUID, path: Path) -> dict[str, Any]:
    match, _ = read_match(path)
    entry = site.store.match(match_id)  # knows who has another name now
    names = [match.connection, match.opponent] if entry is None else list(entry.result.users)
    return {"names": names, "rounds": match_rounds(match)}


def _named(file: str) -> dict[str, str]:
    return {**HEADERS, "Content-Disposition": f'attachment; filename="{file}"'}


def _result(entry: Entry) -> dict[str, Any]:
    ratings = {"ratings_before": entry.before, "ratings_after": entry.after}
    return {**asdict(entry.result), "match_id": str(entry.result.match_id), **ratings}


def _csv(matches: list[Entry]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow([*COLUMNS, *RATINGS])
    for entry in matches:
        one = entry.result
        times = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (one.started_at, one.ended_at))
        writer.writerow(
            [one.match_id, *times, *one.users, *one.scores, one.ending, one.left_by or "", *entry.before, *entry.after]
        )
    return lines.getvalue()


def _player(site: Site, request: web.Request) -> dict[str, Any]:
    account = site.store.account(request.match_info["name"])
    if account is None:
        raise web.HTTPNotFound(text="there is no such player\n")
    curve = [{"at": at, "rating": rating} for at, rating in site.store.rating_curve(account.name)]
    opponents = [asdict(one) for one in site.store.opponents(account.name)]
    return {**asdict(account), "opponents": opponents, "rating_curve": curve}
