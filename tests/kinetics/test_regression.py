"""Regressions of many curves against programs that take one at a time."""

import numpy as np
import pytest
import statsmodels.api as sm

from pipeline.kinetics.regression import Noise, covariance, regress

FRAMES = 30


def white(count, weights):
    """Noise of curves that enter by their values alone."""
    return Noise(
        direct=np.ones(count),
        integrated=np.zeros(count),
        operator=np.zeros((FRAMES, FRAMES)),
        weights=weights,
    )


def stacked(shared, own):
    """Design (n, F, P)."""
    return np.stack([*(np.broadcast_to(x, own.shape) for x in shared), own], axis=-1)


@pytest.fixture(params=[1, 2])
def problem(request, rng):
    """Shared regressors, own ones, responses and weights, some of them zero."""
    shared = rng.normal(size=(request.param, FRAMES)) + 2
    own = rng.normal(size=(40, FRAMES)).cumsum(axis=1)
    response = 0.7 * own + shared.sum(axis=0) + rng.normal(size=own.shape)
    weights = rng.uniform(0.2, 3, FRAMES)
    weights[[0, 11]] = 0
    return shared, own, response, weights


def test_coefficients_and_errors_are_those_of_statsmodels(problem):
    shared, own, response, weights = problem
    fit = regress(shared, own, response, weights)
    found = covariance(stacked(shared, own), weights, fit.residual_square, white(40, weights))
    used = weights > 0
    for i in range(len(own)):
        design = np.vstack([shared, own[i]]).T[used]
        other = sm.WLS(response[i, used], design, weights[used]).fit()
        np.testing.assert_allclose(fit.coefficients[i], other.params, rtol=1e-9)
        np.testing.assert_allclose(np.sqrt(np.diag(found[i])), other.bse, rtol=1e-9)
        np.testing.assert_allclose(found[i], other.cov_params(), rtol=1e-8)
        assert fit.residual_square[i] == pytest.approx(other.ssr, rel=1e-9)


def test_frame_without_weight_may_hold_anything(problem):
    shared, own, response, weights = problem
    clean = regress(shared, own, response, weights)
    for array in (shared, own, response):
        array[:, weights == 0] = np.nan
    dirty = regress(shared, own, response, weights)
    np.testing.assert_array_equal(clean.coefficients, dirty.coefficients)


def test_ill_conditioned_design_keeps_its_digits(rng):
    # Regressors parallel to one part in a hundred thousand: squared, that is 1e-10, which
    # normal equations would leave six digits of. lstsq works on the design itself.
    x = np.linspace(1, 2, FRAMES)
    own = x + 1e-5 * rng.normal(size=(20, FRAMES))
    response = rng.normal(size=(20, FRAMES))
    fit = regress(x[None], own, response, np.ones(FRAMES))
    assert not fit.singular.any()
    for i in range(20):
        other = np.linalg.lstsq(np.column_stack([x, own[i]]), response[i])[0]
        np.testing.assert_allclose(fit.coefficients[i], other, rtol=1e-8)


def test_units_of_the_regressors_do_not_matter(problem):
    shared, own, response, weights = problem
    fit = regress(shared, own, response, weights)
    scaled = regress(1e8 * shared, 1e-6 * own, response, 1e5 * weights)
    gain = np.array([1e-8] * len(shared) + [1e6])
    np.testing.assert_allclose(scaled.coefficients, fit.coefficients * gain, rtol=1e-9)
    np.testing.assert_array_equal(scaled.singular, fit.singular)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_combination_of_the_shared_regressors_is_singular(dtype, rng):
    shared = rng.normal(size=(2, FRAMES))
    own = (np.array([[3.0, -2.0], [0.5, 0.0]]) @ shared).astype(dtype).astype(float)
    response = rng.normal(size=(2, FRAMES))
    fit = regress(shared, own, response, np.ones(FRAMES))
    assert fit.singular.all()
    np.testing.assert_allclose(fit.dependence, [[3, -2], [0.5, 0]], atol=1e-6)
    # the shared ones then describe the response alone
    assert not fit.coefficients[:, 2].any()
    expected = np.linalg.lstsq(shared.T, response.T)[0].T
    np.testing.assert_allclose(fit.coefficients[:, :2], expected, atol=1e-6)
    ones = np.ones(FRAMES)
    found = covariance(stacked(shared, own), ones, fit.residual_square, white(2, ones))
    assert np.isnan(found).all()


def test_regressors_that_cannot_be_told_apart_are_refused(rng):
    x = rng.normal(size=FRAMES)
    own = rng.normal(size=(2, FRAMES))
    with pytest.raises(ValueError, match="no activity"):
        regress(0 * x[None], own, own, np.ones(FRAMES))
    with pytest.raises(ValueError, match="too simple"):
        regress(np.stack([x, 2 * x]), own, own, np.ones(FRAMES))


def test_too_few_frames_determine_nothing(rng):
    weights = np.zeros(FRAMES)
    weights[3] = 1
    own = rng.normal(size=(2, FRAMES))
    fit = regress(rng.normal(size=(2, FRAMES)), own, own, weights)
    assert fit.singular.all()
    assert np.isnan(fit.coefficients).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_errors_count_the_noise_of_integrals(weighted, rng):
    # Residuals made of noise and its integral, drawn many times: the scatter of coefficients is
    # known to 1 % from 20 000 draws, and so is the mean of the variances that each draw claims.
    draws = 20_000
    operator = np.tril(np.full((FRAMES, FRAMES), 0.4))
    weights = rng.uniform(0.3, 3, FRAMES) if weighted else np.ones(FRAMES)
    shared = np.stack([np.linspace(1, 2, FRAMES), rng.normal(size=FRAMES)])
    own = np.broadcast_to(np.linspace(0, 2, FRAMES) ** 3, (draws, FRAMES))
    noise = rng.normal(size=(draws, FRAMES)) / np.sqrt(weights)
    response = 1.5 * noise - 0.8 * noise @ operator.T
    late = np.where(np.arange(FRAMES) < 8, 0, weights)
    fit = regress(shared, own, response, late)
    path = Noise(
        direct=np.full(draws, 1.5),
        integrated=np.full(draws, -0.8),
        operator=operator,
        weights=weights,
    )
    claimed = covariance(stacked(shared, own), late, fit.residual_square, path)
    np.testing.assert_allclose(
        claimed.mean(axis=0), np.cov(fit.coefficients.T), rtol=0.05, atol=0.02
    )
    alone = covariance(stacked(shared, own), late, fit.residual_square, white(draws, weights))
    assert alone[:, 0, 0].mean() < 0.7 * claimed[:, 0, 0].mean()
