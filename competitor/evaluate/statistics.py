"""What the results of rounds say: intervals, Elo, likelihoods, sequential tests and ratings. Pure functions.

Rounds come in pairs: the same start of the puck played twice with the sides exchanged. The two rounds of a
pair are not independent, so the errors of a player's results are computed from pairs, the unit that is; the plain
`wilson_interval` is for trials that are independent themselves. A pair scores the mean of its two rounds (loss 0,
draw 1/2, win 1): one of the five `PAIR_SCORES`. "Counts" below are how many pairs scored each.

Results at the edge (all won, all lost) have no variance of their own. Two conventions keep every number
finite: point estimates clamp the score to [0.001, 0.999], and errors are computed as if one more pair had
been won and one more lost (the remedy of Agresti and Coull 1998, "Approximate is better than exact", in units
of pairs).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competitor.errors import ConfigError

Floats = NDArray[np.float64]
Z95 = 1.959963984540054
ELO_PER_NAT = 400.0 / math.log(10.0)
SCORE_CLAMP = 1e-3
PAIR_SCORES: Floats = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of a proportion; (0, 1) when nothing was tried.

    E. B. Wilson 1927, "Probable inference, the law of succession, and statistical inference":
    centre (p + z^2/2n) / (1 + z^2/n), half-width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    """
    if trials == 0:
        return 0.0, 1.0
    rate, widening = successes / trials, Z95**2 / trials
    centre = (rate + widening / 2) / (1 + widening)
    half = Z95 * math.sqrt(rate * (1 - rate) / trials + widening / (4 * trials)) / (1 + widening)
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def paired_interval(pairs: Sequence[int]) -> tuple[float, float]:
    """Return the 95 % interval of the share of rounds won, from how many pairs had 0, 1 and 2 of them won.

    Wilson's interval for as many independent rounds as the paired ones are worth: their number divided by the
    design effect (L. Kish 1965, "Survey sampling"), the variance of a pair's mean over that of the mean of two
    independent rounds. It is taken with one more pair of either extreme, so that few pairs do not look more
    independent than they may be, and never below 1. (0, 1) without pairs.
    """
    won, rounds = pairs[1] + 2 * pairs[2], 2 * sum(pairs)
    if not rounds:
        return 0.0, 1.0
    counts = np.asarray(with_virtual_pairs(pairs), dtype=np.float64)
    shares = np.array([0.0, 0.5, 1.0])
    rate = float(counts @ shares / counts.sum())
    variance = float(counts @ (shares - rate) ** 2 / counts.sum())
    effect = max(1.0, 2 * variance / (rate * (1 - rate)))
    return wilson_interval(won / effect, rounds / effect)


def elo_difference(score: float) -> float:
    """Return the Elo difference that predicts `score` (points per round, in [0, 1]).

    A. Elo 1978, "The rating of chessplayers", logistic form: -400 log10(1/s - 1), with s clamped to
    [0.001, 0.999], so that the answer lies within +-1199.83.
    """
    clamped = min(max(score, SCORE_CLAMP), 1 - SCORE_CLAMP)
    return ELO_PER_NAT * (math.log(clamped) - math.log1p(-clamped))


def expected_score(elo: float) -> float:
    """Return the points per round that an Elo difference predicts, the inverse of `elo_difference`."""
    return 0.5 * (1.0 + math.tanh(elo / ELO_PER_NAT / 2.0))


def mean_and_variance(counts: Sequence[float]) -> tuple[float, float]:
    """Return mean and variance of one pair's score from counts of the five outcomes; none: (1/2, 0)."""
    weights = np.asarray(counts, dtype=np.float64)
    if not weights.sum():
        return 0.5, 0.0
    weights = weights / weights.sum()
    mean = float(weights @ PAIR_SCORES)
    return mean, float(weights @ (PAIR_SCORES - mean) ** 2)


def with_virtual_pairs(counts: Sequence[int]) -> list[int]:
    """Return the counts with one pair lost and one pair won added (see the module's text)."""
    return [counts[0] + 1, *counts[1:-1], counts[-1] + 1]


