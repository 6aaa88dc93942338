"""Whom the learner meets: basic opponents, itself, the pool of its past selves, and players by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field

from competitor.play.rounds import RoundSetup, draw_by_share
from competitor.players import Player
from competitor.sparring.recipes import POOL, SELF
from dreamer.replay import GeneratorState
from dreamer.strict import Strict

POOL_SIZE = 200  # as many as the winner of the winter 2025/26 tournament allowed; it ended with 87
GROWN_POOL = 8  # members from which on the pool has its whole share; one member met all the time is overfitted to
RECENT_RATE = 0.05  # weight of the newest round in a running score: about the last 20 count
FLOOR = 0.05  # least weight of a past self that is always beaten, so that nobody is forgotten


Count = Annotated[int, Field(ge=0, le=2**53)]


@dataclass
class Score:
    """A running mean of the learner's points: 1 won, 0.5 drawn, 0 lost. The unknown score weighs as one round."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    mean: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    rounds: Count = 0

    def enter(self, result: int) -> None:
        """Add a round: +1 won, 0 drawn, -1 lost."""
        self.rounds += 1
        self.mean += max(RECENT_RATE, 1.0 / (self.rounds + 1)) * (0.5 * (result + 1) - self.mean)


class SavedOpponents(Strict):
    """What `Opponents.state` gives."""

    pool: list[str]
    scores: dict[str, Score]
    met: dict[str, Count]
    chance: GeneratorState


class Opponents:
    """The players a learner meets, drawn round by round.

    Args:
        shares: how often each kind is met; the pool's share grows with it, and the other kinds have what it lacks.
        itself: the player of the kind "self".
        make: makes the player of a name.

    Attributes:
        players: by name, the pool's members among them.
        pool: names of the past selves, the oldest first.
    """

    def __init__(
        self, shares: Mapping[str, float], itself: Player, make: Callable[[str], Player], chance: np.random.Generator
    ) -> None:
        named = [kind for kind in shares if kind not in (SELF, POOL)]
        self.players: dict[str, Player] = {SELF: itself, **{name: make(name) for name in named}}
        self.pool: list[str] = []
        self._shares, self._chance = shares, chance
        self._scores = {name: Score() for name in self.players}
        self._met = {kind: 0 for kind in shares}

    def add_member(self, member: Player) -> None:
        """Let a past self into the pool; of a full pool the oldest leaves."""
        self.players[member.name] = member
        self._scores[member.name] = Score()
        self.pool.append(member.name)
        if len(self.pool) > POOL_SIZE:
            gone = self.pool.pop(0)
            del self.players[gone], self._scores[gone]

    def setups(self) -> Iterator[RoundSetup]:
        """Rounds without end. Sides and starts are balanced against each kind of opponent."""
        while True:
            kind = self._draw_kind()
            met = self._met[kind]
            self._met[kind] += 1
            seed = int(self._chance.integers(2**31))
            name = self._draw_member() if kind == POOL else kind
            yield RoundSetup(one_starting=met % 2 == 0, seed=seed, side=met // 2 % 2, opponent=name)

    def _draw_kind(self) -> str:
        grown = min(1.0, len(self.pool) / GROWN_POOL)
        shares = {kind: share * (grown if kind == POOL else 1.0) for kind, share in self._shares.items()}
        return draw_by_share({kind: share for kind, share in shares.items() if share}, self._chance)

    def _draw_member(self) -> str:
        """A past self: the more points it takes, the more often (prioritised fictitious self-play with a floor)."""
        weights = {name: max(1.0 - self._scores[name].mean, FLOOR) for name in self.pool}
        return draw_by_share(weights, self._chance)

    def enter(self, name: str, result: int) -> None:
        """Add a round's result to the running score against its opponent, unless that has left the pool."""
        if name in self._scores:
            self._scores[name].enter(result)

    def scores(self) -> dict[str, float]:
        """Running scores against those met so far; that against the pool is the mean of its members'."""
        means = {name: score.mean for name, score in self._scores.items() if score.rounds and name not in self.pool}
        if self.pool:
            means[POOL] = float(np.mean([self._scores[name].mean for name in self.pool]))
        return means

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as plain values."""
        scores = {name: asdict(score) for name, score in self._scores.items()}
        return {"pool": self.pool, "scores": scores, "met": self._met, "chance": self._chance.bit_generator.state}

    def restore(self, state: SavedOpponents, read_member: Callable[[str], Player]) -> None:
        """Take over what `state` returned; `read_member` gives the past self of a name."""
        for name in state.pool:
            self.add_member(read_member(name))
        self._scores |= state.scores
        self._met |= state.met
        self._chance.bit_generator.state = state.chance.model_dump()
