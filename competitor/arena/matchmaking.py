"""Who plays whom: a pure function of the queue.

People come first. The one who has waited longest draws a partner, those near to him on the leaderboard being more
likely (a Gaussian on the distance) and those far from him only possible once the two have waited. Somebody who
is alone gets an opponent of the house, though not before a tick has gone by in which somebody else could come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

Who = TypeVar("Who")

WIDTH = 20.0  # leaderboard points at which two players are not likely to be matched any more
PEAK = 0.5
THRESHOLD = 0.3
BONUS = 0.05  # for each tick that one of the two has waited: after 6 of them (3 each, say) any two players may meet
TICKS_BEFORE_BOT = 1


@dataclass(frozen=True)
class Waiting(Generic[Who]):
    """A place in the queue: the account, what the leaderboard shows for it, and the ticks that it has waited."""

    who: Who
    user: str
    is_bot: bool
    value: float
    ticks: int


def quality(one: Waiting[Who], two: Waiting[Who]) -> float:
    """How well a match of the two would fit, more than 0."""
    distance = (one.value - two.value) / WIDTH
    return PEAK * math.exp(-0.5 * distance * distance) + BONUS * (one.ticks + two.ticks)


def pair_up(queue: Sequence[Waiting[Who]], random: Random) -> list[tuple[Who, Who]]:
    """The matches to begin now; the first of a pair is the first player. Those first in the queue choose first."""
    people = [one for one in queue if not one.is_bot]
    bots = [one for one in queue if one.is_bot]
    pairs, alone = _among_people(people, random)
    for one in alone:
        if not bots:
            break
        bot = _draw(one, bots, random)
        bots.remove(bot)
        pairs.append((one, bot))
    return [_sides_drawn(one, two, random) for one, two in pairs]


Pair = tuple[Waiting[Who], Waiting[Who]]


def _among_people(people: list[Waiting[Who]], random: Random) -> tuple[list[Pair[Who]], list[Waiting[Who]]]:
    """Pairs of people, and those who have been alone for long enough."""
    pairs: list[Pair[Who]] = []
    waiting = list(people)
    for one in people:
        if one not in waiting:
            continue
        near = [two for two in waiting if two.user != one.user and quality(one, two) >= THRESHOLD]
        if near:
            partner = _draw(one, near, random)
            waiting.remove(one)
            waiting.remove(partner)
            pairs.append((one, partner))
    alone = [one for one in waiting if all(two.user == one.user for two in waiting)]
    return pairs, [one for one in alone if one.ticks >= TICKS_BEFORE_BOT]


def _draw(one: Waiting[Who], partners: list[Waiting[Who]], random: Random) -> Waiting[Who]:
    return random.choices(partners, [quality(one, two) for two in partners])[0]


def _sides_drawn(one: Waiting[Who], two: Waiting[Who], random: Random) -> tuple[Who, Who]:
    return (one.who, two.who) if random.random() < 0.5 else (two.who, one.who)