def elo_with_error(counts: Sequence[int]) -> tuple[float, float]:
    """Return the Elo difference and the half-width of its 95 % interval, both finite for any counts.

    Delta method: 1.96 sqrt(variance / pairs), from pairs with the virtual ones, times the slope of the Elo
    curve at their mean, (400 / ln 10) / (s (1 - s)).
    """
    mean, _ = mean_and_variance(counts)
    widened = with_virtual_pairs(counts)
    centre, variance = mean_and_variance(widened)
    slope = ELO_PER_NAT / (centre * (1 - centre))
    return elo_difference(mean), Z95 * math.sqrt(variance / sum(widened)) * slope


def normalised_elo_with_error(counts: Sequence[int]) -> tuple[float, float]:
    """Return the normalised Elo difference and the half-width of its 95 % interval.

    M. Van den Bergh 2020, "Normalized Elo": the score's distance from 1/2 in standard deviations of one
    round, (s - 1/2) / sqrt(2 variance of a pair), on the Elo-like scale 800 / ln 10. It says how many rounds
    a difference needs to show, whatever the share of draws.

    The error is `standardised_error` of the pairs, with or without the virtual ones, whichever is larger: virtual
    pairs stand for the lost ones that a strong player did not show, and hide how rare they are where it showed some.
    """
    mean, _ = mean_and_variance(counts)
    widened = with_virtual_pairs(counts)
    _, variance = mean_and_variance(widened)
    error = max(standardised_error(counts), standardised_error(widened))
    scale = 2 * ELO_PER_NAT / math.sqrt(2)
    return scale * (mean - 0.5) / math.sqrt(variance), scale * Z95 * error


def standardised_error(counts: Sequence[int]) -> float:
    """Return the standard error of t, the distance of the pairs' mean from 1/2 in deviations of a pair.

    Delta method for a mean in units of a deviation that is estimated as well (for Sharpe's ratio, which is the same
    quantity: E. Mertens 2002): its variance is (1 - skewness t + (kurtosis - 1) t^2 / 4) / pairs. For players who are
    far apart the second part is all that counts. 0 where all pairs are alike.
    """
    mean, variance = mean_and_variance(counts)
    if not variance:
        return 0.0
    weights, distances = np.asarray(counts) / sum(counts), (PAIR_SCORES - mean) / math.sqrt(variance)
    skewness, kurtosis = float(weights @ distances**3), float(weights @ distances**4)
    t = (mean - 0.5) / math.sqrt(variance)
    return math.sqrt(max(0.0, 1 - skewness * t + (kurtosis - 1) * t**2 / 4) / sum(counts))


def likelihood_of_superiority(counts: Sequence[int]) -> float:
    """Return the probability that the true score exceeds 1/2, as the pairs' mean is about normal."""
    mean, variance = mean_and_variance(with_virtual_pairs(counts))
    deviations = (mean - 0.5) / math.sqrt(variance / (sum(counts) + 2))
    return 0.5 * math.erfc(-deviations / math.sqrt(2.0))


