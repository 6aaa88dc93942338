"""The arena's page and its JSON, served for real, over what an arena could show."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from competitor.arena.page import render
from competitor.arena.rating import Rating
from competitor.arena.store import Entry, MatchResult, Standing
from competitor.arena.view import Running
from competitor.arena.web import add_pages

EVIL = "<script>alert('x')</script>\"&"
MATCH = uuid.UUID(int=7)
VOID = {"meta", "br", "link"}


@dataclass
class FakeView:
    """An arena that shows what a test wants."""

    standings: list[Standing] = field(default_factory=list)
    matches: list[Running] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    comprl_port: int = 65335

    def now(self) -> float:
        return 1000.0

    def uptime_s(self) -> float:
        return 12.5

    def leaderboard(self) -> list[Standing]:
        return self.standings

    def running(self) -> list[Running]:
        return self.matches

    def waiting(self) -> int:
        return 3

    def unsaved(self) -> int:
        return 2

    def recent(self, count: int) -> list[Entry]:
        return self.entries[:count]


def entry(ending: str = "played", left_by: str | None = None, ended_at: float = 940.0) -> Entry:
    result = MatchResult(MATCH, ("ada", "bob"), (3, 1), ending, left_by, 900.0, ended_at)
    return Entry(result, (0.0, 0.0), (2.5, -1.25) if ending == "played" else (0.0, 0.0))


def full_view() -> FakeView:
    standings = [
        Standing(1, "ada", "player", Rating(30.0, 2.0), 4, 2, 1),
        Standing(2, "strong", "bot", Rating(25.0, 3.0), 1, 2, 4),
    ]
    running = [Running("m1", ("ada", "strong"), (1, 0), 2, 4, 7.4)]
    return FakeView(standings, running, [entry(), entry("disconnected", "bob", 100.0)])


def get(view: FakeView, path: str) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body of a GET."""

    async def fetch() -> tuple[int, Mapping[str, str], str]:
        app = web.Application()
        add_pages(app, view, "1.2.3")
        async with TestClient(TestServer(app)) as client, client.get(path) as answer:
            return answer.status, answer.headers, await answer.text()

    return asyncio.run(fetch())


def get_json(view: FakeView, path: str) -> Any:
    status, headers, body = get(view, path)
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/json")
    return json.loads(body)


class Outline(HTMLParser):
    """The open tags, all texts and attributes of a page; unbalanced tags fail."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def words(view: FakeView) -> str:
    return " ".join(" ".join(Outline(render(view, "arena.test:8080", "1.2.3")).texts).split())


def test_the_page_shows_everything() -> None:
    text = words(full_view())
    assert "1 ada 24.00 7 4 2 1" in text
    assert "2 strong house bot 16.00 7 1 2 4" in text
    assert "ada 1 : 0 strong 2 of 4 7 s" in text
    assert "ada +2.50 3 : 1 bob -1.25 1 min ago" in text
    assert "bob: disconnected" in text
    assert "1 in play, 3 waiting" in text
    assert "arena.test:65335" in text and "ws://arena.test:8080/play" in text


def test_an_empty_arena_says_so() -> None:
    text = words(FakeView())
    for sentence in ("Nobody has finished a match yet.", "No match is being played.", "There are no results yet."):
        assert sentence in text


def test_names_are_escaped() -> None:
    view = full_view()
    view.standings = [Standing(1, EVIL, "player", Rating(), 1, 0, 0)]
    view.matches = [Running("m", (EVIL, EVIL), (0, 0), 1, 4, 0.0)]
    result = MatchResult(MATCH, (EVIL, EVIL), (0, 0), EVIL, EVIL, 0.0, 0.0)
    view.entries = [Entry(result, (0.0, 0.0), (0.0, 0.0))]
    page = render(view, EVIL, EVIL)
    outline = Outline(page)
    assert "script" not in outline.tags
    assert "".join(outline.texts).count(EVIL) == 10


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = render(full_view(), "arena.test:8080", "1.2.3")
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert not {"src", "href"} & {name for name, _ in outline.attributes}
    assert not re.search(r"url\(|@import|https?://", page)


def test_the_page_renews_itself_and_knows_the_dark() -> None:
    page = render(full_view(), "arena.test:8080", "1.2.3")
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_is_served_locked_down() -> None:
    status, headers, body = get(full_view(), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Leaderboard" in body


def test_leaderboard() -> None:
    first, second = get_json(full_view(), "/api/leaderboard.json")["players"]
    assert first == {
        **{"rank": 1, "name": "ada", "role": "player", "rating": 24.0, "mu": 30.0, "sigma": 2.0},
        **{"games": 7, "wins": 4, "draws": 2, "losses": 1},
    }
    assert (second["name"], second["role"]) == ("strong", "bot")


def test_running() -> None:
    assert get_json(full_view(), "/api/running.json") == {
        "matches": [
            {"match_id": "m1", "users": ["ada", "strong"], "scores": [1, 0], "round": 2, "rounds": 4, "seconds": 7.4}
        ],
        "waiting": 3,
    }


def test_results() -> None:
    played, left = get_json(full_view(), "/api/results.json")["matches"]
    assert played == {
        **{"match_id": str(MATCH), "users": ["ada", "bob"], "scores": [3, 1], "ending": "played", "left_by": None},
        **{"started_at": 900.0, "ended_at": 940.0, "ratings_before": [0.0, 0.0], "ratings_after": [2.5, -1.25]},
    }
    assert (left["ending"], left["left_by"]) == ("disconnected", "bob")


@pytest.mark.parametrize(("count", "given"), [("0", 0), ("1", 1), ("2", 2), ("999999999", 1000)])
def test_as_many_results_as_asked_for(count: str, given: int) -> None:
    view = FakeView(entries=[entry()] * 1500)
    assert len(get_json(view, f"/api/results.json?count={count}")["matches"]) == given


@pytest.mark.parametrize("count", ["", "-1", "x", "1e3", "%C2%B2", "9" * 5000])
def test_a_wrong_count(count: str) -> None:
    status, _, body = get(FakeView(), f"/api/results.json?count={count}")
    assert (status, body) == (400, "count: expected a whole number\n")


def test_health() -> None:
    expected = {"status": "ok", "version": "1.2.3", "uptime_s": 12.5, "running": 1, "waiting": 3, "unsaved": 2}
    assert get_json(full_view(), "/healthz") == expected


def test_other_paths() -> None:
    assert get(FakeView(), "/tokens/ada")[0] == 404
