"""Power for the effect that a test found: other programs, simulation, and laws."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from pipeline.statistics.correlation import pearson
from pipeline.statistics.fisher import fisher_exact
from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.observed_power import (
    fisher_power,
    of_fisher,
    of_paired,
    of_pearson,
    of_students_t,
    of_welchs_t,
)
from pipeline.statistics.paired import paired_t
from pipeline.statistics.power import Target
from pipeline.statistics.two_sample import two_sample_t

WANTED = Target(alpha=0.05, power=0.8)


def exact(n, mean, sd, seed=0):
    """(n,) of exactly that mean and standard deviation."""
    x = np.random.default_rng(seed).normal(size=n)
    return mean + sd * (x - x.mean()) / x.std(ddof=1)


def test_of_a_paired_t():
    """20 pairs at dz .506, as the hippocampus of Tiger et al. (2020)."""
    found = of_paired(paired_t(np.zeros(20), exact(20, 0.506, 1)).as_result(), WANTED)
    assert found.power == pytest.approx(TTestPower().power(0.506, 20, 0.05), rel=1e-8)
    size = TTestPower().solve_power(0.506, alpha=0.05, power=0.8)
    assert found.n == pytest.approx(size, rel=1e-6)


def test_of_students_t_at_the_ratio_of_the_groups():
    test = two_sample_t(exact(20, 0.506, 1), exact(10, 0, 1), equal_variances=True)
    found = of_students_t(test.statistic, test.n, WANTED)
    theirs = TTestIndPower()
    assert found.power == pytest.approx(theirs.power(0.506, 20, 0.05, ratio=0.5), rel=1e-8)
    size = theirs.solve_power(0.506, alpha=0.05, power=0.8, ratio=0.5)
    assert found.n == pytest.approx(1.5 * size, rel=1e-6)
    change = group_by_time(exact(20, 0.506, 1), exact(10, 0, 1))
    same = of_students_t(math.sqrt(change.f), (20, 10), WANTED)
    assert (same.power, same.n) == pytest.approx((found.power, found.n))


def test_power_is_a_function_of_p():
    """At p of alpha it is about a half, whatever the number of subjects; so it says no more."""
    for n in (8, 20, 60):
        t = stats.t.isf(0.025, 2 * n - 2)
        assert of_students_t(t, (n, n), WANTED).power == pytest.approx(0.5, abs=0.02)
        assert of_students_t(1.2 * t, (n, n), WANTED).power > 0.6


def test_of_welchs_t_with_equal_spread_and_sizes_is_students():
    a, b = exact(12, 0.7, 1), exact(12, 0, 1, seed=1)
    test = two_sample_t(a, b, equal_variances=True)
    welch, student = of_welchs_t(a, b, WANTED), of_students_t(test.statistic, test.n, WANTED)
    assert (welch.power, welch.n) == pytest.approx((student.power, student.n))


@pytest.mark.parametrize("sd", [(1, 2), (2, 1)])
def test_of_welchs_t_is_that_of_simulated_trials(sd):
    """20 and 10 subjects; the standard error of a share of 8000 is .006."""
    rng = np.random.default_rng(31)
    a, b = rng.normal(1.4, sd[0], (8000, 20)), rng.normal(0, sd[1], (8000, 10))
    share = np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05)
    found = of_welchs_t(exact(20, 1.4, sd[0]), exact(10, 0, sd[1]), WANTED)
    assert found.power == pytest.approx(share, abs=0.025)
    # and with the subjects that it asks for, 80 %
    n_a, n_b = round(found.n * 2 / 3), round(found.n / 3)
    a, b = rng.normal(1.4, sd[0], (8000, n_a)), rng.normal(0, sd[1], (8000, n_b))
    share = np.mean(stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05)
    assert share == pytest.approx(0.8, abs=0.03)


def test_of_a_correlation():
    x = exact(30, 0, 1)
    y = exact(30, 0, 1, seed=1)
    y = y - (x @ y) / (x @ x) * x
    y = -0.426 * x + math.sqrt(1 - 0.426**2) * y / y.std(ddof=1)
    found = of_pearson(pearson(x, y), WANTED)
    shift = math.sqrt(27) * math.atanh(0.426)
    assert found.power == pytest.approx(stats.norm.cdf(shift - 1.959964), abs=1e-4)
    assert found.n == pytest.approx(((1.959964 + 0.841621) / math.atanh(0.426)) ** 2 + 3, rel=1e-4)


def brute_force(shares, n):
    """Power of Fisher's test by SciPy's p of every table."""
    power = 0.0
    for a in range(n[0] + 1):
        for b in range(n[1] + 1):
            p = stats.fisher_exact([[a, n[0] - a], [b, n[1] - b]]).pvalue
            chance = stats.binom.pmf(a, n[0], shares[0]) * stats.binom.pmf(b, n[1], shares[1])
            power += chance * (p <= 0.05)
    return power


@pytest.mark.parametrize(("shares", "n"), [((0.75, 0.3), (20, 10)), ((0.2, 0.9), (7, 9))])
def test_of_fisher_is_that_of_all_tables(shares, n):
    assert fisher_power(shares, n, WANTED) == pytest.approx(brute_force(shares, n), rel=1e-9)
    assert fisher_power(shares[::-1], n[::-1], WANTED) == pytest.approx(brute_force(shares, n))


def test_of_fisher_reaches_the_wanted_power_and_one_fewer_does_not():
    found = of_fisher(np.array([[9, 1], [3, 7]]), WANTED)
    assert found.power == pytest.approx(brute_force((0.9, 0.3), (10, 10)), rel=1e-9)
    n = int(found.n)
    enough, fewer = (brute_force((0.9, 0.3), (round(m / 2), m - round(m / 2))) for m in (n, n - 1))
    assert fewer < 0.8 <= enough


def test_no_effect_has_no_sample_size():
    assert of_students_t(0.0, (9, 9), WANTED).power == pytest.approx(0.05)
    assert math.isnan(of_students_t(0.0, (9, 9), WANTED).n)
    same = of_fisher(np.array([[5, 5], [3, 3]]), WANTED)
    assert same.power < 0.05
    assert math.isnan(same.n)


def test_what_was_not_tested_has_no_power():
    nothing = np.array([1.0, np.nan])
    found = [
        of_paired(paired_t(nothing, nothing).as_result(), WANTED),
        of_students_t(two_sample_t(nothing, nothing).statistic, (1, 1), WANTED),
        of_welchs_t(nothing, nothing, WANTED),
        of_welchs_t(np.array([0.1 + 0.2, 0.3]), np.array([0.3, 0.3]), WANTED),
        of_pearson(pearson(nothing, nothing), WANTED),
        of_pearson(pearson(np.arange(5.0), np.arange(5.0)), WANTED),
        of_pearson(pearson(np.arange(3.0), np.array([1.0, 3.0, 2.0])), WANTED),
        of_fisher(np.array([[0, 0], [3, 4]]), WANTED),
    ]
    assert fisher_exact(np.array([[0, 0], [3, 4]])).reason
    for power in found:
        assert math.isnan(power.power)
        assert math.isnan(power.n)