@dataclass(frozen=True)
class Sprt:
    """A sequential test of H1 "the Elo difference is elo1" against H0 "it is elo0".

    A. Wald 1945, "Sequential tests of statistical hypotheses": stop when the log-likelihood ratio leaves
    (log(beta / (1 - alpha)), log((1 - beta) / alpha)); alpha and beta are the rates of wrongly accepting H1
    and H0. Raises ConfigError unless elo0 < elo1, both within the scale of `elo_difference`, both rates are positive
    and their sum is below 1.
    """

    elo0: float
    elo1: float
    alpha: float = 0.05
    beta: float = 0.05

    def __post_init__(self) -> None:
        most = elo_difference(1.0)
        if not -most <= self.elo0 < self.elo1 <= most:
            wanted = f"elo0 < elo1, both from {-most:.0f} to {most:.0f}"
            raise ConfigError(f"SPRT needs {wanted}, not {self.elo0:g} and {self.elo1:g}")
        if not (self.alpha > 0 and self.beta > 0 and self.alpha + self.beta < 1):
            raise ConfigError(
                f"SPRT needs alpha and beta above 0 with a sum below 1, not {self.alpha:g} and {self.beta:g}"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the log-likelihood ratios at which H0 and H1 are accepted."""
        return math.log(self.beta / (1 - self.alpha)), math.log((1 - self.beta) / self.alpha)

    def log_likelihood_ratio(self, counts: Sequence[int]) -> float:
        """Return log(likelihood under H1 / likelihood under H0) of the pairs.

        Generalised SPRT (X. Li, J. Liu, Z. Ying 2014; for pairs of games M. Van den Bergh 2019): of all
        distributions over the five outcomes whose mean is a hypothesis' score, the likeliest one stands for
        it. Outcomes not seen yet count as 0.001 pairs, so that such distributions exist.
        """
        if not sum(counts):
            return 0.0
        seen = [max(float(count), 1e-3) for count in counts]
        under = [_likeliest(seen, expected_score(elo)) for elo in (self.elo0, self.elo1)]
        terms = zip(seen, under[0], under[1], strict=True)
        return sum(n * math.log(h1 / h0) for n, h0, h1 in terms)

    def decision(self, counts: Sequence[int]) -> str:
        """Return "H1", "H0", or "open" while the pairs do not decide yet."""
        ratio, (lower, upper) = self.log_likelihood_ratio(counts), self.bounds
        return "H1" if ratio >= upper else "H0" if ratio <= lower else "open"


def _likeliest(counts: Sequence[float], mean: float) -> list[float]:
    """Return the likeliest distribution over PAIR_SCORES with the given mean, for positive counts.

    By Lagrange multipliers it is f_i / (1 + t d_i), f the frequencies, d_i = x_i - mean, and t the root of
    sum f_i d_i / (1 + t d_i). It falls between its poles, so halving the interval finds t.
    """
    total = sum(counts)
    frequencies = [count / total for count in counts]
    distances = [score - mean for score in PAIR_SCORES.tolist()]
    low, high = -1 / distances[-1], -1 / distances[0]
    for _ in range(60):
        middle = (low + high) / 2
        slope = sum(f * d / (1 + middle * d) for f, d in zip(frequencies, distances, strict=True))
        low, high = (middle, high) if slope > 0 else (low, middle)
    multiplier = (low + high) / 2
    return [f / (1 + multiplier * d) for f, d in zip(frequencies, distances, strict=True)]


def bradley_terry(counts: Mapping[tuple[int, int], Sequence[int]], players: int) -> tuple[Floats, Floats]:
    """Return Elo-scaled ratings (players,) with mean 0, and their 95 % errors, from a cross table.

    counts maps (i, j) to the pair counts of i against j. R. A. Bradley and M. E. Terry 1952, "Rank analysis
    of incomplete block designs", draws as half a win, by Newton's method; each meeting is widened by the
    virtual pairs, so that the fit exists. Errors are those of the sandwich estimator H^-1 G H^-1 (P. Huber
    1967), G from pairs. Unlike Elo or OpenSkill updates the result does not depend on the order of the
    rounds.
    """
    meetings = {pair: np.asarray(with_virtual_pairs(seen), np.float64) for pair, seen in counts.items()}
    ratings = np.zeros(players)
    for _ in range(100):
        gradient, hessian, _ = _derivatives(meetings, ratings)
        change = np.linalg.pinv(hessian) @ gradient
        # Bounded: far from the optimum the likelihood is nearly flat and a whole Newton step overshoots.
        ratings = ratings + np.clip(change, -1.0, 1.0)
        ratings -= ratings.mean()
        if np.abs(change).max() < 1e-10:
            break
    _, hessian, scatter = _derivatives(meetings, ratings)
    inverse = np.linalg.pinv(hessian)
    deviations = np.sqrt(np.clip(np.diag(inverse @ scatter @ inverse), 0.0, None))
    return ELO_PER_NAT * ratings, ELO_PER_NAT * Z95 * deviations


def _derivatives(meetings: dict[tuple[int, int], Floats], ratings: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the log-likelihood's gradient, its negative Hessian and the scatter of the pairs' gradients."""
    size = len(ratings)
    gradient, hessian, scatter = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    for (i, j), counts in meetings.items():
        direction = np.zeros(size)
        direction[i], direction[j] = 1.0, -1.0
        expected = 1 / (1 + math.exp(ratings[j] - ratings[i]))
        residuals = 2 * (PAIR_SCORES - expected)  # two rounds a pair
        outer = np.outer(direction, direction)
        gradient += counts @ residuals * direction
        hessian += 2 * counts.sum() * expected * (1 - expected) * outer
        scatter += counts @ residuals**2 * outer
    return gradient, hessian, scatter
