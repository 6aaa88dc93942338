"""Who scored in each round of a match.

A server tells the score at the end, never who scored when, and the last state of a round is sent to nobody. But
the rink decides about a goal at the start of a step, by where the puck lies then: playing one step from the last
observation of a round says whether a goal fell and for whom, whatever the opponent did in that step. That
guess is right in every recorded game and in every round played for tests/competitor/play/test_outcomes.py. The
score and the length of the rounds check it, and decide where an observation was broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from competitor.play.finished_match import FinishedMatch
from competitor.rink import HockeyEnv
from competitor.rink.constants import MOST_STEPS

RoundResult = int | None
"""+1 won, 0 drawn, -1 lost, None where it is not known or the round was not played to its end."""
Starter = Literal["own", "other"]
Floats = NDArray[np.float64]
Score = tuple[int, int]

MOST_ROUNDS = 100  # a match of more is not made sense of
IDLE = np.zeros(4)

# The most that an observation of a rink can hold: positions, angles, speeds and counters, generously.
_RACKET = (10.0, 10.0, 100.0, 500.0, 500.0, 500.0)
LARGEST = np.array((*_RACKET, *_RACKET, 10.0, 10.0, 500.0, 500.0, 100.0, 100.0))


@dataclass(frozen=True)
class PlayedRound:
    """A round within a match: steps rows from row `first` on."""

    first: int
    steps: int
    starter: Starter | None  # on whose side the puck lay at the start
    result: RoundResult
    final: Floats | None  # (18,) the observation after the last step, as far as it can be known; see LastStep


@dataclass(frozen=True)
class LastStep:
    """What the rink says about the last step of a round.

    obs (18,): the observation that nobody was sent. Where the opponent's action is not known, it did nothing: own
    racket and puck are nearly always exact, the opponent's racket is up to 0.05 units off. winner: +1, 0 or -1.
    """

    obs: Floats
    winner: int


def plausible(obs: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which rows of obs (n, 18 or 16) a rink can have sent: finite, and nothing far outside of it."""
    return np.asarray((np.abs(obs) <= LARGEST[: obs.shape[1]]).all(axis=1))


def last_step(obs: Floats, action: Floats, opponent: Floats = IDLE) -> LastStep | None:
    """Play one step from obs (18,) with the actions (4,) of both; None when no rink can have sent `obs`."""
    if not plausible(obs[None]).all():
        return None
    rink = HockeyEnv()
    rink.reset(one_starting=True, seed=0)
    rink.set_state(obs)
    final, _, _, _, info = rink.step(np.concatenate((action, opponent)))
    return LastStep(final, int(info["winner"]))


def rounds_of(match: FinishedMatch) -> list[PlayedRound]:
    """Return the rounds of a match in order, with their results where they can be known."""
    firsts = [row for row, is_first in enumerate(match.is_first) if is_first or row == 0]
    ends = [*firsts[1:], len(match.is_first)] if firsts else []
    opponent = np.zeros_like(match.actions) if match.opponent_actions is None else match.opponent_actions
    played = ends if len(ends) <= MOST_ROUNDS else []
    lasts = [last_step(match.obs[end - 1], match.actions[end - 1], opponent[end - 1]) for end in played]
    lasts += [None] * (len(ends) - len(played))
    lengths = [end - first for first, end in zip(firsts, ends, strict=True)]
    guesses = [None if last is None else last.winner for last in lasts]
    return [
        PlayedRound(first, steps, _starter(match.obs[first, 12]), result, None if last is None else last.obs)
        for first, steps, result, last in zip(firsts, lengths, _results(match, guesses, lengths), lasts, strict=True)
    ]


def _starter(puck_x: float) -> Starter | None:
    return "own" if puck_x < 0 else "other" if puck_x > 0 else None


def _results(match: FinishedMatch, guesses: Sequence[RoundResult], lengths: Sequence[int]) -> list[RoundResult]:
    if match.ending != "abandoned":
        return settle(guesses, lengths, (match.own, match.other), all_played=match.ending == "played")
    # Nobody sent a score. The last round was cut, unless its last step decides it.
    return [guess if guess in _prices(guess, steps) else None for guess, steps in zip(guesses, lengths, strict=True)]


def with_known_score(match: FinishedMatch, rounds: Sequence[PlayedRound]) -> FinishedMatch:
    """Return an abandoned match with the score of its rounds as far as it is known, marked as inferred; else `match`.

    A connection can break after the last step and before the score: the server may have counted the match.
    """
    results = [played.result for played in rounds]
    if match.ending != "abandoned" or all(result is None for result in results):
        return match
    return replace(match, own=results.count(1), other=results.count(-1), inferred=True)


def settle(
    guesses: Sequence[RoundResult], lengths: Sequence[int], score: Score, *, all_played: bool
) -> list[RoundResult]:
    """Return the results of the rounds that agree with the score and differ least from the guesses.

    lengths: steps per round. all_played: False when the match ended within its last round. A result is None where
    equally good answers differ, and everywhere when nothing agrees with the score.
    """
    nothing: list[RoundResult] = [None] * len(guesses)
    if len(guesses) > MOST_ROUNDS:
        return nothing
    ways: dict[Score, _Way] = {(0, 0): _Way(0, ())}
    for number, (guess, steps) in enumerate(zip(guesses, lengths, strict=True), start=1):
        prices = _prices(guess, steps)
        if number == len(guesses):
            prices[None] = 2 if all_played else int(guess in (1, -1))
        ways = _continued(ways, prices, score)
    return list(ways[score].results) if score in ways else nothing


@dataclass(frozen=True)
class _Way:
    """The best ways to one score: how many guesses they contradict, and the results they have in common."""

    cost: int
    results: tuple[RoundResult, ...]

    def joined(self, other: _Way | None) -> _Way:
        if other is None or self.cost < other.cost:
            return self
        if other.cost < self.cost:
            return other
        pairs = zip(self.results, other.results, strict=True)
        return _Way(self.cost, tuple(mine if mine == yours else None for mine, yours in pairs))


def _prices(guess: RoundResult, steps: int) -> dict[RoundResult, int]:
    """The results a round of so many steps can have, 1 for those that contradict the guess and 0 for others."""
    possible = (1, -1) if steps < MOST_STEPS else (1, -1, 0)
    return {result: int(guess is not None and guess != result) for result in possible}


def _continued(ways: Mapping[Score, _Way], prices: Mapping[RoundResult, int], limit: Score) -> dict[Score, _Way]:
    """The best ways after one more round; those beyond the final score are left out."""
    longer: dict[Score, _Way] = {}
    for (own, other), way in ways.items():
        for result, price in prices.items():
            score = own + (result == 1), other + (result == -1)
            if score[0] <= limit[0] and score[1] <= limit[1]:
                step = _Way(way.cost + price, (*way.results, result))
                longer[score] = step.joined(longer.get(score))
    return longer
