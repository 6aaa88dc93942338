"""The arena in a real browser: boards move, replays scrub, and at phone width nothing is cut."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser import PHONE, browser, opened_page, wait_until, width_of
from tests.competitor.arena.raw_client import RawClient, towards_the_puck
from tests.competitor.arena.running import ArenaThread, running_arena

__all__ = ["browser"]
pytestmark = pytest.mark.slow
LONGEST_NAME = "W" * 32
CUT = """[...document.querySelectorAll("section, table, td, th")].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.outerHTML)"""
FRAMES = "document.querySelector('rink-viewer').steps"


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArenaThread]:
    """An arena with a few results of a player whose name is as wide as a name can be."""
    folder = tmp_path_factory.mktemp("browser")
    with running_arena(folder, bots=("strong",), rounds=2, registration_key="the class key") as running:
        token = running.add_user(LONGEST_NAME)
        RawClient(running.comprl_port, token).play(3)
        yield running


def address(arena: ArenaThread, path: str = "/") -> str:
    return f"http://127.0.0.1:{arena.http_port}{path}"


@contextmanager
def held_match(arena: ArenaThread, name: str) -> Iterator[threading.Semaphore]:
    """A match that takes a step for each release; in the end it goes on by itself."""
    may_step, go_on = threading.Semaphore(0), threading.Event()

    def act(obs: list[float]) -> Any:
        while not (go_on.is_set() or may_step.acquire(timeout=0.01)):
            pass
        return towards_the_puck(obs)

    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(RawClient(arena.comprl_port, arena.add_user(name), act=act).play, 1)
        try:
            yield may_step
        finally:
            go_on.set()
            playing.result(60)


def test_a_live_board_moves_and_becomes_the_replay(arena: ArenaThread, browser: Any, tmp_path: Path) -> None:
    with opened_page(browser) as page, held_match(arena, "ada") as may_step:
        page.goto(address(arena))
        page.wait_for_selector("figure:not([hidden]) rink-viewer")
        before = page.evaluate(FRAMES)
        may_step.release(10)
        wait_until(page, f"{FRAMES} === {before + 10}")
        page.screenshot(path=tmp_path / "first-page.png")
        page.click("a.watch")
        wait_until(page, f"document.querySelector('rink-viewer[data-board]') && {FRAMES} === {before + 10}")
        may_step.release(2000)
        page.wait_for_selector("rink-viewer[data-replay]")  # the page has noticed the end by itself
        wait_until(page, f"{FRAMES} > 0")
        page.screenshot(path=tmp_path / "replay.png")


def test_a_replay_scrubs_and_can_be_taken_home(arena: ArenaThread, browser: Any) -> None:
    with opened_page(browser) as page:
        page.goto(address(arena, "/results"))
        page.click("td.score a")
        wait_until(page, f"document.querySelector('rink-viewer[data-replay]') && {FRAMES} > 20")
        page.evaluate("document.querySelector('rink-viewer').step = 0")
        page.locator("rink-viewer .scrub").fill("17")
        assert page.evaluate("document.querySelector('rink-viewer').step") == 17
        with page.expect_download() as download:
            page.click("text=npz")
        assert download.value.suggested_filename.endswith(".npz")


def test_tables_renew_themselves_and_the_search_narrows_them(arena: ArenaThread, browser: Any) -> None:
    with opened_page(browser) as page:
        page.goto(address(arena))
        rows = "document.querySelectorAll('#leaderboard tbody tr').length"
        before = page.evaluate(rows)
        token = arena.add_user("zoe")
        RawClient(arena.comprl_port, token).play(1)
        wait_until(page, f"{rows} === {before + 1}")
        page.fill("input[type=search]", "zo")
        wait_until(page, f"{rows} === 1")
        page.reload()
        assert page.evaluate(rows) == 1 and page.input_value("input[type=search]") == "zo"
        page.click("#leaderboard a")
        assert page.inner_text("h2").startswith("zoe") and page.locator("polyline").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_phone_width_nothing_is_cut(scheme: str, arena: ArenaThread, browser: Any, tmp_path: Path) -> None:
    newest = arena.store.recent(1)[0].result.match_id
    with opened_page(browser, viewport=PHONE, color_scheme=scheme) as page:
        for number, path in enumerate(("/", "/results", f"/players/{LONGEST_NAME}", f"/matches/{newest}", "/register")):
            page.goto(address(arena, path))
            page.screenshot(path=tmp_path / f"phone-{number}.png", full_page=True)
            assert width_of(page) == (390, 390), path
            assert page.evaluate(CUT) == [], path
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, colour[4:-1].split(","))) < 200) is (scheme == "dark")


def test_an_account_is_opened_in_the_browser(arena: ArenaThread, browser: Any) -> None:
    with opened_page(browser) as page:
        page.goto(address(arena, "/register"))
        page.fill("input[name=name]", "newcomer")
        page.fill("input[name=key]", "the class key")
        page.click("button")
        user = arena.store.user_of(page.inner_text("#token"))
        assert user is not None and user.name == "newcomer"
