"""Laws that every reference-tissue model keeps; a new model is picked up from `MODELS`.

The truth comes from the differential equations of the model, solved by SciPy and averaged over
the frames on a dense grid: no line of it is shared with the convolution under test.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import MODELS
from pipeline.kinetics.contract import Flag

DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
K2PRIME = 0.14
# R1 and BPND of cortex, hippocampus, ventral striatum, thalamus, and a region without binding
TRUTH = [(1.05, 1.24), (0.78, 0.42), (0.85, 1.78), (0.91, 0.50), (0.60, 0.0)]


def plasma(t_min):
    """Arterial input of a ten-second bolus: a fast rise, three exponentials."""
    return 300 * t_min * np.exp(-6 * t_min) + 6 * np.exp(-0.12 * t_min) * (1 - np.exp(-5 * t_min))


def simulate(truth=TRUTH, timing=TIMING, k2prime=K2PRIME):
    """Frame means (F,) of the reference and (V, F) of targets, by the model's own ODE."""

    def slopes(t, c):
        reference, targets = c[0], c[1:]
        cp = plasma(t)
        r1, bpnd = np.array(truth).T
        return np.concatenate(
            [
                [0.1 * cp - k2prime * reference],
                r1 * 0.1 * cp - r1 * k2prime / (1 + bpnd) * targets,
            ]
        )

    def slopes_and_areas(t, state):
        half = len(truth) + 1
        return np.concatenate([slopes(t, state[:half]), state[:half]])

    edges = np.unique(np.concatenate([timing.start_min, timing.end_min]))
    count = len(truth) + 1
    solution = solve_ivp(
        slopes_and_areas, (0, edges[-1]), np.zeros(2 * count), t_eval=edges,
        method="DOP853", rtol=1e-10, atol=1e-10, max_step=0.5,
    )  # fmt: skip
    areas = solution.y[count:]
    first = np.searchsorted(edges, timing.start_min)
    last = np.searchsorted(edges, timing.end_min)
    means = (areas[:, last] - areas[:, first]) / timing.duration_min
    return means[0], means[1:]


REF, TACS = simulate()
WEIGHTS = DURATION_S / DURATION_S.mean()

every_model = pytest.mark.parametrize("model", [m() for m in MODELS.values()], ids=list(MODELS))


@pytest.fixture
def noisy(rng):
    """Curves (40, F) with the noise of a small region."""
    many = np.tile(TACS, (8, 1))
    scale = 0.05 * np.sqrt(np.maximum(many, 0.3) / TIMING.duration_min)
    return many + rng.normal(size=many.shape) * scale


def assert_same(fit, other, rtol=1e-9, rows=slice(None), other_rows=slice(None)):
    """Both fits agree in every estimate and standard error, and in their flags."""
    for symbol, estimate in fit.estimates.items():
        np.testing.assert_allclose(
            estimate[rows], other.estimates[symbol][other_rows], rtol=rtol, err_msg=symbol
        )
        np.testing.assert_allclose(
            fit.standard_errors[symbol][rows], other.standard_errors[symbol][other_rows],
            rtol=max(rtol, 1e-6), err_msg=f"standard error of {symbol}",
        )  # fmt: skip
    np.testing.assert_array_equal(fit.flags[rows], other.flags[other_rows])


