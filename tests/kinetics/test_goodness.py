"""Goodness of fit against statsmodels and against counting all orders of signs."""

from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm

from pipeline.kinetics.goodness import GOODNESS, goodness_of_fit


@pytest.fixture
def regression(rng):
    """Curves (6, 30), their fits by weighted regression, weights, and what statsmodels says."""
    design = sm.add_constant(rng.normal(size=(30, 2)))
    curves = (design @ [1.0, 2.0, -1.0] + rng.normal(size=(6, 30)) * 2).astype(float)
    weights = rng.uniform(0.1, 5, 30)
    results = [sm.WLS(curve, design, weights=weights).fit() for curve in curves]
    return curves, np.array([r.fittedvalues for r in results]), weights, results


def test_all_measures_are_those_declared(regression):
    curves, fitted, weights, _ = regression
    measures = goodness_of_fit(curves, fitted, weights, 3)
    assert list(measures) == [parameter.symbol for parameter in GOODNESS]
    assert all(values.shape == (6,) for values in measures.values())


def test_criteria_are_those_of_statsmodels_with_sigma_counted(regression):
    curves, fitted, weights, results = regression
    measures = goodness_of_fit(curves, fitted, weights, 3)
    np.testing.assert_allclose(measures["R2"], [r.rsquared for r in results], rtol=1e-10)
    np.testing.assert_allclose(measures["AIC"], [r.aic + 2 for r in results], rtol=1e-10)
    np.testing.assert_allclose(measures["BIC"], [r.bic + np.log(30) for r in results], rtol=1e-10)


def test_frame_without_weight_does_not_count(regression):
    curves, fitted, weights, _ = regression
    kept = np.arange(30) != 4
    weights[4] = 0
    curves[:, 4] = 1e9
    whole = goodness_of_fit(curves, fitted, weights, 3)
    without = goodness_of_fit(curves[:, kept], fitted[:, kept], weights[kept], 3)
    for symbol, values in whole.items():
        np.testing.assert_allclose(values, without[symbol], rtol=1e-12, err_msg=symbol)


@pytest.mark.parametrize("above", [1, 4, 7])
def test_runs_are_counted_against_all_orders_of_their_signs(above):
    # every order of `above` positive residuals among nine
    orders = np.full((len(list(combinations(range(9), above))), 9), -1.0)
    for row, places in zip(orders, combinations(range(9), above), strict=True):
        row[list(places)] = 1.0
    runs = 1 + np.sum(orders[:, 1:] != orders[:, :-1], axis=1)
    measures = goodness_of_fit(orders, np.zeros_like(orders), np.ones(9), 3)
    expected = (runs - runs.mean()) / runs.std()
    np.testing.assert_allclose(measures["runs_z"], expected, rtol=1e-10, atol=1e-12)


def test_residuals_of_one_sign_have_no_runs_to_compare():
    curves = np.ones((1, 9))
    measures = goodness_of_fit(curves, np.zeros_like(curves), np.ones(9), 3)
    assert np.isnan(measures["runs_z"][0])


def test_shape_that_is_missed_has_few_runs():
    t = np.linspace(0, 1, 40)
    curves = np.sin(2 * np.pi * t)[None]
    measures = goodness_of_fit(curves, np.zeros_like(curves), np.ones(40), 1)
    assert measures["runs_z"][0] < -5
