"""Laws that every model of curves keeps; a new one is picked up from `MODELS`.

The truth comes from the differential equations of the model, solved by SciPy and averaged over
the frames on a dense grid: no line of it is shared with the convolution under test.
"""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import MODELS
from pipeline.kinetics.contract import Flag, is_image_model
from pipeline.kinetics.k2prime import K2Prime

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

DOSE = {"injected_mbq": 370.0, "body_weight_kg": 74.0}


def usual(model):
    """Model with the defaults of its settings, knowing what a scan tells it."""
    known = {"k2prime": K2Prime(per_min=K2PRIME), **DOSE}
    names = {field.name for field in fields(model)}
    return model(**{name: value for name, value in known.items() if name in names})


VARIANTS = [
    replace(usual(MODELS["logan"]), form="multilinear"),
    replace(usual(MODELS["logan"]), tstar_min=20.0),
    replace(usual(MODELS["logan"]), k2prime=K2Prime(per_min=0), tstar_min=45.0),
]
"""Options under which a model takes another way."""

CURVE_MODELS = [m for m in map(usual, MODELS.values()) if not is_image_model(m)]
BINDING_MODELS = [m for m in CURVE_MODELS if m.parameters[0].symbol == "BPND"]


def over(models):
    return pytest.mark.parametrize("model", models, ids=[m.model for m in models])


every_model = over(CURVE_MODELS + VARIANTS)
every_binding_model = over(BINDING_MODELS)
few = settings(max_examples=20, deadline=None)
NOISY = np.tile(TACS, (8, 1))
NOISY += np.random.default_rng(20200601).normal(size=NOISY.shape) * (
    0.05 * np.sqrt(np.maximum(NOISY, 0.3) / TIMING.duration_min)
)
NOISY.flags.writeable = False
"""Curves (40, F) with the noise of a small region."""


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


@every_binding_model
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


@every_binding_model
def test_error_of_joining_frames_by_lines_vanishes_with_short_frames(model):
    duration = np.full(93 * 12, 5.0)
    timing = FrameTiming(np.cumsum(duration) - duration, duration)
    ref, tacs = simulate(timing=timing)
    fit = model.fit(tacs, ref, timing, np.ones(duration.size))
    bpnd = np.array(TRUTH)[:, 1]
    np.testing.assert_allclose(1 + fit.estimates["BPND"], 1 + bpnd, rtol=2e-4)


@every_binding_model
@given(factor=st.floats(0.1, 10))
@few
def test_curve_of_the_reference_binds_nothing(model, factor):
    # R1 = 1 and BPND = 0 give the reference back. A multiple of it has R1 = 1 + BPND = factor:
    # that is what these models say of it where they can tell.
    fit = model.fit(REF[None], REF, TIMING, WEIGHTS)
    assert fit.estimates["BPND"] == pytest.approx(0, abs=1e-6)
    described = np.isfinite(fit.fitted[0])
    np.testing.assert_allclose(
        fit.fitted[0, described], REF[described], rtol=1e-6, atol=1e-6 * REF.max()
    )
    multiple = model.fit(factor * REF[None], REF, TIMING, WEIGHTS)
    assert multiple.estimates["BPND"] == pytest.approx(factor - 1, rel=1e-5, abs=1e-5)


@every_model
@given(factor=st.floats(1e-3, 1e6))
@few
def test_unit_of_activity_does_not_matter(model, factor):
    fit = model.fit(NOISY, REF, TIMING, WEIGHTS)
    scaled = model.fit(NOISY * factor, REF * factor, TIMING, WEIGHTS)
    for parameter in model.parameters:
        gain = factor if parameter.unit == "g/mL" else 1.0
        for found, expected in (
            (scaled.estimates, fit.estimates),
            (scaled.standard_errors, fit.standard_errors),
        ):
            np.testing.assert_allclose(
                found[parameter.symbol], gain * expected[parameter.symbol],
                rtol=1e-6, err_msg=parameter.symbol,
            )  # fmt: skip
    np.testing.assert_array_equal(scaled.flags, fit.flags)
    np.testing.assert_allclose(scaled.fitted, fit.fitted * factor, rtol=1e-6, atol=1e-9 * factor)


@every_model
@given(factor=st.floats(1e-4, 1e4))
@few
def test_scale_of_the_weights_does_not_matter(model, factor):
    assert_same(
        model.fit(NOISY, REF, TIMING, WEIGHTS),
        model.fit(NOISY, REF, TIMING, factor * WEIGHTS),
        rtol=1e-6,
    )


def slowed(model, factor):
    """The model with what it knows of times and rates on a slower clock."""
    changes = {}
    if hasattr(model, "k2prime"):
        changes["k2prime"] = K2Prime(per_min=model.k2prime.per_min / factor)
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name.startswith("k2a_"):
            changes[field.name] = value / factor
        elif field.name in ("tstar_min", "start_min", "end_min") and value is not None:
            changes[field.name] = value * factor
    return replace(model, **changes)


@every_model
@given(factor=st.floats(0.02, 60))
@few
def test_time_and_rates_scale_together(model, factor):
    # The same curves on a slower clock: rates go down, times up, BPND and R1 stay.
    slow = FrameTiming(factor * TIMING.start_s, factor * TIMING.duration_s)
    fit = model.fit(NOISY, REF, TIMING, WEIGHTS)
    late = slowed(model, factor).fit(NOISY, REF, slow, WEIGHTS)
    gains = {"1/min": 1 / factor, "min": factor}
    for parameter in model.parameters:
        np.testing.assert_allclose(
            late.estimates[parameter.symbol],
            gains.get(parameter.unit, 1.0) * fit.estimates[parameter.symbol],
            rtol=1e-6, err_msg=parameter.symbol,
        )  # fmt: skip