@every_model
def test_simulated_truth_is_recovered(model):
    # The reference curve is joined by straight lines between the frames: 1 % in BPND on these
    # frames is what every published implementation of this form leaves without noise.
    r1, bpnd = np.array(TRUTH).T
    fit = model.fit(TACS, REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(1 + fit.estimates["BPND"], 1 + bpnd, rtol=0.01)
    if "R1" in fit.estimates:
        np.testing.assert_allclose(fit.estimates["R1"], r1, rtol=0.02)
        np.testing.assert_allclose(fit.estimates["k2"], r1 * K2PRIME, rtol=0.04)
    assert not fit.flags[:4].any()


@every_model
def test_error_of_joining_frames_by_lines_vanishes_with_short_frames(model):
    duration = np.full(93 * 12, 5.0)
    timing = FrameTiming(np.cumsum(duration) - duration, duration)
    ref, tacs = simulate(timing=timing)
    fit = model.fit(tacs, ref, timing, np.ones(duration.size))
    bpnd = np.array(TRUTH)[:, 1]
    np.testing.assert_allclose(1 + fit.estimates["BPND"], 1 + bpnd, rtol=2e-4)


@every_model
def test_reference_region_against_itself_binds_nothing(model):
    fit = model.fit(REF[None], REF, TIMING, WEIGHTS)
    assert fit.estimates["BPND"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(fit.fitted[0], REF, rtol=1e-6, atol=1e-6 * REF.max())


@every_model
@given(factor=st.floats(1e-3, 1e6))
@settings(max_examples=25, deadline=None)
def test_unit_of_activity_does_not_matter(model, factor):
    fit = model.fit(TACS, REF, TIMING, WEIGHTS)
    scaled = model.fit(TACS * factor, REF * factor, TIMING, WEIGHTS)
    # standard errors hold the residual of a nearly exact fit, so only estimates are compared
    for symbol, estimate in fit.estimates.items():
        np.testing.assert_allclose(scaled.estimates[symbol], estimate, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.fitted, fit.fitted * factor, rtol=1e-6, atol=1e-9 * factor)


@every_model
def test_scale_of_the_weights_does_not_matter(model, noisy):
    assert_same(
        model.fit(noisy, REF, TIMING, WEIGHTS), model.fit(noisy, REF, TIMING, 1e4 * WEIGHTS),
        rtol=1e-6,
    )  # fmt: skip


@every_model
def test_time_and_rates_scale_together(model):
    # The same curves over twice the time: rates halve, BPND and R1 stay.
    slow = FrameTiming(2 * TIMING.start_s, 2 * TIMING.duration_s)
    fit = model.fit(TACS, REF, TIMING, WEIGHTS)
    slowed = model.fit(TACS, REF, slow, WEIGHTS)
    for parameter in model.parameters:
        factor = 0.5 if parameter.unit == "1/min" else 1.0
        np.testing.assert_allclose(
            slowed.estimates[parameter.symbol], factor * fit.estimates[parameter.symbol],
            rtol=1e-4, atol=1e-6, err_msg=parameter.symbol,
        )  # fmt: skip


@every_model
@pytest.mark.parametrize("corrupt", [1e6, -1e6, np.nan, np.inf])
def test_frame_without_weight_is_ignored_even_if_corrupt(model, noisy, corrupt):
    weights = WEIGHTS.copy()
    weights[[0, 20]] = 0
    damaged = noisy.copy()
    damaged[:, [0, 20]] = corrupt
    assert_same(model.fit(noisy, REF, TIMING, weights), model.fit(damaged, REF, TIMING, weights))


@every_model
def test_rows_together_are_rows_alone(model, noisy):
    together = model.fit(noisy, REF, TIMING, WEIGHTS)
    for row in range(0, len(noisy), 7):
        alone = model.fit(noisy[row : row + 1], REF, TIMING, WEIGHTS)
        assert_same(together, alone, rows=slice(row, row + 1))


@every_model
def test_more_rows_than_a_chunk_are_rows_alone(model, noisy):
    many = np.tile(noisy, (250, 1))
    fit = model.fit(many, REF, TIMING, WEIGHTS)
    assert_same(fit, model.fit(noisy, REF, TIMING, WEIGHTS), rows=slice(-len(noisy), None))


@every_model
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_bad_row_is_nan_and_leaves_the_others_alone(model, noisy, bad):
    clean = model.fit(noisy, REF, TIMING, WEIGHTS)
    damaged = noisy.copy()
    if bad == 0:
        damaged[3] = 0
    else:
        damaged[3, 17] = bad
    fit = model.fit(damaged, REF, TIMING, WEIGHTS)
    assert all(np.isnan(estimate[3]) for estimate in fit.estimates.values())
    assert all(np.isnan(error[3]) for error in fit.standard_errors.values())
    assert fit.flags[3] & Flag.FAILED
    others = np.arange(len(noisy)) != 3
    assert_same(fit, clean, rows=others, other_rows=others)


@every_model
def test_input_is_left_as_it_was(model, noisy):
    before = noisy.copy()
    model.fit(noisy, REF, TIMING, WEIGHTS)
    np.testing.assert_array_equal(noisy, before)


@every_model
def test_declared_parameters_are_the_ones_that_come_back(model):
    fit = model.fit(TACS, REF, TIMING, WEIGHTS)
    symbols = {parameter.symbol for parameter in model.parameters}
    assert set(fit.estimates) == set(fit.standard_errors) == symbols
    assert "BPND" in symbols
    assert fit.fitted.shape == TACS.shape


@every_model
def test_reference_that_is_not_finite_is_refused(model):
    ref = REF.copy()
    ref[12] = np.nan
    with pytest.raises(ValueError, match="reference"):
        model.fit(TACS, ref, TIMING, WEIGHTS)


@every_model
def test_too_few_frames_give_no_estimate(model):
    weights = np.zeros_like(WEIGHTS)
    weights[-3:] = 1
    fit = model.fit(TACS, REF, TIMING, weights)
    assert np.isnan(fit.estimates["BPND"]).all()
    assert ((fit.flags & Flag.FEW_FRAMES) > 0).all()
