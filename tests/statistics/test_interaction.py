"""Group x time against the sums of squares of the mixed analysis of variance."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics.interaction import group_by_time


def mixed_anova_interaction(first, second):
    """F, p and partial eta squared of the interaction by residual sums of squares.

    Two least-squares fits of all 2N values on subjects and session, without and with the
    product of group and session: the textbook definition, which knows nothing of change scores.
    """
    n = [len(group) for group in first]
    values = np.concatenate([*first, *second])
    total = sum(n)
    subject = np.vstack([np.eye(total)] * 2)
    time = np.repeat([0.0, 1.0], total)[:, None]
    treated = np.tile(np.repeat([1.0, 0.0], n), 2)[:, None]

    def residual(design):
        beta = np.linalg.lstsq(design, values, rcond=None)[0]
        return float(((values - design @ beta) ** 2).sum())

    without = residual(np.hstack([subject, time]))
    error = residual(np.hstack([subject, time, treated * time]))
    df = total - 2
    f = (without - error) / (error / df)
    return f, float(stats.f.sf(f, 1, df)), (without - error) / without


@pytest.mark.parametrize(("n_a", "n_b"), [(20, 10), (2, 2), (8, 8), (3, 15)])
def test_is_the_interaction_of_the_mixed_analysis_of_variance(n_a, n_b):
    rng = np.random.default_rng(n_a * 100 + n_b)
    first = [rng.normal(1.2, 0.3, n) for n in (n_a, n_b)]
    second = [x + rng.normal(shift, 0.2, x.size) for x, shift in zip(first, (0.1, 0), strict=True)]
    test = group_by_time(second[0] - first[0], second[1] - first[1])
    expected = mixed_anova_interaction(first, second)
    assert (test.f, test.p, test.partial_eta2) == pytest.approx(expected, rel=1e-8)
    assert (test.df_effect, test.df_error) == (1, n_a + n_b - 2)


def test_hand_computed_example():
    """Changes 1 2 3 and 0 1 2: pooled variance 1, t = 1 / sqrt(2/3), F = 1.5.

    Hedges g = 1 x J(4), where J(4) = gamma(2) / (sqrt(2) gamma(1.5)) = 0.7979.
    """
    test = group_by_time(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    assert test.f == pytest.approx(1.5)
    assert test.p == pytest.approx(0.2879, abs=5e-5)
    assert test.partial_eta2 == pytest.approx(1.5 / 5.5)
    assert test.hedges_g == pytest.approx(0.7979, abs=5e-5)
    # t quantile .975 with 4 df is 2.7764 in any printed table
    assert test.ci_low == pytest.approx(1 - 2.7764 * math.sqrt(2 / 3), abs=1e-4)


def test_power_of_the_published_design():
    """F at the planted effect d = .506 with 20 and 10 subjects, from the t formula by hand."""
    rng = np.random.default_rng(4)

    def exact(n, mean):
        x = rng.standard_normal(n)
        return mean + (x - x.mean()) / x.std(ddof=1)

    test = group_by_time(exact(20, 0.506), exact(10, 0.0))
    assert test.f == pytest.approx(0.506**2 / (1 / 20 + 1 / 10), rel=1e-9)


def test_swapping_the_groups_turns_only_signs():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.2, 0.1, 6), rng.normal(0, 0.1, 5)
    one, other = group_by_time(a, b), group_by_time(b, a)
    assert (one.f, one.p) == pytest.approx((other.f, other.p))
    assert one.hedges_g == pytest.approx(-other.hedges_g)
    assert one.ci_low == pytest.approx(-other.ci_high)


def test_missing_changes_are_left_out_and_counted():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])
    holed = group_by_time(np.append(a, np.nan), np.append([np.nan], b))
    assert holed.n_missing == 2
    assert holed.f == pytest.approx(group_by_time(a, b).f)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0], [1.0, 2.0], "two in each group"),
        ([], [], "two in each group"),
        ([1.0, 1.0], [2.0, 2.0], "do not vary"),
    ],
)
def test_what_cannot_be_tested_is_nan_and_says_why(a, b, words):
    test = group_by_time(np.array(a), np.array(b))
    assert words in test.reason
    assert math.isnan(test.f)
    assert math.isnan(test.p)
    assert math.isnan(test.hedges_g)
