"""Two-sample t, effect sizes and assumptions: SciPy, definitions, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.statistics.assumptions import brown_forsythe, shapiro_wilk
from pipeline.statistics.effect_size import noncentral_t_interval, partial_eta2_interval
from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.paired import paired_t
from pipeline.statistics.two_sample import Summary, two_sample_t, two_sample_t_of_summaries

SEEDS = st.integers(0, 10**6)


def two_groups(seed):
    rng = np.random.default_rng(seed)
    n_a, n_b = rng.integers(2, 15, 2)
    return rng.normal(1, 0.3, n_a), rng.normal(1.2, 0.5, n_b)


@pytest.mark.parametrize("equal", [True, False])
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_swap_shift_and_scale(equal, seed):
    a, b = two_groups(seed)
    one = two_sample_t(a, b, equal_variances=equal)
    other = two_sample_t(5 - 3 * a, 5 - 3 * b, equal_variances=equal)
    swapped = two_sample_t(b, a, equal_variances=equal)
    for test, factor in ((other, -3), (swapped, -1)):
        assert test.p == pytest.approx(one.p, rel=1e-7)
        assert test.effect == pytest.approx(-one.effect, rel=1e-7)
        assert test.estimate == pytest.approx(factor * one.estimate, rel=1e-7)
        assert test.ci_low == pytest.approx(factor * one.ci_high, rel=1e-6, abs=1e-9)
        assert test.effect_low == pytest.approx(-one.effect_high, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("equal", [True, False])
def test_agrees_with_scipy_from_values_and_from_summaries(equal):
    a, b = two_groups(3)
    theirs = stats.ttest_ind(a, b, equal_var=equal)
    interval = theirs.confidence_interval()
    for ours in (
        two_sample_t(a, b, equal_variances=equal),
        two_sample_t_of_summaries(Summary.of(a), Summary.of(b), equal_variances=equal),
    ):
        assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
        assert (ours.ci_low, ours.ci_high) == pytest.approx((interval.low, interval.high))
        assert ours.df1 == pytest.approx(theirs.df)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0], [1.0, 2.0], "two in each group"),
        ([], [np.nan], "two in each group"),
        ([1.0, 1.0], [2.0, 2.0], "do not vary"),
        ([0.1 + 0.2, 0.3], [0.3, 0.3], "do not vary"),
    ],
)
def test_what_cannot_be_tested_is_nan_and_says_why(a, b, words):
    test = two_sample_t(np.array(a), np.array(b))
    assert words in test.reason
    assert all(math.isnan(x) for x in (test.statistic, test.p, test.effect, test.ci_low))
    assert test.assumptions == ()


def test_missing_values_are_counted():
    test = two_sample_t(np.array([1.0, np.nan, 2.0]), np.array([0.0, 3.0]))
    assert (test.n, test.n_missing) == ((2, 2), 1)


@pytest.mark.parametrize("t", [-8.0, -2.1, 0.0, 0.3, 2.26, 12.0, 40.0])
@pytest.mark.parametrize("df", [1, 5, 28, 200])
def test_ends_of_the_noncentral_t_leave_a_fortieth_on_either_side(t, df):
    low, high = noncentral_t_interval(t, df)
    assert low < t < high or abs(t) > 30
    assert stats.nct.sf(t, df, low) == pytest.approx(0.025, abs=1e-8)
    assert stats.nct.cdf(t, df, high) == pytest.approx(0.025, abs=1e-8)


@pytest.mark.parametrize("f", [0.0, 0.5, 4.0, 30.0, 400.0])
@pytest.mark.parametrize("df", [(1, 28), (2, 20), (4, 6)])
def test_ends_of_the_noncentral_f(f, df):
    shares = partial_eta2_interval(f, *df)
    assert 0 <= shares[0] <= shares[1] < 1
    for share, tail in zip(shares, (0.975, 0.025), strict=True):
        ncp = share / (1 - share) * (sum(df) + 1)
        if share:
            assert stats.ncf.cdf(f, *df, ncp) == pytest.approx(tail, abs=1e-8)
        else:
            assert stats.f.cdf(f, *df) <= tail


def test_interval_of_dz_covers_its_truth():
    """95 % of 400 intervals; the standard error of that share is 1.1 %."""
    rng = np.random.default_rng(8)
    inside = [
        test.dz_low < 0.5 < test.dz_high
        for test in (paired_t(np.zeros(12), rng.normal(0.5, 1, 12)) for _ in range(400))
    ]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.033)


def test_interaction_and_paired_test_in_common_words():
    rng = np.random.default_rng(9)
    pre, post = rng.normal(1, 0.3, (2, 14))
    paired, mixed = paired_t(pre, post), group_by_time((post - pre)[:8], (post - pre)[8:])
    for test, result in ((paired, paired.as_result()), (mixed, mixed.as_result())):
        assert result.p == test.p
        assert (result.ci_low, result.ci_high) == (test.ci_low, test.ci_high)
        assert result.assumptions[0].p == test.shapiro_p
    assert (paired.as_result().df1, mixed.as_result().df2) == (13, 12)
    assert mixed.as_result().effect == mixed.partial_eta2
    silent = paired_t(np.zeros(2), np.full(2, np.nan)).as_result()
    assert silent.reason == "no complete pair"
    assert math.isnan(silent.df1)


def test_too_few_values_for_a_check_are_nan():
    assert math.isnan(shapiro_wilk(np.array([1.0, 2.0])).p)
    assert math.isnan(shapiro_wilk(np.ones(5)).p)
    assert math.isnan(brown_forsythe(np.array([1.0, 2.0]), np.array([3.0, 5.0])).p)
    assert math.isnan(brown_forsythe(np.array([1.0, 2.0, 3.0])).p)


def test_checks_find_what_they_look_for():
    rng = np.random.default_rng(10)
    assert shapiro_wilk(rng.normal(size=60)).p > 0.05
    assert shapiro_wilk(rng.exponential(size=60)).p < 1e-3
    assert brown_forsythe(rng.normal(size=40), rng.normal(size=40)).p > 0.05
    assert brown_forsythe(rng.normal(size=40), 4 * rng.normal(size=40)).p < 1e-3
