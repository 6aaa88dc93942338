"""The attributes by which programs written for the course's environment look into it."""

from __future__ import annotations

from typing import Any

from competitor.rink.bodies import Bodies
from competitor.rink.rendering import Canvas
from competitor.rink.simulation import Simulation

FAR = 1000
"""What closest_to_goal_dist says at the start of every round; nothing in the game depends on it."""


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

    @property
    def done(self) -> bool:
        """Whether the round is over."""
        return self._rink.score.done

    @property
    def winner(self) -> int:
        """1 or -1 once player one or two has scored, else 0."""
        return self._rink.score.winner

    @property
    def time(self) -> int:
        """Steps played in this round."""
        return self._rink.time

    @property
    def max_timesteps(self) -> int:
        """The value of time at which a step ends the round."""
        return self._rink.limit

    @property
    def one_starts(self) -> bool:
        """Whether the puck started on player one's side in the last NORMAL round."""
        return self._rink.one_starts

    @property
    def player1_has_puck(self) -> int:
        """Steps for which player one can still keep the puck."""
        return self._rink.score.held_1

    @property
    def player2_has_puck(self) -> int:
        """Steps for which player two can still keep the puck."""
        return self._rink.score.held_2

    @property
    def world(self) -> Any:
        """The b2World."""
        return self._rink.world

    @property
    def player1(self) -> Any:
        """Player one's b2Body, new in every round."""
        return self._bodies.player_1

    @property
    def player2(self) -> Any:
        """Player two's b2Body, new in every round."""
        return self._bodies.player_2

    @property
    def puck(self) -> Any:
        """The puck's b2Body, new in every round."""
        return self._bodies.puck

    @property
    def goal_player_1(self) -> Any:
        """The b2Body of the goal that player one defends, on the left; new in every round."""
        return self._bodies.goal_1

    @property
    def goal_player_2(self) -> Any:
        """The b2Body of the goal that player two defends, on the right; new in every round."""
        return self._bodies.goal_2

    @property
    def screen(self) -> Any:
        """The window's pygame surface, None while there is no window."""
        return None if self._canvas is None else self._canvas.window

    @property
    def clock(self) -> Any:
        """The window's pygame clock, None while there is no window."""
        return None if self._canvas is None else self._canvas.clock

    @property
    def _bodies(self) -> Bodies:
        bodies = self._rink.bodies
        assert bodies is not None
        return bodies
