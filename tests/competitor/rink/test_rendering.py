"""Pictures of the rink, without a screen."""

import sys
from typing import Any

import numpy as np
import pytest

from competitor.errors import PackageError
from competitor.rink import HockeyEnv
from competitor.rink.rendering import BLUE, ICE, RED, Canvas, RenderError


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> HockeyEnv:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = HockeyEnv()
    env.reset(one_starting=True, seed=0)
    return env


def pixel(frame: Any, obs: Any, index: int) -> tuple[int, ...]:
    """The colour where the observation says that something is."""
    column, row = round(300 + 60 * obs[index]), round(240 - 60 * obs[index + 1])
    return tuple(frame[row, column].tolist())


def test_players_and_puck_are_where_they_are(env: HockeyEnv) -> None:
    state = env.reset(seed=1)[0]
    state[[0, 1, 2, 6, 7, 12, 13]] = -2.0, 1.5, 0.5, 1.0, -1.0, 0.0, 2.5
    env.set_state(state)
    frame = env.render("rgb_array")
    assert frame is not None
    assert (frame.shape, frame.dtype) == ((480, 600, 3), np.uint8)
    assert pixel(frame, state, 0) == RED
    assert pixel(frame, state, 6) == BLUE
    assert max(pixel(frame, state, 12)) < 60
    assert tuple(frame[100, 100].tolist()) == ICE


def test_a_caption_stands_in_the_margin_above(env: HockeyEnv) -> None:
    canvas, rink = Canvas(), env._rink
    bare, named = canvas.frame(rink), canvas.frame(rink, ("ada", "1 : 0", "bob"))
    changed = (bare != named).any(axis=2)
    assert not changed[19:].any()  # the boards begin there
    for columns in (slice(40, 120), slice(260, 340), slice(480, 560)):
        assert changed[:19, columns].any()
    assert np.array_equal(canvas.frame(rink), bare)


def test_picture_follows_the_round(env: HockeyEnv) -> None:
    before = env.render("rgb_array")
    for _ in range(5):
        env.step(np.ones(8))
    after = env.render("rgb_array")
    assert (np.asarray(before) != np.asarray(after)).any()
    np.testing.assert_array_equal(after, env.render("rgb_array"))


def test_render_mode_of_the_constructor(env: HockeyEnv) -> None:
    picture = HockeyEnv(render_mode="rgb_array").render()
    assert picture is not None
    assert picture.shape == (480, 600, 3)
    with pytest.raises(ValueError, match="render mode"):
        env.render("ansi")


def test_window_opens_and_closes(env: HockeyEnv) -> None:
    import pygame

    assert env.render() is None
    assert pygame.display.get_surface().get_size() == (600, 480)
    env.close()
    assert not pygame.display.get_init()
    env.close()
    assert env.step(np.zeros(8))[2] is False


def test_closed_window_stays_closed(env: HockeyEnv) -> None:
    import pygame

    env.render("human")
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    env.render("human")
    env.render("human")
    assert not pygame.display.get_init()


def test_no_screen(env: HockeyEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "nothing")
    with pytest.raises(RenderError, match="rgb_array"):
        env.render("human")


def test_missing_pygame_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(PackageError, match=r"-m pip install 'hockey-dreamer\[render\]'") as caught:
        HockeyEnv().render("rgb_array")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 18
