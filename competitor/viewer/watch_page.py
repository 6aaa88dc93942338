"""The page of `watch`, served, or as one file that needs no server.

GET /                       the page
GET /api/rounds.json        the titles of all recordings
GET /api/rounds/N.json      recording N as <rink-viewer> takes it; 422 with a line if it cannot be
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from competitor.errors import CompetitorError, message
from competitor.screen import Count, uncounted
from competitor.viewer.playlist import Item
from competitor.viewer.web import HEADERS, new_app, page, static_text
from dreamer.files import atomic_write_text

SCRIPTS = ("rink-viewer.js", "watch.js")


def watch_app(items: Sequence[Item], token: str) -> web.Application:
    """The application that shows `items` to who has the token."""

    async def titles(request: web.Request) -> web.Response:
        return web.json_response([item.title for item in items], headers=HEADERS)

    app = new_app(token)
    app.router.add_get("/", page("watch.html"))
    app.router.add_get("/api/rounds.json", titles)
    app.router.add_get("/api/rounds/{number:[0-9]{1,9}}.json", _round(items))
    return app


def _round(items: Sequence[Item]) -> Handler:
    one_at_a_time = asyncio.Lock()  # an agent that looks on is not made for threads

    async def handle(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if number >= len(items):
            raise web.HTTPNotFound(text="there is no such recording\n", headers=HEADERS)
        try:
            async with one_at_a_time:
                match = await asyncio.to_thread(items[number].load)
        except CompetitorError as error:
            return web.Response(status=422, text=message(error) + "\n", headers=HEADERS)
        answer = web.json_response(match, headers=HEADERS)
        answer.enable_compression()
        return answer

    return handle


def write_html(items: Sequence[Item], path: Path, on_item: Count = uncounted) -> None:
    """Write one file that shows `items` in any browser, without a server; raises OSError and what an item raises."""
    matches = []
    for done, item in enumerate(items, start=1):
        matches.append({"title": item.title, "match": item.load()})
        on_item(done, len(items))
    atomic_write_text(path, _whole_page(matches))


def _whole_page(matches: object) -> str:
    """The page with all that it loads inside; its policy lets nothing else run."""
    style, scripts = static_text("page.css"), [static_text(name) for name in SCRIPTS]
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {' '.join(map(_digest, scripts))}; base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(matches, separators=(",", ":")).replace("<", "\\u003c")
    text = static_text("watch.html")
    for name in SCRIPTS:
        text = text.replace(f'<script src="/viewer/{name}" defer></script>\n', "")
    text = text.replace('<link rel="stylesheet" href="/viewer/page.css">', f"<style>{style}</style>")
    text = text.replace("<title>", f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>')
    inside = f'<script type="application/json" id="matches">{data}</script>\n'
    return text.replace("</body>", inside + "".join(f"<script>{script}</script>\n" for script in scripts) + "</body>")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
