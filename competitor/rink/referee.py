"""What contacts mean: goals, and players who catch the puck."""

from typing import Any

from Box2D import b2ContactListener

from competitor.rink.bindings import Handle, fixture_a, fixture_b, fixture_body, vector_x, velocity_of
from competitor.rink.bodies import Bodies
from competitor.rink.constants import KEEP_STEPS


class Score:
    """The state of a round that contacts change.

    held_1 and held_2 count down the steps for which a player still has the puck; they outlive a round.
    """

    __slots__ = ("done", "held_1", "held_2", "keep_mode", "verbose", "winner")

    def __init__(self, keep_mode: bool) -> None:
        self.keep_mode = keep_mode
        self.verbose = False
        self.held_1 = self.held_2 = 0
        self.clear()

    def clear(self) -> None:
        """Begin a round; the counters stay."""
        self.done, self.winner = False, 0

    def goal(self, winner: int) -> None:
        self.done, self.winner = True, winner
        if self.verbose:
            print(f"Player {1 if winner > 0 else 2} scored")


def address(body: Any) -> int:
    """Where the engine keeps a body: the identity behind ever new wrappers."""
    return int(body.this)


class Referee(b2ContactListener):  # type: ignore[misc]
    """Told by the engine about every contact while the world steps."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        self._score = score

    def watch(self, bodies: Bodies) -> None:
        self._puck = address(bodies.puck)
        self._puck_velocity: Handle = velocity_of(bodies.puck.this)
        self._player_1, self._player_2 = address(bodies.player_1), address(bodies.player_2)
        self._goal_1, self._goal_2 = address(bodies.goal_1), address(bodies.goal_2)

    def BeginContact(self, contact: Any) -> None:
        first = address(fixture_body(fixture_a(contact)))
        second = address(fixture_body(fixture_b(contact)))
        if first == self._puck:
            self._touched(second)
        elif second == self._puck:
            self._touched(first)

    def _touched(self, other: int) -> None:
        score = self._score
        if other == self._goal_2:
            score.goal(1)
        elif other == self._goal_1:
            score.goal(-1)
        elif score.keep_mode:
            self._caught(other)

    def _caught(self, player: int) -> None:
        score, puck_vx = self._score, vector_x(self._puck_velocity)
        if player == self._player_1 and score.held_1 == 0 and puck_vx < 0.1:
            score.held_1 = KEEP_STEPS
        elif player == self._player_2 and score.held_2 == 0 and puck_vx > -0.1:
            score.held_2 = KEEP_STEPS

    # The engine reports these for every contact and step; without a body here each would make a detour
    # through the package's own empty implementation.
    def EndContact(self, contact: Any) -> None:
        pass

    def PreSolve(self, contact: Any, old_manifold: Any) -> None:
        pass

    def PostSolve(self, contact: Any, impulse: Any) -> None:
        pass
