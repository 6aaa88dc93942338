"""The arena over HTTP, served for real from a real store: pages, JSON, CSV, recordings, streams, registration."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientError, web
from aiohttp.test_utils import TestClient, TestServer

from competitor.arena.game import Game
from competitor.arena.live import MOST_OF_ONE_ADDRESS, Broadcast
from competitor.arena.lobby import Lobby
from competitor.arena.queries import MatchResult
from competitor.arena.recordings import Recordings
from competitor.arena.registration import Registration
from competitor.arena.site import Site
from competitor.arena.store import Store
from competitor.arena.web import add_pages
from competitor.wire.budget import Budgets
from tests.competitor.arena.servers import Clock, FakeParticipant, never
from tests.competitor.arena.test_game import play_lively

EVIL = "<script>alert('x')</script>\"&"
NOW = 1_750_000_000.0
VOID = {"meta", "br", "link", "input"}
KEY = "the key of 5b"
LEFT = uuid.UUID(int=2)
PAGES = ("/", "/?q=a", "/results", "/players/ada", "/players/bob", f"/matches/{LEFT}", "/register")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """ada has beaten bob three times, once he left her; 30 matches of cyd and dan, of which one counts, are older."""
    store = Store(tmp_path / "arena.sqlite", clock=lambda: NOW)
    recordings = Recordings(tmp_path / "matches", most_mib=100, most_days=9, version="1", clock=lambda: NOW)
    for name in ("ada", "bob", "cyd", "dan"):
        store.add_user(name, "bot" if name == "dan" else "player")
    for number in range(30):
        old = result(100 + number, ("cyd", "dan"), (1, 1), ended_at=NOW - 1000 + number)
        store.save(replace(old, ending="timeout", left_by="dan") if number else old)
    for number, scores in ((1, (3, 1)), (3, (2, 0)), (4, (1, 0))):
        store.save(result(number, ("ada", "bob"), scores))
    store.save(replace(result(2, ("bob", "ada"), (1, 0)), ending="disconnected", left_by="bob"))
    lobby = Lobby(store, random=Random(3), rounds=4, tick_s=0.001)
    registration = Registration(KEY, store, Budgets(3, 0.0, Clock()))
    made = Site(lobby, store, recordings, Broadcast(lobby), 65335, "1.2.3", registration, now=lambda: NOW)
    yield made
    made.threads.shutdown()
    recordings.close()
    store.close()


def result(number: int, users: tuple[str, str], scores: tuple[int, int], ended_at: float = NOW - 80) -> MatchResult:
    return MatchResult(uuid.UUID(int=number), users, scores, "played", None, ended_at - 30, ended_at + number / 1000)


def with_client(site: Site, check: Callable[[TestClient[Any, Any]], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        app = web.Application()
        add_pages(app, site)
        async with TestClient(TestServer(app)) as client:
            await asyncio.wait_for(check(client), 30)

    asyncio.run(play())


def get(site: Site, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET, or with `data` of a POST."""
    answers = []

    async def fetch(client: TestClient[Any, Any]) -> None:
        async with client.request("POST" if "data" in options else "GET", path, **options) as answer:
            answers.append((answer.status, dict(answer.headers), await answer.read()))

    with_client(site, fetch)
    return answers[0]


def get_json(site: Site, path: str) -> Any:
    status, _, body = get(site, path)
    assert status == 200, body
    return json.loads(body)


