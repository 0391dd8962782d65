"""Paired t against published figures, hand calculation and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics.paired import paired_t, two_sided_p

# Student's sleep data (1908), as in R: t.test(extra ~ group, paired = TRUE) prints
# t = -4.0621, df = 9, p-value = 0.002833, 95 % CI -2.4598858 -0.7001142, mean -1.58
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_reproduces_what_r_prints_for_the_sleep_data():
    test = paired_t(SLEEP_2, SLEEP_1)
    assert test.t == pytest.approx(-4.0621, abs=5e-5)
    assert test.df == 9
    assert test.p == pytest.approx(0.002833, abs=5e-7)
    assert (test.ci_low, test.ci_high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert test.mean_difference == pytest.approx(-1.58)


@pytest.mark.parametrize(
    ("t", "p"), [(-1.755, 0.0954), (-0.632, 0.5349), (-2.263, 0.0355), (-1.162, 0.2596)]
)
def test_p_of_the_published_t_values(t, p):
    """Tiger et al. (2020), Table 2, 20 patients; p recomputed in R."""
    assert two_sided_p(t, 19) == pytest.approx(p, abs=5e-5)


def test_summary_of_the_published_hippocampus():
    """Mean .46 to .54 and SD of difference .158 give t 2.263, dz .506, + 17.4 %."""
    rng = np.random.default_rng(1)
    shape = rng.standard_normal(20)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    pre = np.full(20, 0.46)
    test = paired_t(pre, pre + 0.08 + 0.1581 * shape)
    assert test.t == pytest.approx(2.263, abs=0.001)
    assert test.dz == pytest.approx(0.506, abs=0.001)
    assert test.percent_change == pytest.approx(17.4, abs=0.05)


def test_agrees_with_scipy_on_random_pairs():
    rng = np.random.default_rng(2)
    first, second = rng.normal(1, 0.3, (2, 17))
    theirs = stats.ttest_rel(second, first)
    interval = theirs.confidence_interval(0.95)
    ours = paired_t(first, second)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-12)
    assert (ours.ci_low, ours.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_incomplete_pairs_are_left_out_and_counted():
    first = np.array([1.0, np.nan, 2.0, 3.0, np.nan])
    second = np.array([1.5, 2.0, np.nan, 4.0, np.nan])
    test = paired_t(first, second)
    assert (test.n, test.n_missing) == (2, 3)
    assert test.mean_first == 2.0
    assert test.mean_difference == 0.75


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([], [], "no complete pair"),
        ([1.0, np.nan], [np.nan, 2.0], "no complete pair"),
        ([1.0, np.nan], [2.0, 2.0], "one complete pair; two are needed"),
        ([1.0, 2.0, 3.0], [1.1, 2.1, 3.1], "the differences do not vary"),
        ([1.0, 2.0], [1.0, 2.0], "the differences do not vary"),
    ],
)
def test_what_cannot_be_tested_is_nan_and_says_why(first, second, reason):
    test = paired_t(np.array(first), np.array(second))
    assert test.reason == reason
    assert all(math.isnan(value) for value in (test.t, test.p, test.dz, test.ci_low))


def test_scale_changes_neither_t_nor_p():
    small, large = paired_t(SLEEP_1, SLEEP_2), paired_t(1e6 * SLEEP_1, 1e6 * SLEEP_2)
    assert small.t == pytest.approx(large.t)
    assert small.p == pytest.approx(large.p)


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="pairs expected"):
        paired_t(np.zeros(3), np.zeros(4))