@every_model
@given(
    frames=st.sets(st.integers(0, len(TIMING) - 1), min_size=1, max_size=6),
    corrupt=st.sampled_from([1e6, -1e6, np.nan, np.inf, -np.inf]),
)
@few
def test_frame_without_weight_is_ignored_even_if_corrupt(model, frames, corrupt):
    frames = sorted(frames)
    weights = WEIGHTS.copy()
    weights[frames] = 0
    damaged = NOISY.copy()
    damaged[:, frames] = corrupt
    assert_same(model.fit(NOISY, REF, TIMING, weights), model.fit(damaged, REF, TIMING, weights))


@every_model
@given(rows=st.lists(st.integers(0, len(NOISY) - 1), min_size=1, max_size=8))
@few
def test_rows_together_are_rows_alone(model, rows):
    together = model.fit(NOISY, REF, TIMING, WEIGHTS)
    assert_same(together, model.fit(NOISY[rows], REF, TIMING, WEIGHTS), rows=rows)


@every_model
def test_more_rows_than_a_chunk_are_rows_alone(model):
    fit = model.fit(np.tile(NOISY, (250, 1)), REF, TIMING, WEIGHTS)
    assert_same(fit, model.fit(NOISY, REF, TIMING, WEIGHTS), rows=slice(-len(NOISY), None))


@every_model
@given(
    row=st.integers(0, len(NOISY) - 1),
    frame=st.integers(0, len(TIMING) - 1),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
@few
def test_bad_row_is_nan_and_leaves_the_others_alone(model, row, frame, bad):
    clean = model.fit(NOISY, REF, TIMING, WEIGHTS)
    damaged = NOISY.copy()
    damaged[row, frame] = bad
    fit = model.fit(damaged, REF, TIMING, WEIGHTS)
    assert fit.flags[row] & Flag.FAILED
    assert fit.flags[row] & Flag.NONFINITE_INPUT
    assert all(np.isnan(estimate[row]) for estimate in fit.estimates.values())
    assert all(np.isnan(error[row]) for error in fit.standard_errors.values())
    assert np.isnan(fit.fitted[row]).all()
    others = np.arange(len(NOISY)) != row
    assert_same(fit, clean, rows=others, other_rows=others)


@every_binding_model
def test_curve_without_activity_has_no_estimate(model):
    tacs = NOISY.copy()
    tacs[3] = 0
    fit = model.fit(tacs, REF, TIMING, WEIGHTS)
    assert all(np.isnan(estimate[3]) for estimate in fit.estimates.values())
    assert fit.flags[3] & Flag.FAILED


@every_model
def test_input_is_left_as_it_was(model):
    inputs = [NOISY.copy(), REF.copy(), WEIGHTS.copy()]
    before = [array.tobytes() for array in inputs]
    voxels = NOISY.astype(np.float32)
    voxels_before = voxels.tobytes()
    model.fit(inputs[0], inputs[1], TIMING, inputs[2])
    model.fit_voxels(voxels, inputs[1], TIMING, inputs[2])
    assert [array.tobytes() for array in inputs] == before
    assert voxels.tobytes() == voxels_before


@every_model
def test_declared_parameters_are_the_ones_that_come_back(model):
    fit = model.fit(TACS, REF, TIMING, WEIGHTS)
    symbols = {parameter.symbol for parameter in model.parameters}
    assert set(fit.estimates) == set(fit.standard_errors) == symbols
    assert fit.fitted.shape == TACS.shape
    voxels = model.fit_voxels(TACS.astype(np.float32), REF, TIMING, WEIGHTS)
    assert set(model.map_parameters) <= set(voxels.estimates) <= symbols
    assert MODELS[model.model] is type(model)


@every_model
def test_voxels_equal_regions(model):
    regions = model.fit(NOISY, REF, TIMING, WEIGHTS)
    voxels = model.fit_voxels(NOISY.astype(np.float32), REF, TIMING, WEIGHTS)
    for symbol, estimate in voxels.estimates.items():
        np.testing.assert_allclose(
            estimate, regions.estimates[symbol], rtol=1e-5, atol=1e-5, err_msg=symbol
        )
    without_errors = ~np.uint8(Flag.IMPRECISE)
    np.testing.assert_array_equal(voxels.flags, regions.flags & without_errors)


@every_binding_model
def test_reference_that_is_not_finite_is_refused(model):
    ref = REF.copy()
    ref[12] = np.nan
    with pytest.raises(ValueError, match="reference"):
        model.fit(TACS, ref, TIMING, WEIGHTS)


@every_binding_model
def test_too_few_frames_give_no_estimate(model):
    weights = np.zeros_like(WEIGHTS)
    weights[-2:] = 1
    fit = model.fit(TACS, REF, TIMING, weights)
    assert np.isnan(fit.estimates["BPND"]).all()
    assert ((fit.flags & Flag.FEW_FRAMES) > 0).all()


@every_binding_model
@pytest.mark.parametrize("first", [0, 12])
def test_frames_may_have_gaps_and_start_late(model, first):
    # Three minutes without frames, and for the second case none in the first five minutes. The
    # lines that bridge them are wrong by a few per cent of R1, which BPND feels less.
    kept = [i for i in range(first, len(TIMING)) if i not in (24, 25)]
    timing = FrameTiming(TIMING.start_s[kept], TIMING.duration_s[kept])
    fit = model.fit(TACS[:, kept], REF[kept], timing, WEIGHTS[kept])
    np.testing.assert_allclose(1 + fit.estimates["BPND"], 1 + np.array(TRUTH)[:, 1], rtol=0.03)
