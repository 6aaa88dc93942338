"""A player at the keyboard."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from competitor.rink.env import HockeyEnv
from competitor.rink.rendering import load_pygame

PUSH_X, PUSH_Y, TURN, SHOOT = range(4)


class HumanOpponent:
    """Plays what is pressed in the rink's window: arrows move, w and s turn, space shoots.

    The arrows mean directions on the screen for both players, though player two sees the rink turned.
    """

    def __init__(self, env: HockeyEnv, player: int = 1) -> None:
        """player: 1 or 2. Opens the window; raises PackageError without pygame, RenderError without a screen."""
        self.env, self.player = env, player
        self._pygame = load_pygame()
        if env.screen is None:
            env.render("human")
        side = 1.0 if player == 1 else -1.0
        keys = self._pygame
        self._meaning = (
            (keys.K_LEFT, PUSH_X, -side),
            (keys.K_RIGHT, PUSH_X, side),
            (keys.K_DOWN, PUSH_Y, -side),
            (keys.K_UP, PUSH_Y, side),
            (keys.K_w, TURN, 1.0),
            (keys.K_s, TURN, -1.0),
            (keys.K_SPACE, SHOOT, 1.0),
        )

    def act(self, obs: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
        """The action that is pressed, (4,) or (3,) without keep mode; what the rink looks like does not matter."""
        self._pygame.event.pump()
        pressed = self._pygame.key.get_pressed()
        action = np.zeros(4)
        for key, place, force in self._meaning:
            action[place] += force * bool(pressed[key])
        return action[: self.env.num_actions]
