"""The attributes by which programs written for the course's environment look into it."""

from operator import attrgetter
from typing import Any

from competitor.rink.rendering import Canvas
from competitor.rink.simulation import Simulation

FAR = 1000
"""What closest_to_goal_dist says at the start of every round; nothing in the game depends on it."""


def _of_rink(path: str, about: str) -> Any:
    """A property that reads `path` of the simulation."""
    return property(attrgetter(f"_rink.{path}"), doc=about)


class ReferenceNames:
    """A simulation under the reference's names.

    The bodies are Box2D's own. To move things use set_state: a body that was moved by hand shows in the
    observations only after the next step.
    """

    _rink: Simulation
    _canvas: Canvas | None
    closest_to_goal_dist: float = FAR
    isopen = True
    """False once `close` has closed a window."""

    done = _of_rink("score.done", "Whether the round is over.")
    winner = _of_rink("score.winner", "1 or -1 once player one or two has scored, else 0.")
    time = _of_rink("time", "Steps played in this round.")
    max_timesteps = _of_rink("limit", "The value of time at which a step ends the round.")
    one_starts = _of_rink("one_starts", "Whether the puck started on player one's side in the last NORMAL round.")
    player1_has_puck = _of_rink("score.held_1", "Steps for which player one can still keep the puck.")
    player2_has_puck = _of_rink("score.held_2", "Steps for which player two can still keep the puck.")
    world = _of_rink("world", "The b2World.")
    player1 = _of_rink("bodies.player_1", "Player one's b2Body, new in every round.")
    player2 = _of_rink("bodies.player_2", "Player two's b2Body, new in every round.")
    puck = _of_rink("bodies.puck", "The puck's b2Body, new in every round.")
    goal_player_1 = _of_rink("bodies.goal_1", "The b2Body of the goal that player one defends, on the left.")
    goal_player_2 = _of_rink("bodies.goal_2", "The b2Body of the goal that player two defends, on the right.")

    @property
    def screen(self) -> Any:
        """The window's pygame surface, None while there is no window."""
        return None if self._canvas is None else self._canvas.window

    @property
    def clock(self) -> Any:
        """The window's pygame clock, None while there is no window."""
        return None if self._canvas is None else self._canvas.clock
