"""Formulas against known values, and the properties that hold for any counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competitor.errors import ConfigError
from competitor.evaluate.statistics import (
    PAIR_SCORES,
    Sprt,
    bradley_terry,
    elo_difference,
    elo_with_error,
    expected_score,
    likelihood_of_superiority,
    mean_and_variance,
    normalised_elo_with_error,
    paired_interval,
    wilson_interval,
)

fixed = settings(derandomize=True, deadline=None, max_examples=60)
counts_of_pairs = st.lists(st.integers(0, 3000), min_size=5, max_size=5)
scores = st.floats(0.0, 1.0)
TYPICAL = [10, 30, 40, 60, 60]


def test_wilson_known_values() -> None:
    assert wilson_interval(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@fixed
@given(st.integers(1, 5000), st.data())
def test_wilson_contains_the_rate_and_is_symmetric(trials: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, trials))
    low, high = wilson_interval(wins, trials)
    assert 0.0 <= low <= wins / trials <= high <= 1.0
    mirrored = wilson_interval(trials - wins, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_elo_known_values() -> None:
    assert elo_difference(0.5) == 0.0
    assert elo_difference(0.75) == pytest.approx(190.85, abs=0.01)
    assert elo_difference(10 / 11) == pytest.approx(400.0)
    assert elo_difference(1.0) == elo_difference(0.999) == pytest.approx(1199.83, abs=0.01)


@fixed
@given(scores, scores)
def test_elo_is_monotonic_symmetric_and_finite(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert elo_difference(low) <= elo_difference(high)
    assert elo_difference(1 - one) == pytest.approx(-elo_difference(one), abs=1e-6)
    assert abs(elo_difference(one)) < 1200


@fixed
@given(st.floats(-1190, 1190))
def test_expected_score_inverts_elo(elo: float) -> None:
    assert elo_difference(expected_score(elo)) == pytest.approx(elo, abs=1e-6)


@fixed
@given(counts_of_pairs)
def test_everything_is_finite_and_antisymmetric(counts: list[int]) -> None:
    mirrored = counts[::-1]
    for estimate in (elo_with_error, normalised_elo_with_error):
        value, error = estimate(counts)
        assert math.isfinite(value) and math.isfinite(error) and error > 0
        assert estimate(mirrored) == pytest.approx((-value, error), rel=1e-6, abs=1e-6)
    certainty = likelihood_of_superiority(counts) + likelihood_of_superiority(mirrored)
    assert certainty == pytest.approx(1.0, abs=1e-9)


def test_pair_variance_sees_that_sides_decide() -> None:
    """Every pair is one win and one loss: the rounds vary, the pairs do not, and the error says so."""
    assert mean_and_variance([0, 0, 100, 0, 0]) == (0.5, 0.0)
    assert elo_with_error([0, 0, 100, 0, 0])[1] < elo_with_error([25, 0, 50, 0, 25])[1] / 4


def test_error_of_independent_rounds_is_the_textbook_one() -> None:
    """1,000 rounds near 50 % without draws: about +-22 Elo."""
    assert elo_with_error([125, 0, 250, 0, 125])[1] == pytest.approx(21.6, abs=0.3)


def test_elo_interval_covers_the_truth_about_19_times_in_20() -> None:
    chances = np.array([0.05, 0.15, 0.3, 0.3, 0.2])
    truth = elo_difference(float(chances @ PAIR_SCORES))
    samples = np.random.default_rng(9).multinomial(200, chances, size=1500)
    estimates = [elo_with_error(sample.tolist()) for sample in samples]
    covered = np.mean([abs(elo - truth) <= error for elo, error in estimates])
    assert 0.93 < covered < 0.97


def test_all_won_is_bounded_away_from_certainty() -> None:
    elo, error = elo_with_error([0, 0, 0, 0, 500])
    assert elo == pytest.approx(1199.8, abs=0.1)
    assert error == pytest.approx(elo_with_error([5, 0, 0, 0, 0])[1], rel=0.1) and 300 < error < 400


def test_normalised_elo_does_not_depend_on_the_number_of_rounds() -> None:
    few, many = normalised_elo_with_error(TYPICAL), normalised_elo_with_error([100 * n for n in TYPICAL])
    assert few[0] == pytest.approx(many[0], rel=0.03)
    assert few[1] == pytest.approx(10 * many[1], rel=0.01)
    level = normalised_elo_with_error([1000, 3000, 12000, 3000, 1000])
    assert level[1] == pytest.approx(1.96 * 800 / math.log(10) / math.sqrt(40000), rel=0.01)


def resampled(counts: list[int], samples: int = 4000) -> np.ndarray:
    """The bootstrap: normalised Elo of as many pairs drawn again and again from those that were played."""
    drawn = np.random.default_rng(3).multinomial(sum(counts), np.array(counts) / sum(counts), size=samples)
    weights = drawn / drawn.sum(axis=1, keepdims=True)
    means = weights @ PAIR_SCORES
    variances = (weights * (PAIR_SCORES - means[:, None]) ** 2).sum(axis=1)
    return 800 / math.log(10) * (means - 0.5) / np.sqrt(2 * variances)


@pytest.mark.parametrize(
    "counts",
    [
        [100, 100, 100, 100, 100],
        [50, 80, 140, 130, 100],
        [20, 40, 60, 180, 200],
        [2, 3, 20, 75, 400],
        [0, 1, 9, 40, 450],
        [450, 40, 9, 1, 0],
        [0, 0, 30, 0, 470],
        [3, 1, 5, 10, 481],
        [1, 0, 3, 20, 476],
    ],
)
def test_the_error_of_normalised_elo_is_that_of_a_bootstrap(counts: list[int]) -> None:
    _, error = normalised_elo_with_error(counts)
    low, high = np.percentile(resampled(counts), [2.5, 97.5])
    assert error == pytest.approx((high - low) / 2, rel=0.25)


@pytest.mark.parametrize("counts", [[0, 0, 0, 20, 480], [0, 0, 0, 200, 100]])
def test_what_was_never_seen_widens_the_error_of_normalised_elo(counts: list[int]) -> None:
    """A bootstrap draws no pair that was not played; the virtual ones stand for those that might have been lost."""
    low, high = np.percentile(resampled(counts), [2.5, 97.5])
    assert normalised_elo_with_error(counts)[1] > (high - low) / 2


def drawn_pairs(rate: float, same: float, pairs: int, samples: int) -> np.ndarray:
    """Pairs with 0, 1 and 2 rounds won, (samples, 3): both rounds of a pair are one and the same with chance `same`."""
    apart, both = 1 - same, np.array([1 - rate, 0, rate])
    chances = same * both + apart * np.array([(1 - rate) ** 2, 2 * rate * (1 - rate), rate**2])
    return np.random.default_rng(8).multinomial(pairs, chances, size=samples)


@pytest.mark.parametrize("same", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize(("rate", "pairs"), [(0.5, 10), (0.5, 100), (0.8, 50), (0.97, 100), (0.97, 500)])
def test_the_interval_of_the_win_rate_holds_however_alike_the_rounds_of_a_pair_are(
    rate: float, pairs: int, same: float
) -> None:
    intervals = [paired_interval(counts.tolist()) for counts in drawn_pairs(rate, same, pairs, 1500)]
    assert np.mean([low <= rate <= high for low, high in intervals]) > 0.935


def test_pairs_that_are_independent_rounds_give_wilsons_interval() -> None:
    assert paired_interval([250, 500, 250]) == pytest.approx(wilson_interval(1000, 2000), abs=2e-4)
    assert paired_interval([500, 0, 500]) == pytest.approx(wilson_interval(500, 1000), abs=2e-4)
    assert paired_interval([0, 1000, 0]) == pytest.approx(wilson_interval(1000, 2000), abs=2e-4)
    assert paired_interval([0, 0, 0]) == (0.0, 1.0)


@fixed
@given(st.lists(st.integers(0, 3000), min_size=3, max_size=3).filter(any))
def test_the_paired_interval_contains_the_rate_and_is_symmetric(pairs: list[int]) -> None:
    low, high = paired_interval(pairs)
    rate = (pairs[1] + 2 * pairs[2]) / (2 * sum(pairs))
    assert 0 <= low <= rate + 1e-12 and rate - 1e-12 <= high <= 1
    assert paired_interval(pairs[::-1]) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    plain = wilson_interval(pairs[1] + 2 * pairs[2], 2 * sum(pairs))
    assert high - low >= plain[1] - plain[0] - 1e-12


def test_likelihood_of_superiority_known_values() -> None:
    assert likelihood_of_superiority([10, 20, 40, 20, 10]) == pytest.approx(0.5)
    assert likelihood_of_superiority([0, 0, 0, 0, 0]) == pytest.approx(0.5)
    assert likelihood_of_superiority(TYPICAL) > 0.999


def test_sprt_bounds_and_validation() -> None:
    assert Sprt(0, 5).bounds == pytest.approx((-2.944, 2.944), abs=1e-3)
    for wrong in ((5, 0, 0.05, 0.05), (0, 5, 0.6, 0.5), (0, 5, 0.0, 0.05), (math.nan, 5, 0.05, 0.05)):
        with pytest.raises(ConfigError, match="SPRT needs"):
            Sprt(*wrong)
    for far in ((0, 7000), (-7000, 0), (0, math.inf), (-math.inf, math.inf), (0, 1201)):
        with pytest.raises(ConfigError, match="both from -1200 to 1200"):
            Sprt(*far)


@fixed
@given(counts_of_pairs, st.lists(st.floats(-1199, 1199), min_size=2, max_size=2, unique=True))
def test_every_test_that_can_be_made_can_be_taken(counts: list[int], elos: list[float]) -> None:
    test = Sprt(min(elos), max(elos))
    assert math.isfinite(test.log_likelihood_ratio(counts)) and test.decision(counts) in ("H0", "H1", "open")


def test_sprt_without_rounds_or_with_one_pair_is_open() -> None:
    test = Sprt(0, 50)
    assert test.log_likelihood_ratio([0] * 5) == 0.0
    for place in range(5):
        counts = [0] * 5
        counts[place] = 1
        assert test.decision(counts) == "open"


def test_sprt_agrees_with_the_normal_approximation_on_many_pairs() -> None:
    """LLR ~ n (s1 - s0) (2 mean - s0 - s1) / (2 variance), valid for small differences."""
    counts = [2000, 5000, 8000, 5200, 2100]
    mean, variance = mean_and_variance(counts)
    low, high = expected_score(0), expected_score(5)
    approximate = sum(counts) * (high - low) * (2 * mean - low - high) / (2 * variance)
    assert Sprt(0, 5).log_likelihood_ratio(counts) == pytest.approx(approximate, rel=0.02)


@pytest.mark.parametrize(("elo", "decision"), [(0.0, "H0"), (40.0, "H1")])
def test_sprt_is_wrong_about_as_seldom_as_it_promises(elo: float, decision: str) -> None:
    test, right, tries = Sprt(0, 40), 0, 120
    random = np.random.default_rng(5)
    win = expected_score(elo)
    for _ in range(tries):
        counts = [0] * 5
        while (verdict := test.decision(counts)) == "open":
            for wins in random.binomial(2, win, size=20):
                counts[2 * int(wins)] += 1
        right += verdict == decision
    assert right / tries > 0.9


def test_bradley_terry_of_two_is_the_elo_difference() -> None:
    counts = [100, 300, 400, 600, 600]
    ratings, errors = bradley_terry({(0, 1): counts}, 2)
    assert ratings[0] - ratings[1] == pytest.approx(elo_with_error(counts)[0], rel=0.01)
    # Each of the two carries half of the difference, and so half of its error.
    assert 2 * errors[0] == pytest.approx(elo_with_error(counts)[1], rel=0.02)


def test_bradley_terry_recovers_strengths() -> None:
    truth = np.array([200.0, 50.0, -50.0, -200.0])
    random = np.random.default_rng(2)
    counts = {}
    for i in range(4):
        for j in range(i + 1, 4):
            wins = random.binomial(2, expected_score(truth[i] - truth[j]), size=600)
            counts[i, j] = [int((wins == 0).sum()), 0, int((wins == 1).sum()), 0, int((wins == 2).sum())]
    ratings, errors = bradley_terry(counts, 4)
    assert np.all(np.abs(ratings - truth) < 2 * errors)
    assert np.all(errors < 15)


@fixed
@given(st.lists(counts_of_pairs, min_size=3, max_size=3))
def test_bradley_terry_is_finite_centred_and_order_free(meetings: list[list[int]]) -> None:
    table = {(0, 1): meetings[0], (0, 2): meetings[1], (1, 2): meetings[2]}
    ratings, errors = bradley_terry(table, 3)
    assert np.isfinite(ratings).all() and np.isfinite(errors).all() and abs(ratings.sum()) < 1e-6
    renamed = {(2 - i, 2 - j): counts for (i, j), counts in table.items()}
    assert np.allclose(bradley_terry(renamed, 3)[0][::-1], ratings, atol=0.01)


def test_bradley_terry_of_players_that_never_met_is_level() -> None:
    ratings, errors = bradley_terry({}, 3)
    assert not ratings.any() and not errors.any()
