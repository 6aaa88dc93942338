"""`play`: a person against a player, in a real browser and over a real WebSocket, step by step as the test wants."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from competitor.play.recording import load_episodes, load_recording, verify_recording
from competitor.play.rounds import RewardWeights
from competitor.viewer.play_page import BREAK_STEPS, play_app
from tests.browser import PHONE, browser, opened_page, served, wait_until, width_of
from tests.competitor.viewer.stage import ACTIONS, GOAL, Stage, stage

__all__ = ["browser", "stage"]


@contextmanager
def page_of(browser: Any, stage: Stage, **settings: Any) -> Iterator[tuple[Any, Callable[..., None]]]:
    """The page of a game that has begun, and a function that lets it go on for so many steps."""
    with served(play_app(stage.setup, "secret")) as (address, loop), opened_page(browser, **settings) as page:
        page.goto(f"{address}/?token=secret")
        page.get_by_text("press space to start").wait_for()
        wait_until(page, "viewer.match.names[0] === 'me'")
        yield page, partial(stage.advance, loop)


def press_for_a_goal(page: Any, stage: Stage, advance: Callable[..., None]) -> None:
    for key, steps in GOAL:
        if key is not None:
            page.keyboard.down(key)
            stage.wait_for({"action": list(ACTIONS[key])})
        advance(steps)
        if key is not None:
            page.keyboard.up(key)
            stage.wait_for({"action": [0, 0, 0, 0]})


def test_a_goal_is_scored_by_key_presses_and_the_round_is_kept(browser: Any, stage: Stage, tmp_path: Path) -> None:
    with page_of(browser, stage) as (page, advance):
        page.keyboard.press("Space")
        stage.wait_for({"paused": False})
        press_for_a_goal(page, stage, advance)
        wait_until(page, "viewer.shadowRoot.querySelector('.score').textContent === '1 : 0'")
        page.get_by_text("kept as me-still-00000-won.npz").wait_for()
        assert page.locator("#viewer").locator(".holds").inner_text() == "goal of me"
        assert page.locator("#touch").is_hidden()
        page.screenshot(path=tmp_path / "goal.png")
        advance(BREAK_STEPS)
        wait_until(page, "viewer.steps === 0")
        assert page.locator("#viewer").locator(".round").inner_text() == "round 2"
        assert page.evaluate("viewer.match.rounds[0].score") == [1, 0]
    path = tmp_path / "rounds" / "me-still-00000-won.npz"
    assert load_recording(path).about.player == "me" and verify_recording(path).identical
    views = list(load_episodes(path.parent, RewardWeights()))
    assert [float(view.reward[-1]) for view in views] == [10.0, -10.0], "what can be learned from it"


def test_the_other_side_the_speed_and_the_pause_can_be_chosen(browser: Any, stage: Stage) -> None:
    with page_of(browser, stage) as (page, advance):
        page.locator("#side").select_option("1")
        wait_until(page, "viewer.match.names[1] === 'me'")
        page.locator("#speed").fill("0.5")
        stage.wait_for({"speed": 0.5})
        page.locator("#viewer").focus()
        page.keyboard.press("KeyP")
        stage.wait_for({"paused": False})
        page.keyboard.down("ArrowLeft")
        stage.wait_for({"action": [-1, 0, 0, 0]})
        advance(10)
        wait_until(page, "viewer.steps === 10")
        assert page.evaluate("viewer.match.rounds[0].frames[10][3]") < 2.9, "left on the screen, from the right side"
        page.keyboard.press("KeyP")
        stage.wait_for({"paused": True})
        page.locator("#opponent").select_option("weak")
        advance(1, wait=False)  # the one that was waited for
        wait_until(page, "viewer.match.names[0] === 'weak'")


def test_the_racket_follows_the_mouse_and_a_gamepad(browser: Any, stage: Stage) -> None:
    with page_of(browser, stage) as (page, advance):
        page.keyboard.press("Space")
        stage.wait_for({"paused": False})
        box = page.locator("#viewer").locator(".rink").bounding_box()
        page.mouse.move(box["x"] + box["width"] * (5 - 2.0) / 10, box["y"] + box["height"] * (4 - 1.0) / 8)
        stage.wait_for({"action": [1, 1, 0, 0]})
        for step in range(1, 61):  # the page looks where the racket is, and steers
            advance(1)
            wait_until(page, f"viewer.steps === {step}")
        x, y = page.evaluate("viewer.match.rounds[0].frames[60].slice(0, 2)")
        assert (x, y) == pytest.approx((-2.0, 1.0), abs=0.3)
        page.mouse.move(0, 0)
        pad = "{axes: [0.5, 0.25, -1, 0], buttons: [{pressed: true}]}"
        page.evaluate(f"navigator.getGamepads = () => [{pad}, null]; dispatchEvent(new Event('blur'))")
        stage.wait_for({"action": [0.5, -0.25, 1, 1]})


def test_an_opponent_that_cannot_play_is_told_and_another_one_can(browser: Any, stage: Stage) -> None:
    with page_of(browser, stage) as (page, advance):
        page.locator("#opponent").select_option("nobody")
        page.get_by_text("unknown player 'nobody'").wait_for()
        page.locator("#opponent").select_option("broken")
        wait_until(page, "viewer.match.names[1] === 'broken'")
        page.locator("#pause").click()
        stage.wait_for({"paused": False})
        advance(1, wait=False)  # after which nobody waits for the next one
        page.get_by_text("broken cannot play").wait_for()
        assert page.locator("#pause").inner_text() == "go on"
        page.locator("#opponent").select_option("still")
        wait_until(page, "viewer.match.names[1] === 'still'")


def test_it_can_be_played_on_a_phone(browser: Any, stage: Stage, tmp_path: Path) -> None:
    with page_of(browser, stage, viewport=PHONE, has_touch=True, is_mobile=True) as (page, advance):
        assert width_of(page) == (390, 390)
        assert page.locator("#touch").is_visible()
        page.locator("#pause").tap()
        stage.wait_for({"paused": False})
        page.locator("#left").dispatch_event("pointerdown", {"pointerId": 1})
        page.screenshot(path=tmp_path / "phone.png", full_page=True)
