"""The league: a bounded pool of past selves, who among them to play next, and ratings.

Opponents are chosen by prioritised fictitious self-play (PFSP; Vinyals et al. 2019, "Grandmaster level in
StarCraft II", methods): the weight of a member is a function of the learner's win rate `w` against it,
`(1 - w)^p` ("hard": the ones it loses to) or `w (1 - w)` ("variance": the ones it is level with).
The ratings are Elo's, with the weak basic opponent fixed at 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Pfsp = Literal["hard", "variance"]

UNKNOWN_WIN_RATE = 0.5
RECENT_RATE = 0.05  # weight of the newest round once a member has played 20: the learner changes, so old rounds fade
KIND_RATE = 0.01  # the same for a kind of opponent, against which hundreds of rounds are played
ELO_STEP = 8.0  # small: hundreds of rounds a minute are played, and a rating should not wander by more than about 30
ELO_SCALE = 400.0
ANCHOR = "weak"
BASIC = ("weak", "strong")
KINDS = (*BASIC, "self", "past")


@dataclass
class Member:
    """One opponent as the league knows it; counts are seen from the learner's side.

    `win_rate` is a moving average of the learner's score (1 won, 0.5 drawn, 0 lost).
    """

    name: str
    environment_steps: int
    rating: float = 0.0
    wins: int = 0
    draws: int = 0
    losses: int = 0
    win_rate: float = UNKNOWN_WIN_RATE

    @property
    def games(self) -> int:
        """Rounds the learner has played against it."""
        return self.wins + self.draws + self.losses

    def record(self, result: int, recent_rate: float = RECENT_RATE) -> None:
        """Add a round: +1 won, 0 drawn, -1 lost by the learner. The unknown rate weighs as one round."""
        rate = max(recent_rate, 1.0 / (self.games + 2))
        self.win_rate += rate * (score(result) - self.win_rate)
        self.wins += result > 0
        self.draws += result == 0
        self.losses += result < 0


def score(result: int) -> float:
    """1 for a win (+1), 0.5 for a draw (0), 0 for a loss (-1)."""
    return 0.5 * (result + 1)


def pfsp_weights(win_rates: Sequence[float], kind: Pfsp, power: float) -> np.ndarray:
    """Choice probabilities (n,) for opponents against whom the learner's win rates are `win_rates`.

    When every weight is zero (the learner always wins or, for "variance", never varies) all are equally
    likely.
    """
    rates = np.clip(np.asarray(win_rates, dtype=np.float64), 0.0, 1.0)
    weights = (1.0 - rates) ** power if kind == "hard" else rates * (1.0 - rates)
    total = weights.sum()
    if total <= 0.0:
        return np.full(len(rates), 1.0 / max(1, len(rates)))
    return np.asarray(weights / total)


def expected_score(rating: float, opponent: float) -> float:
    """Elo's expected score of a player of `rating` against one of `opponent`."""
    return float(1.0 / (1.0 + 10.0 ** ((opponent - rating) / ELO_SCALE)))


class League:
    """The pool of snapshots, the record against each kind of opponent, and the learner's rating.

    `pool_size` bounds the snapshots; the basic opponents are always there and do not count.
    """

    def __init__(self, pool_size: int, pfsp: Pfsp = "hard", power: float = 1.0) -> None:
        self.pool_size = max(1, pool_size)
        self.pfsp: Pfsp = pfsp
        self.power = power
        self.rating = 0.0
        self.kinds = {name: Member(name, 0) for name in KINDS}
        self.members: list[Member] = []

    def add(self, name: str, environment_steps: int) -> list[Member]:
        """Take in a snapshot (rated like the learner now); returns the members that had to leave.

        Raises ValueError when the name is taken or the snapshot is older than the newest member.
        """
        if self.find(name) is not None:
            raise ValueError(f"the league already has a member {name!r}")
        if self.members and environment_steps < self.members[-1].environment_steps:
            raise ValueError(f"snapshot {name!r} is older than the newest member")
        self.members.append(Member(name, environment_steps, rating=self.rating))
        return [self._evict() for _ in range(len(self.members) - self.pool_size)]

    def _evict(self) -> Member:
        """Remove the member that leaves the smallest hole in the row of ages; never the first or the newest.

        The first shows what has been forgotten since the beginning, the newest is the hardest; in between the
        pool keeps the widest spread of ages it can, so that every phase of play has somebody left who
        remembers it. Of equal holes the oldest is made: the learner is tested most near the present.
        """
        if len(self.members) <= 2:
            return self.members.pop(0)
        steps = [member.environment_steps for member in self.members]
        holes = [steps[i + 1] - steps[i - 1] for i in range(1, len(steps) - 1)]
        return self.members.pop(1 + holes.index(min(holes)))

    def find(self, name: str) -> Member | None:
        """The snapshot of that name, or None."""
        return next((member for member in self.members if member.name == name), None)

    def probabilities(self) -> dict[str, float]:
        """PFSP probability of each snapshot in the pool."""
        weights = pfsp_weights([member.win_rate for member in self.members], self.pfsp, self.power)
        return {member.name: float(weight) for member, weight in zip(self.members, weights, strict=True)}

    def draw(self, count: int, generator: np.random.Generator) -> list[str]:
        """Up to `count` different snapshots, drawn by PFSP without putting back.

        A member whose weight is zero is drawn only when the others do not suffice.
        """
        names = [member.name for member in self.members]
        rates = [member.win_rate for member in self.members]
        drawn: list[str] = []
        while names and len(drawn) < count:
            index = int(generator.choice(len(names), p=pfsp_weights(rates, self.pfsp, self.power)))
            drawn.append(names.pop(index))
            rates.pop(index)
        return drawn

    def record(self, name: str, result: int) -> None:
        """Count a round (+1 won by the learner, 0 drawn, -1 lost) against a kind but "past", or a snapshot.

        A snapshot may have been evicted while its last round was in play; then only its kind's record counts.
        """
        self.kinds[name if name in self.kinds else "past"].record(result, KIND_RATE)
        member = self.kinds[name] if name in BASIC else self.find(name)
        if member is None:
            return
        change = ELO_STEP * (score(result) - expected_score(self.rating, member.rating))
        self.rating += change
        if name != ANCHOR:
            member.rating -= change
        if name not in BASIC:
            member.record(result)

    def to_json(self) -> dict[str, Any]:
        """Everything but the settings, as JSON values; `restore` takes it back exactly."""
        kinds = [asdict(kind) for kind in self.kinds.values()]
        return {"rating": self.rating, "kinds": kinds, "members": [asdict(m) for m in self.members]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `to_json` gave; a pool that has been made smaller since then is thinned out."""
        self.rating = float(state["rating"])
        self.kinds = {kind.name: kind for kind in _members(state["kinds"])}
        self.members = _members(state["members"])
        while len(self.members) > self.pool_size:
            self._evict()


def _members(states: Iterable[Mapping[str, Any]]) -> list[Member]:
    return [Member(**state) for state in states]
