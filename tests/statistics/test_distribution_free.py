"""Permutations, correlations, counts, multiplicity, power and outliers."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from pipeline.statistics.correlation import p_of_correlation, pearson, spearman
from pipeline.statistics.fisher import fisher_exact
from pipeline.statistics.multiplicity import ADJUSTMENTS, METHODS, adjusted_p
from pipeline.statistics.outliers import is_outlier, modified_z
from pipeline.statistics.permutation import permuted_interaction, sign_flipped_change
from pipeline.statistics.power import (
    SampleSize,
    correlation_power,
    correlation_size,
    interaction_d,
    paired_power,
    paired_size,
    two_sample_power,
    two_sample_size,
)

# ---- permutation


def test_p_of_permutations_is_uniform_without_an_effect():
    """Kolmogorov-Smirnov over 500 data sets; skewed values, as no normality is needed."""
    for p in drawn_p(0.0):
        assert uniformity(p) > 0.01
        assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_p_of_permutations_is_not_uniform_with_an_effect():
    """The check above sees a shift of four tenths, and p that are a tenth too small."""
    for p in drawn_p(0.4, sets=200):
        assert uniformity(p) < 1e-4
    for p in drawn_p(0.0):
        assert uniformity(np.maximum(p - 0.1, 0.0)) < 1e-4


@cache
def drawn_p(shift, sets=500):
    """p of exchanged groups and of turned signs, (sets,) each."""
    rng = np.random.default_rng(11)
    exchanged, turned = [], []
    for seed in range(sets):
        a, b = rng.exponential(size=12) + shift, rng.exponential(size=6)
        exchanged.append(permuted_interaction(a, b, seed=seed, draws=199).p)
        turned.append(sign_flipped_change(rng.laplace(size=15) + shift, seed=seed, draws=199).p)
    return np.array(exchanged), np.array(turned)


def uniformity(p):
    """p of Kolmogorov and Smirnov; p lies on multiples of 1 / 200 and is spread in its step."""
    spread = p - np.random.default_rng(12).random(p.size) / 200
    return stats.kstest(spread, "uniform").pvalue


def test_few_exchanges_are_all_taken():
    """Of C(6, 3) = 20 exchanges two are as extreme; of 2^5 = 32 turns of signs two."""
    a, b = np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0])
    assert permuted_interaction(a, b, seed=1).p == pytest.approx(2 / 20)
    assert permuted_interaction(a, b, seed=2).p == pytest.approx(2 / 20)
    assert sign_flipped_change(np.arange(1.0, 6), seed=1).p == pytest.approx(2 / 32)


def test_seed_decides_and_draws_count_the_data_itself():
    rng = np.random.default_rng(12)
    a, b = rng.normal(5, 1, 20), rng.normal(0, 1, 10)
    assert permuted_interaction(a, b, seed=3, draws=999).p == pytest.approx(1 / 1000)
    a, b = rng.normal(0.5, 1, 20), rng.normal(0, 1, 10)
    p = [permuted_interaction(a, b, seed=seed, draws=999).p for seed in (4, 4, 5)]
    assert p[0] == p[1] != p[2]
    # the t test of normal data; standard error of p from 999 draws is .016 at most
    assert p[0] == pytest.approx(stats.ttest_ind(a, b).pvalue, abs=0.06)


def test_permutations_ignore_scale_and_order_of_groups():
    rng = np.random.default_rng(13)
    a, b = rng.normal(0.6, 1, 6), rng.normal(0, 1, 5)
    one, other = permuted_interaction(a, b, seed=0), permuted_interaction(-9 * b, -9 * a, seed=0)
    assert one.p == pytest.approx(other.p)
    assert other.estimate == pytest.approx(9 * one.estimate)


def test_effects_of_permutations_are_those_of_the_t_tests(rng):
    a, b = rng.normal(0.6, 1, 9), rng.normal(0, 1, 7)
    exchanged = permuted_interaction(a, b, seed=0, draws=99)
    factor = math.gamma(7) / (math.sqrt(7) * math.gamma(6.5))
    spread = math.sqrt((8 * a.var(ddof=1) + 6 * b.var(ddof=1)) / 14)
    assert exchanged.effect == pytest.approx(factor * (a.mean() - b.mean()) / spread)
    assert exchanged.effect_low < exchanged.effect < exchanged.effect_high
    levene = stats.levene(a, b, center="median")
    (check,) = exchanged.assumptions
    assert (check.statistic, check.p) == pytest.approx((levene.statistic, levene.pvalue))
    turned = sign_flipped_change(a, seed=0, draws=99)
    assert turned.effect == pytest.approx(a.mean() / a.std(ddof=1))
    ends = math.sqrt(9) * turned.effect_low, math.sqrt(9) * turned.effect_high
    t = math.sqrt(9) * turned.effect
    tails = stats.nct.sf(t, 8, ends[0]), stats.nct.cdf(t, 8, ends[1])
    assert tails == pytest.approx((0.025, 0.025), abs=1e-8)


def test_what_cannot_be_permuted_says_why():
    assert "two in each group" in permuted_interaction(np.ones(1), np.ones(4), seed=0).reason
    test = sign_flipped_change(np.array([1.0, np.nan]), seed=0)
    assert (test.n, test.n_missing) == ((1,), 1)
    assert "two are needed" in test.reason
    assert math.isnan(test.p)


# ---- correlation


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_correlations_turn_sign_with_one_variable_and_ignore_scale(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 12))
    for correlate, scale in ((pearson, lambda v: 2 - 5 * v), (spearman, lambda v: -np.exp(v))):
        one, other, swapped = correlate(x, y), correlate(scale(x), y), correlate(y, x)
        assert other.estimate == pytest.approx(-one.estimate)
        assert other.ci_low == pytest.approx(-one.ci_high)
        assert (other.p, swapped.p) == pytest.approx((one.p, one.p))


def test_pearson_agrees_with_scipy(rng):
    x, y = rng.normal(size=(2, 15))
    theirs, ours = stats.pearsonr(x, y), pearson(x, y)
    interval = theirs.confidence_interval()
    assert (ours.estimate, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (ours.ci_low, ours.ci_high) == pytest.approx((interval.low, interval.high))


def test_checks_of_correlations(rng):
    x, y = rng.exponential(size=20), rng.normal(size=20)
    found = [(check.statistic, check.p) for check in pearson(x, y).assumptions]
    theirs = [stats.shapiro(x), stats.shapiro(y)]
    assert found == [pytest.approx((test.statistic, test.pvalue)) for test in theirs]
    tied = np.array([1.0, 1.0, 2.0, 3.0, 4.0, 4.5]), np.array([3.0, 1.0, 2.0, 7.0, 7.0, 9.0])
    (check,) = spearman(*tied).assumptions
    assert check.statistic == 4  # two share x, two others y
    assert spearman(*tied).p == pytest.approx(stats.spearmanr(*tied).pvalue)
    assert spearman(x, y).assumptions[0].statistic == 0


@pytest.mark.parametrize("n", [4, 6, 7])
def test_p_of_spearman_counts_all_orders(n, rng):
    x, y = rng.normal(size=(2, n))
    theirs = stats.permutation_test(
        (x,), lambda v: stats.spearmanr(v, y).statistic, permutation_type="pairings"
    )
    assert spearman(x, y).p == pytest.approx(theirs.pvalue)


def test_series_of_spearman_meets_the_t_of_many_pairs(rng):
    x, y = rng.normal(size=(2, 300))
    theirs = stats.spearmanr(x, y)
    assert spearman(x, y).p == pytest.approx(theirs.pvalue, abs=1e-3)


@pytest.mark.parametrize("correlate", [pearson, spearman])
def test_correlations_that_cannot_be(correlate):
    few = correlate(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0]))
    assert (few.n, few.n_missing) == ((2,), 1)
    assert "three are needed" in few.reason
    assert correlate(np.ones(4), np.arange(4.0)).reason == "the values do not vary"
    with pytest.raises(ValueError, match="pairs expected"):
        correlate(np.ones(3), np.ones(4))


def test_points_on_a_line():
    test = pearson(np.arange(5.0), 3 - np.arange(5.0))
    assert (test.estimate, test.ci_low, test.ci_high) == pytest.approx((-1, -1, -1))
    assert test.p < 1e-12
    assert p_of_correlation(1.0, 5) == 0


# ---- counts


def test_fisher_laws():
    table = np.array([[9, 4], [3, 8]])
    one, rows, columns, turned = (
        fisher_exact(t) for t in (table, table[::-1], table[:, ::-1], table.T)
    )
    assert (rows.p, columns.p, turned.p) == pytest.approx((one.p,) * 3)
    assert turned.estimate == pytest.approx(one.estimate)
    for test in (rows, columns):
        assert test.estimate == pytest.approx(1 / one.estimate)
        assert test.ci_low == pytest.approx(1 / one.ci_high, rel=1e-4)
    (check,) = one.assumptions
    assert check.statistic == pytest.approx(stats.contingency.expected_freq(table).min())
    # the tails at the ends of the interval are a fortieth each
    low = stats.nchypergeom_fisher.sf(8, 24, 12, 13, one.ci_low)
    high = stats.nchypergeom_fisher.cdf(9, 24, 12, 13, one.ci_high)
    assert (low, high) == pytest.approx((0.025, 0.025), rel=1e-3)


def test_counts_that_cannot_be_tested():
    for table in ([[0, 0], [3, 4]], [[0, 5], [0, 4]]):
        test = fisher_exact(np.array(table))
        assert test.reason == "a group, or an outcome, has no subjects"
        assert math.isnan(test.p)
    for table in ([[1, 2, 3], [4, 5, 6]], [[-1, 2], [3, 4]]):
        with pytest.raises(ValueError, match="2 x 2"):
            fisher_exact(np.array(table))


# ---- multiplicity


@pytest.mark.parametrize("method", ADJUSTMENTS)
def test_adjustment_keeps_order_bounds_and_missing(method, rng):
    p = np.append(rng.random(9), np.nan)
    adjusted = adjusted_p(p, method)
    assert np.isnan(adjusted[-1])
    assert (adjusted[:9] >= p[:9]).all()
    assert (adjusted[:9] <= 1).all()
    order = np.argsort(p[:9])
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted_p(p[::-1], method)[1:] == pytest.approx(adjusted[8::-1])
    assert adjusted_p(np.array([0.03]), method) == pytest.approx([0.03])
    assert np.isnan(adjusted_p(np.full(2, np.nan), method)).all()


def test_every_adjustment_has_its_sentence():
    assert set(METHODS) == set(ADJUSTMENTS)


# ---- power


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_size_and_power_undo_each_other(ratio):
    size = two_sample_size(0.6, 0.8, ratio=ratio)
    assert size.n_a == pytest.approx(ratio * size.n_b)
    assert two_sample_power(0.6, size.n_a, size.n_b) == pytest.approx(0.8, abs=1e-6)
    assert two_sample_size(-0.6, 0.8, ratio=ratio).total == pytest.approx(size.total)
    assert paired_power(0.4, paired_size(0.4, 0.8)) == pytest.approx(0.8, abs=1e-6)


def test_power_without_effect_is_the_level():
    assert two_sample_power(0.0, 20, 10) == pytest.approx(0.05, abs=1e-9)
    assert paired_power(0.0, 20, alpha=0.01) == pytest.approx(0.01, abs=1e-9)


@pytest.mark.parametrize("d", [-0.8, 0.05, 0.506, 1.5])
def test_power_and_sizes_are_those_of_statsmodels(d):
    pairs, groups = TTestPower(), TTestIndPower()
    assert paired_power(d, 20) == pytest.approx(pairs.power(d, 20, 0.05), rel=1e-9)
    theirs = groups.power(d, 20, 0.05, ratio=0.5)
    assert two_sample_power(d, 20, 10) == pytest.approx(theirs, rel=1e-9)
    size = groups.solve_power(abs(d), alpha=0.05, power=0.7, ratio=0.5)
    assert two_sample_size(d, 0.7, ratio=2).n_a == pytest.approx(size, rel=1e-6)
    size = pairs.solve_power(abs(d), alpha=0.05, power=0.7)
    assert paired_size(d, 0.7) == pytest.approx(size, rel=1e-6)


def test_sizes_have_a_least_and_a_most():
    assert two_sample_size(9.0, 0.8, ratio=2) == SampleSize(n_a=4.0, n_b=2.0)
    assert paired_power(9.0, 2) < 0.8 < paired_power(30.0, 2)
    assert paired_size(30.0, 0.8) == 2
    assert math.isnan(paired_size(0.0, 0.8))


def test_power_of_a_correlation():
    """Cohen (1988): r .30 needs 85 pairs for 80 %, by ((z + z) / artanh r)^2 + 3."""
    hand = ((1.959964 + 0.841621) / math.atanh(0.3)) ** 2 + 3
    assert correlation_size(0.3, 0.8) == pytest.approx(hand, rel=1e-4)
    rng = np.random.default_rng(21)
    x, noise = rng.normal(size=(2, 4000, 30))
    y = 0.426 * x + math.sqrt(1 - 0.426**2) * noise
    r = stats.pearsonr(x, y, axis=1)
    # the standard error of a share of 4000 is .0075
    assert correlation_power(-0.426, 30) == pytest.approx(np.mean(r.pvalue < 0.05), abs=0.02)


def test_effect_of_an_interaction():
    """Changes .10 and .02, SD .2, r .5: the change has SD .2, so d is .4."""
    assert interaction_d(0.10, 0.02, sd=0.2, correlation=0.5) == pytest.approx(0.4)


# ---- outliers


def test_hand_computed_modified_z():
    """Median 3, distances 2 1 0 1 47: their median is 1, so z = .6745 (x - 3)."""
    z = modified_z(np.array([1.0, 2.0, 3.0, 4.0, 50.0, np.nan]))
    assert z[:5] == pytest.approx(0.6745 * np.array([-2, -1, 0, 1, 47]), rel=1e-4)
    assert np.isnan(z[5])
    assert is_outlier(np.array([1.0, 2.0, 3.0, 4.0, 50.0, np.nan])).tolist() == [False] * 4 + [
        True,
        False,
    ]


def test_outliers_follow_scale_and_shift(rng):
    values = np.append(rng.normal(size=30), 9.0)
    assert is_outlier(values).tolist() == is_outlier(4 - 1000 * values).tolist()
    assert is_outlier(values)[-1]
    assert modified_z(2 * values + 1) == pytest.approx(modified_z(values))


def test_no_spread_no_outlier():
    assert not is_outlier(np.array([1.0, 1.0, 1.0, 2.0])).any()
    assert not is_outlier(np.array([np.nan])).any()
    assert is_outlier(np.array([])).shape == (0,)
