"""Intervals against SciPy and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.statistics.intervals import fitted_line, mean_interval


@pytest.mark.parametrize("n", [2, 3, 20])
def test_interval_of_a_mean_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(1.2, 0.3, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(mean_interval(np.r_[values, np.nan]), expected, rtol=1e-12)


def test_one_value_has_no_interval():
    assert np.isnan(mean_interval(np.array([1.0, np.nan]))).all()


@given(st.integers(3, 30), st.floats(-5, 5), st.integers(0, 1000))
def test_band_is_that_of_statsmodels(n, slope, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(10, 2, n)
    y = 3 + slope * x + rng.normal(0, 1, n)
    line = fitted_line(np.r_[x, np.nan, 4.0], np.r_[y, 1.0, np.nan], places=11)
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    frame = fit.get_prediction(sm.add_constant(line.x)).summary_frame(alpha=0.05)
    found = np.stack([line.y, line.low, line.high], axis=1)
    expected = frame[["mean", "mean_ci_lower", "mean_ci_upper"]].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (line.x[0], line.x[-1]) == (x.min(), x.max())


@pytest.mark.parametrize("x", [[1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 2.0, np.nan]])
def test_no_line_through_too_little(x):
    x = np.array(x)
    assert fitted_line(x, np.arange(x.size, dtype=float)) is None