class Outline(HTMLParser):
    """Tags, texts and attributes of a page; unbalanced tags fail."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def words(site: Site, path: str) -> str:
    status, _, body = get(site, path)
    assert status == 200, body
    return " ".join(" ".join(Outline(body.decode()).texts).split())


def test_the_first_page_shows_everything(site: Site) -> None:
    text = words(site, "/")
    first = site.store.leaderboard()[0]
    assert f"1 ada {first.rating:.2f} 3 3 0 0" in text
    assert re.search(r"\d dan house bot [\d.]+ 1 0 1 0", text)
    assert re.search(r"ada \+[\d.]+ 1 : 0 bob [+-][\d.]+ \d+ s ago", text)
    assert re.search(r"bob 1 : 0 ada \d+ s ago bob: disconnected", text)
    assert "0 in play, 0 waiting" in text and "No match is being played." in text


def test_an_empty_arena_says_so(tmp_path: Path, site: Site) -> None:
    store = Store(tmp_path / "other.sqlite")
    text = words(replace(site, store=store), "/")
    store.close()
    for sentence in ("Nobody has finished a match yet.", "No match is being played.", "There are no results yet."):
        assert sentence in text


def test_matches_in_play_are_on_the_page_and_have_one_of_their_own(site: Site) -> None:
    async def check(client: TestClient[Any, Any]) -> None:
        for name in ("ada", "cyd"):
            site.lobby.enter(FakeParticipant(name, act=never()))
        while not site.lobby.matches:
            site.lobby.tick()
            await asyncio.sleep(0)
        match = site.lobby.matches[0]
        for one in (FakeParticipant("dan", is_bot=True), FakeParticipant("bob")):
            site.lobby.enter(one)
        while len(site.lobby.waiting) < 2:
            await asyncio.sleep(0)
        facts = await (await client.get("/api/running.json")).json()
        (running,), waiting = facts["matches"], facts["waiting"]
        assert waiting == 1, "bots always wait"
        assert (running["match_id"], running["users"]) == (str(match.match_id), list(match.users))
        assert (running["round"], running["rounds"], running["scores"]) == (1, 4, [0, 0])
        assert "1 of 4" in await (await client.get("/")).text()
        page = await (await client.get(f"/matches/{match.match_id}")).text()
        assert f'data-board="{match.match_id}"' in page and f'data-events="/events?match={match.match_id}"' in page
        health = await (await client.get("/healthz")).json()
        assert (health["status"], health["version"], health["running"], health["waiting"]) == ("ok", "1.2.3", 1, 1)
        assert health["unsaved"] == 0 and health["uptime_s"] >= 0
        await site.lobby.close()

    with_client(site, check)


def test_the_search_finds_parts_of_names_of_any_case(site: Site) -> None:
    board = words(site, "/?q=D").partition("Now playing")[0]
    assert "ada" in board and "cyd" in board and "bob" not in board
    assert "Nobody of that name." in words(site, "/?q=x")


def test_a_player_has_a_page(site: Site) -> None:
    text = words(site, "/players/ADA")
    rating = site.store.rating("ada").shown
    assert f"Rank 1, rating {rating:.2f}, 3 games, 0 broken off." in text
    assert "bob 3 0 0 0 1" in text  # won, drawn, lost, left, was left
    assert "ada 3 0 0 1 0" not in text and "ada 0 0 3 1 0" in words(site, "/players/bob")
    assert "1 broken off" in words(site, "/players/bob") and "1 broken off" not in text
    _, _, body = get(site, "/players/ada")
    (points,) = (values["points"] for tag, values in Outline(body.decode()).tags if tag == "polyline")
    course = [tuple(map(float, point.split(","))) for point in str(points).split()]
    assert [x for x, _ in course] == [0.0, 300.0, 600.0] and course[0][1] > course[1][1] > course[2][1] == 0.0


def test_results_are_shown_page_by_page(site: Site) -> None:
    seen: list[str] = []
    for path in ("/results", "/results?page=2"):
        _, _, body = get(site, path)
        page = Outline(body.decode())
        hrefs = [str(values["href"]) for tag, values in page.tags if tag == "a"]
        seen += [href for href in hrefs if href.startswith("/matches/")]
        assert ("?page=2" in hrefs) is (path == "/results") and ("?page=1" in hrefs) is (path != "/results")
    expected = [f"/matches/{entry.result.match_id}" for entry in site.store.recent(100)]
    assert seen == expected and len(seen) == 34
    assert "There are no results yet." in words(site, "/results?page=9")


def test_tables_have_captions_and_scopes_and_nothing_comes_from_elsewhere(site: Site) -> None:
    for path in PAGES:
        _, headers, body = get(site, path)
        page = Outline(body.decode())
        tags = [tag for tag, _ in page.tags]
        assert tags.count("table") == tags.count("caption")
        assert all(values.get("scope") in ("col", "row") for tag, values in page.tags if tag == "th")
        loaded = [values[name] or "" for _, values in page.tags for name in ("src", "href", "action") if name in values]
        assert all(re.match(r"/(?!/)|\?|data:,$", address) for address in loaded)
        assert not any("style" in values or any(name.startswith("on") for name in values) for _, values in page.tags)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self'" in policy
    _, _, style = get(site, "/arena.css")
    assert b"prefers-color-scheme: dark" in style and b"url(" not in style


def test_what_others_choose_is_escaped(site: Site) -> None:
    site.store.save(replace(result(9, ("ada", "bob"), (0, 0)), ending=EVIL))
    for path in ("/", "/?q=" + EVIL.replace("&", "%26"), "/results", "/players/ada", f"/matches/{uuid.UUID(int=9)}"):
        _, _, body = get(site, path, headers={"Host": EVIL})
        page = Outline(body.decode())
        assert "alert" not in "".join(str(values) for tag, values in page.tags if tag == "script")
        assert [tag for tag, _ in page.tags].count("script") == 2
        assert EVIL in "".join(page.texts)


def test_a_match_has_a_page_with_its_replay(site: Site) -> None:
    game = Game(seed=11)
    play_lively(game)
    played = result(1, ("ada", "bob"), game.scores, NOW)
    path = f"/matches/{played.match_id}"
    assert "There is no recording of this match." in words(site, path)
    assert get(site, f"{path}.npz")[0] == get(site, f"{path}.json")[0] == 404
    site.recordings.keep(played, game.log, 4)
    site.recordings.close()
    assert f'data-replay="{path}.json"' in get(site, path)[2].decode()
    site.store.rename("ada", "eve")
    shown = get_json(site, f"{path}.json")
    assert shown["names"] == ["eve", "bob"] and [one["winner"] for one in shown["rounds"]].count(1) == game.scores[0]
    file = site.recordings.find(played.match_id)
    assert file is not None
    _, headers, body = get(site, f"{path}.npz")
    assert body == file.read_bytes() and headers["Content-Disposition"].endswith('-1.npz"')
    assert get(site, f"{path}.npz?side=3")[0] == get(site, f"{path}.npz?side=0")[0] == 400
    file.write_bytes(b"damaged")
    assert get(site, f"{path}.json")[0] == 404
    text = words(site, f"/matches/{LEFT}")
    assert "Broken off, not rated: bob: disconnected." in text


def test_data_for_programs(site: Site) -> None:
    first = get_json(site, "/api/leaderboard.json")["players"][0]
    rating = site.store.rating("ada")
    assert first == {
        **{"rank": 1, "name": "ada", "role": "player", "rating": rating.shown, "mu": rating.mu, "sigma": rating.sigma},
        **{"games": 3, "wins": 3, "draws": 0, "losses": 0},
    }
    newest, left, *_ = matches = get_json(site, "/api/results.json")["matches"]
    assert len(matches) == 34 and newest["match_id"] == str(uuid.UUID(int=4)) and newest["scores"] == [1, 0]
    assert set(newest) == {
        *("match_id", "users", "scores", "ending", "left_by", "started_at", "ended_at"),
        *("ratings_before", "ratings_after"),
    }
    assert get_json(site, "/api/results.json?count=2&page=2")["matches"] == matches[2:4]
    assert get_json(site, "/api/results.json?player=bob")["matches"] == matches[:4]
    player = get_json(site, "/api/players/bob.json")
    assert player["opponents"] == [{"name": "ada", "wins": 0, "draws": 0, "losses": 3, "left": 1, "was_left": 0}]
    assert (player["disconnects"], player["games"], len(player["rating_curve"])) == (1, 3, 3)


def test_results_as_csv(site: Site) -> None:
    _, headers, body = get(site, "/api/results.csv?count=4")
    assert headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert [row["ending"] for row in rows] == ["played", "played", "disconnected", "played"]
    assert (rows[2]["first"], rows[2]["second"], rows[2]["left_by"], rows[2]["first_score"]) == (
        "bob",
        "ada",
        "bob",
        "1",
    )
    assert rows[0]["ended_at"] == "2025-06-15T15:05:20+00:00"


@pytest.mark.parametrize("path", ["/api/results.json?count=", "/api/results.csv?count=", "/results?page="])
@pytest.mark.parametrize("count", ["", "-1", "x", "1e3", "%C2%B2", "9" * 5000])
def test_a_wrong_count(path: str, count: str, site: Site) -> None:
    status, _, body = get(site, path + count)
    assert status == 400 and body.endswith(b": expected a whole number\n")


@pytest.mark.parametrize("count", ["0", "1", "999999999"])
def test_as_many_results_as_asked_for(count: str, site: Site) -> None:
    assert len(get_json(site, f"/api/results.json?count={count}")["matches"]) == min(int(count), 34)


@pytest.mark.parametrize(
    "path",
    ["/tokens/ada", "/players/nobody", "/api/players/x.json", "/matches/x", f"/matches/{uuid.UUID(int=99)}",
     "/matches/../arena.sqlite.npz", f"/matches/{uuid.UUID(int=99)}.npz", "/viewer/x.js"],
)  # fmt: skip
def test_what_is_not_there(path: str, site: Site) -> None:
    status, _, body = get(site, path)
    assert status == 404 and b"Traceback" not in body


def test_a_stream_tells_what_happens_ends_with_the_arena_and_there_are_not_too_many(site: Site) -> None:
    async def check(client: TestClient[Any, Any]) -> None:
        streams = [await client.get("/events") for _ in range(MOST_OF_ONE_ADDRESS)]
        assert streams[0].headers["Content-Type"] == "text/event-stream"
        async with client.get("/events") as refused:
            assert (refused.status, await refused.text()) == (429, "too many pages watch already\n")
        site.broadcast.tick()
        assert await streams[0].content.readuntil(b"\n\n") == b'event: clear\ndata: {"board":"1"}\n\n'
        site.broadcast.close()
        for stream in streams:
            await stream.read()

    with_client(site, check)


def test_a_page_that_does_not_read_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flood:
        """Has always more to tell."""

        left = False

        @contextmanager
        def watching(self, address: str, boards: Sequence[str]) -> Iterator[Flood]:
            try:
                yield self
            finally:
                self.left = True

        async def next(self, timeout_s: float) -> bytes:
            return bytes(1 << 20)

    async def check(client: TestClient[Any, Any]) -> None:
        stream = await client.get("/events")
        while not flood.left:
            assert (await client.get("/healthz")).status == 200
        with pytest.raises(ClientError):
            await stream.read()

    monkeypatch.setattr("competitor.arena.web.STUCK_S", 0.01)
    flood = Flood()
    with_client(replace(site, broadcast=flood), check)  # type: ignore[arg-type]


def test_players_open_accounts_with_the_key_of_the_class(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert 'action="/register"' in get(site, "/register")[2].decode()
    status, _, body = get(site, "/register", data={"name": "eve", "key": f" {KEY} "})
    user = site.store.user_of(body.decode().strip())
    assert status == 201 and user is not None and (user.name, user.role) == ("eve", "player")
    for form, status, answer in (
        ({"name": "Eve", "key": KEY}, 409, b"there is an account Eve already\n"),
        ({"name": "fay", "key": "guessed"}, 403, b"that is not the key of the class\n"),
        ({"name": "fay", "key": KEY}, 429, b"too many registrations from this address: try again later\n"),
    ):
        assert get(site, "/register", data=form)[::2] == (status, answer)
    assert caplog.text.count("a wrong class key from 127.0.0.1") == 1 and "guessed" not in caplog.text


def test_who_was_banned_opens_no_other_account_from_there(site: Site) -> None:
    assert get(site, "/register", data={"name": "eve", "key": KEY})[0] == 201
    site.store.ban("eve")
    refused = get(site, "/register", data={"name": "fay", "key": KEY})
    assert refused[::2] == (403, b"an account that was used from this address is banned: ask your teacher\n")
    site.store.ban("eve", "active")
    assert get(site, "/register", data={"name": "fay", "key": KEY})[0] == 201


@pytest.mark.parametrize("form", [{}, {"name": "<b>", "key": KEY}, {"name": "fay", "key": "ü\x00"}, {"key": KEY}])
def test_a_form_that_opens_nothing_says_why(form: dict[str, str], site: Site) -> None:
    status, _, body = get(site, "/register", data=form, headers={"Accept": "text/html"})
    assert status in (403, 409) and any(tag == "form" for tag, _ in Outline(body.decode()).tags)
    assert len(site.store.accounts()) == 4


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("application/x-www-form-urlencoded", b"name=\xff"),
        ("application/x-www-form-urlencoded; charset=none", b"name=fay"),
        ("multipart/form-data", b"name=fay"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nfay\r\n--x--\r\n"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(kind: str, form: bytes, site: Site) -> None:
    refused = get(site, "/register", data=form, headers={"Content-Type": kind})
    assert refused[::2] == (400, b"the form cannot be read\n")


def test_without_a_key_nobody_registers(site: Site) -> None:
    closed = replace(site, registration=None)
    assert get(closed, "/register")[0] == get(closed, "/register", data={"name": "eve", "key": ""})[0] == 404
    assert "Open an account" not in words(closed, "/")
