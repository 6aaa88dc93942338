"""The league: the record against each opponent, a bounded pool of past selves, who of them to play next, and ratings.

A past self enters by an examination: the learner must take enough points from the basic opponents and from the newest
member, so that the pool holds selves worth playing against, however long the run is. Who of them is met is chosen by
prioritised fictitious self-play (PFSP; Vinyals et al. 2019, "Grandmaster level in StarCraft II", methods): the weight
of a member is `(1 - w)^2`, `w` being the learner's win rate against it, with a part for everybody alike. The ratings
are Elo's, with the weak basic opponent fixed at 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from competitor.config import PAST, SELF

UNKNOWN_WIN_RATE = 0.5
RECENT_RATE = 0.05  # weight of the newest round once a member has played 20: the learner changes, so old rounds fade
LISTED_RATE = 0.01  # the same for an opponent of the list, against which hundreds of rounds are played
PFSP_POWER = 2.0  # those the learner loses to; with 1 the pool's weak half still takes a third of the rounds
PFSP_FLOOR = 0.1  # share drawn evenly: who is beaten at 95 % would else be met 1 % as often as an equal, and forgotten
EXAM_ROUNDS = 50  # against the newest member before it can be said to be beaten; the error of their points is 0.06
MOST_OTHER_START = 0.75  # of the rounds begun by the other: the own kick-off must not be forgotten either
START_FLOOR = 0.1  # points added to what is lost by either kick-off: nobody's share hangs on a lucky run
BASIC = ("weak", "strong")
ELO_STEP = 8.0  # small: hundreds of rounds a minute are played, and a rating should not wander by more than about 30
ELO_SCALE = 400.0
ANCHOR = "weak"
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # checked where a saved league is read, see facts


@dataclass
class Member:
    """One opponent as the league knows it; counts are seen from the learner's side.

    `win_rate` is a moving average of the learner's score (1 won, 0.5 drawn, 0 lost); `own_start` and `other_start` are
    the same over the rounds that the learner and the other began.
    """

    name: Annotated[str, Field(min_length=1)]
    environment_steps: Count
    rating: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    wins: Count = 0
    draws: Count = 0
    losses: Count = 0
    win_rate: Rate = UNKNOWN_WIN_RATE
    own_start: Rate = UNKNOWN_WIN_RATE
    other_start: Rate = UNKNOWN_WIN_RATE

    @property
    def games(self) -> int:
        """Rounds the learner has played against it."""
        return self.wins + self.draws + self.losses

    @property
    def points(self) -> float:
        """The learner's share of the points in all these rounds."""
        return (self.wins + 0.5 * self.draws) / max(1, self.games)

    @property
    def other_start_share(self) -> float:
        """How many of the next rounds the other should begin: more than half as long as more is lost there."""
        own, other = 1.0 - self.own_start + START_FLOOR, 1.0 - self.other_start + START_FLOOR
        return min(max(0.5, other / (own + other)), MOST_OTHER_START)

    def record(self, result: int, recent_rate: float = RECENT_RATE, *, own_start: bool = True) -> None:
        """Add a round: +1 won, 0 drawn, -1 lost by the learner. The unknown rate weighs as one round."""
        rate = max(recent_rate, 1.0 / (self.games + 2))
        self.win_rate += rate * (score(result) - self.win_rate)
        if own_start:
            self.own_start += rate * (score(result) - self.own_start)
        else:
            self.other_start += rate * (score(result) - self.other_start)
        self.wins += result > 0
        self.draws += result == 0
        self.losses += result < 0


def score(result: int) -> float:
    """1 for a win (+1), 0.5 for a draw (0), 0 for a loss (-1)."""
    return 0.5 * (result + 1)


def pfsp_weights(win_rates: Sequence[float]) -> np.ndarray:
    """Choice probabilities (n,) for opponents against whom the learner's win rates are `win_rates`.

    PFSP_FLOOR of it is even; when the learner always wins against all of them, all are equally likely.
    """
    weights = (1.0 - np.clip(np.asarray(win_rates, dtype=np.float64), 0.0, 1.0)) ** PFSP_POWER
    even, total = np.full(len(weights), 1.0 / max(1, len(weights))), weights.sum()
    return even if total <= 0.0 else np.asarray(PFSP_FLOOR * even + (1.0 - PFSP_FLOOR) * weights / total)


