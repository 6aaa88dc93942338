"""The element <rink-viewer> in a real browser: a whole round, and one that is played while it is watched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from competitor.viewer.frames import frames_of, round_json
from competitor.viewer.web import HEADERS, add_viewer
from tests.browser import PHONE, browser, opened_page, served, wait_until, width_of

__all__ = ["browser"]
STEPS = 120
PAGE = """<!DOCTYPE html><html lang="en"><head><title>test</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/viewer/page.css"><script src="/viewer/rink-viewer.js"></script></head>
<body><rink-viewer id="viewer" paused></rink-viewer></body></html>"""


def views() -> np.ndarray[Any, Any]:
    """The left player's views (STEPS + 1, 18) of a puck that flies to the right while both rackets rise."""
    seen = np.zeros((STEPS + 1, 18), np.float32)
    seen[:, 0], seen[:, 6] = -3.0, 3.0
    seen[:, 1] = seen[:, 7] = np.linspace(0, 2, STEPS + 1)
    seen[:, 12] = np.linspace(-2, 4, STEPS + 1)
    seen[20:30, 16] = 9.0
    return seen


def a_match() -> dict[str, Any]:
    """Two rounds, the first with what an agent thinks of it."""
    acts = np.tile(np.array([[0.5, -1.0, 0.25, 1.0]], np.float32), (STEPS, 1))
    first = round_json(views(), (acts, None), 1, (2, 0))
    value = np.linspace(-1.0, 9.0, STEPS + 1).tolist()
    dream = [row[:8] for row in frames_of(views()[:15])]
    first["mind"] = {"side": 0, "value": value, "dreams": [dream] * (STEPS + 1)}
    return {"names": ["<b>ada</b>", "bob"], "rounds": [first, round_json(views(), (None, None), -1, (3, 0))]}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a page with a viewer."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html", headers=HEADERS)

    app = web.Application()
    add_viewer(app)
    app.router.add_get("/", page)
    with served(app) as (found, _):
        yield found


def text(page: Any, part: str) -> str:
    return str(page.locator("#viewer").locator(f".{part}").first.inner_text())


def step(page: Any) -> int:
    return int(page.evaluate("viewer.step"))


def test_a_round_can_be_scrubbed_stepped_and_played_to_the_next(browser: Any, address: str, tmp_path: Path) -> None:
    with opened_page(browser) as page:
        page.goto(address)
        page.evaluate("match => viewer.show(match)", a_match())
        assert text(page, "score") == "2 : 0" and text(page, "name") == "<b>ada</b>"
        page.locator("#viewer").locator(".scrub").fill("25")
        assert (step(page), text(page, "holds")) == (25, "<b>ada</b> holds the puck")
        assert text(page, "clock") == "0.50 s of 5.02, step 25 of 120"
        assert text(page, "actions .left") == "push +0.5 −1.0, turn +0.3, shoots"
        assert text(page, "actions .right") == "action not known"
        assert page.get_by_role("group", name="<b>ada</b> against bob", exact=True).count() == 1
        assert text(page, "worth") == "value for <b>ada</b> +1.1"
        page.locator("#viewer").focus()
        for keys, expected in (("ArrowRight", 26), ("Shift+ArrowLeft", 16), ("End", STEPS), ("Home", 0)):
            page.keyboard.press(keys)
            assert step(page) == expected
        page.keyboard.press("End")
        assert (text(page, "score"), text(page, "holds")) == ("3 : 0", "goal of <b>ada</b>")
        page.keyboard.press("Space")
        wait_until(page, "viewer.roundIndex === 1 && viewer.step > 5")
        page.keyboard.press("Space")
        assert page.evaluate("viewer.playing") is False
        page.evaluate("viewer.chooseRound(0); viewer.step = 60")
        page.screenshot(path=tmp_path / "viewer.png")


def test_the_picture_shows_puck_rackets_and_dreams_in_light_and_dark(
    browser: Any, address: str, tmp_path: Path
) -> None:
    at = """([x, y]) => { const rink = viewer.shadowRoot.querySelector('.rink'), scale = rink.width / 600;
        const spot = new OffscreenCanvas(1, 1).getContext('2d');
        spot.drawImage(rink, -(300 + 60 * x) * scale, -(240 - 60 * y) * scale);
        return [...spot.getImageData(0, 0, 1, 1).data]; }"""
    picture = "viewer.shadowRoot.querySelector('.rink').toDataURL()"
    for scheme, puck, left in (("light", [28, 30, 34], [214, 69, 65]), ("dark", [238, 242, 246], [255, 122, 112])):
        with opened_page(browser, color_scheme=scheme) as page:
            page.goto(address)
            page.evaluate("match => { viewer.show(match); viewer.step = 60; }", a_match())
            assert page.evaluate(at, [1.0, 0.0])[:3] == puck
            assert page.evaluate(at, [-3.2, 1.0])[:3] == left
            with_dreams = page.evaluate(picture)
            page.locator("#viewer").locator(".dreams").uncheck()
            assert page.evaluate(picture) != with_dreams
            page.evaluate("viewer.step = viewer.steps")
            over = page.evaluate(picture)
            page.locator("#viewer").locator(".dreams").check()
            assert page.evaluate(picture) == over, "nothing comes after a goal"
            page.screenshot(path=tmp_path / f"{scheme}.png")


def test_a_round_is_watched_while_it_is_played(browser: Any, address: str) -> None:
    frames = frames_of(views())
    with opened_page(browser) as page:
        page.goto(address)

        def push(first: int) -> None:
            steps = {"frames": frames[first : first + 10], "actions": [[[1, 0, 0, 0]] * 10, [[0, 1, 0, 0]] * 10]}
            page.evaluate("steps => viewer.push(steps)", steps)

        sofar = {"frames": frames[:11], "actions": [[[0, 0, 0, 0]] * 10, [[0, 0, 0, 0]] * 10], "score": [1, 0]}
        begun = {"names": ["ada", "bob"], "round": sofar, "number": 2, "of": 4}
        page.evaluate("begun => viewer.begin(begun)", begun)
        wait_until(page, "viewer.step === 10")
        assert (text(page, "score"), text(page, "round")) == ("1 : 0", "round 2 of 4")
        push(11)
        wait_until(page, "viewer.step === 20")
        page.evaluate("viewer.step = 5")
        push(21)
        assert (page.evaluate("viewer.steps"), step(page)) == (30, 5), "who looks back is left there"
        page.evaluate("viewer.step = 30; viewer.toggle(); viewer.end({winner: -1})")
        wait_until(page, "viewer.shadowRoot.querySelector('.score').textContent === '1 : 1'")


def test_who_wants_less_motion_presses_play(browser: Any, address: str) -> None:
    for motion, plays in (("reduce", False), ("no-preference", True)):
        with opened_page(browser, reduced_motion=motion) as page:
            page.goto(address)
            page.evaluate("match => { viewer.removeAttribute('paused'); viewer.show(match); }", a_match())
            assert page.evaluate("viewer.playing") is plays


def test_nothing_is_cut_on_a_phone(browser: Any, address: str) -> None:
    with opened_page(browser, viewport=PHONE, has_touch=True) as page:
        page.goto(address)
        match = a_match() | {"names": ["a very long name of a checkpoint in a run" * 2, "bob"]}
        page.evaluate("match => viewer.show(match)", match)
        assert width_of(page) == (390, 390)
        boxes = page.evaluate("[...viewer.shadowRoot.querySelectorAll('*')].map(e => e.getBoundingClientRect().right)")
        assert max(boxes) <= 390