def expected_score(rating: float, opponent: float) -> float:
    """Elo's expected score of a player of `rating` against one of `opponent`."""
    return float(1.0 / (1.0 + 10.0 ** ((opponent - rating) / ELO_SCALE)))


class League:
    """The record against each listed opponent, the pool of snapshots, and the learner's rating.

    opponents: as in [league.opponents]. `pool_size` bounds the snapshots, which count together as "past".
    """

    def __init__(self, opponents: Iterable[str], pool_size: int) -> None:
        self.pool_size = pool_size
        self.rating = 0.0
        self.opponents = {name: Member(name, 0) for name in opponents}
        self.members: list[Member] = []

    def is_examined(self, basic: float, newest: float) -> bool:
        """Whether the learner may enter, by its points against the listed basic opponents and the newest member.

        Points in training, with sampled actions: those against the basic opponents over about the last hundred rounds,
        those against the newest member over all, which must be EXAM_ROUNDS at least.
        """
        basics = [self.opponents[name].win_rate for name in BASIC if name in self.opponents]
        last = self.members[-1] if self.members and PAST in self.opponents else None
        beaten = last is None or newest == 0.0 or (last.games >= EXAM_ROUNDS and last.points >= newest)
        return beaten and all(rate >= basic for rate in basics)

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
        return next((member for member in self.members if member.name == name), None)

    def draw(self, count: int, generator: np.random.Generator, *, evenly: bool = False) -> list[str]:
        """Up to `count` different snapshots, drawn without putting back, by PFSP or all alike.

        The newest is always among them until it has been met often enough to be examined against.
        """
        members, drawn = list(self.members), list[str]()
        if members and members[-1].games < EXAM_ROUNDS and not evenly:
            drawn.append(members.pop().name)
        while members and len(drawn) < count:
            rates = [0.0 if evenly else member.win_rate for member in members]
            drawn.append(members.pop(int(generator.choice(len(members), p=pfsp_weights(rates)))).name)
        return drawn

    def record(self, name: str, result: int, *, own_start: bool = True) -> None:
        """Count a round (+1 won by the learner, 0 drawn, -1 lost) against a listed opponent or a snapshot.

        own_start: the learner began it.

        A snapshot may have been evicted, and an opponent struck off the list, while its last round was in play: then
        only the record of past selves counts, or none.
        """
        listed = self.opponents.get(self.listed_as(name))
        if listed is not None:
            listed.record(result, LISTED_RATE, own_start=own_start)
        snapshot = self.find(name)
        if snapshot is not None:
            snapshot.record(result, own_start=own_start)
        rated = snapshot or (listed if listed is not None and listed.name not in (SELF, PAST) else None)
        if rated is not None:
            self._rate(rated, result)

    def listed_as(self, name: str) -> str:
        """The entry of the list under which rounds against `name` count: itself, or "past" for a snapshot."""
        return name if name in self.opponents else PAST

    def _rate(self, member: Member, result: int) -> None:
        change = ELO_STEP * (score(result) - expected_score(self.rating, member.rating))
        self.rating += change
        if member.name != ANCHOR:
            member.rating -= change

    def to_json(self) -> dict[str, Any]:
        """Everything but the settings, as JSON values; `restore` takes it back exactly."""
        opponents = [asdict(member) for member in self.opponents.values()]
        return {"rating": self.rating, "opponents": opponents, "members": [asdict(m) for m in self.members]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `to_json` gave, as far as it is still listed; a smaller pool is thinned out.

        Raises KeyError, TypeError and ValueError for a state that is damaged.
        """
        self.rating = float(state["rating"])
        saved = _members(state["opponents"])
        self.opponents |= {member.name: member for member in saved if member.name in self.opponents}
        self.members = _members(state["members"])
        while len(self.members) > self.pool_size:
            self._evict()


def _members(states: Iterable[Mapping[str, Any]]) -> list[Member]:
    return [Member(**state) for state in states]
