"""Frame means of a convolution against the same integral on a fine grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import cumulative_trapezoid

from pipeline.core.timing import FrameTiming
from pipeline.kinetics.convolution import ReferenceCurve

REGULAR = FrameTiming(np.arange(10) * 60.0, np.full(10, 60.0))
FRAMES = {
    "one length": REGULAR,
    "growing": FrameTiming(np.array([0, 10, 30, 90, 300, 900.0]),
                           np.array([10, 20, 60, 210, 600, 1200.0])),
    "gaps": FrameTiming(np.array([0, 120, 600, 2400.0]), np.array([60, 60, 300, 600.0])),
    "late start": FrameTiming(np.array([1800, 2100, 2400.0]), np.array([300, 300, 300.0])),
    "from before the injection": FrameTiming(np.array([-30, 30, 90.0]), np.full(3, 60.0)),
}  # fmt: skip


def by_grid(ref, timing, rate, step_min=1e-4):
    """Frame means (F,) by a recursion over a fine grid."""
    start = np.maximum(timing.start_min, 0)
    t = np.arange(0, timing.end_min[-1] + step_min, step_min)
    mid = (start + timing.end_min) / 2
    curve = np.interp(t, np.append(0, mid), np.append(0, ref))
    # exp(rate (s - T)) stays finite for the rates and lengths below
    inner = cumulative_trapezoid(curve * np.exp(rate * (t - t[-1])), t, initial=0)
    area = cumulative_trapezoid(inner * np.exp(-rate * (t - t[-1])), t, initial=0)
    total = np.interp(timing.end_min, t, area) - np.interp(start, t, area)
    return total / timing.duration_min


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.006, 0.05, 0.6])
def test_convolution_is_the_integral(frames, rate, rng):
    timing = FRAMES[frames]
    ref = rng.uniform(0.5, 8, len(timing))
    found = ReferenceCurve(ref, timing).convolved(np.array([rate]))[0]
    np.testing.assert_allclose(found, by_grid(ref, timing, rate), rtol=1e-5)


def test_many_rates_are_each_alone(rng):
    curve = ReferenceCurve(rng.uniform(0, 8, 10), REGULAR)
    rates = np.geomspace(0.006, 0.6, 9)
    together = curve.convolved(rates)
    alone = np.vstack([curve.convolved(rates[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(together, alone, rtol=1e-13)


@given(rate=st.floats(1e-9, 1.0))
@settings(max_examples=60, deadline=None)
def test_series_and_closed_forms_meet(rate):
    # A smooth function of the rate: where the two forms change over there is no step.
    curve = ReferenceCurve(np.array([1.0, 5, 4, 3, 2, 1, 1, 1, 1, 1]), REGULAR)
    below, at, above = curve.convolved(np.array([rate * (1 - 1e-7), rate, rate * (1 + 1e-7)]))
    np.testing.assert_allclose(at, (below + above) / 2, rtol=1e-11)


def test_value_that_is_not_finite_is_bridged():
    ref = np.linspace(1, 10, 10)
    bridged = ref.copy()
    bridged[4] = np.nan
    rate = np.array([0.1])
    np.testing.assert_allclose(
        ReferenceCurve(bridged, REGULAR).convolved(rate),
        ReferenceCurve(ref, REGULAR).convolved(rate), rtol=1e-12,
    )  # fmt: skip


def test_curve_without_a_value_is_refused():
    with pytest.raises(ValueError, match="no finite value"):
        ReferenceCurve(np.full(10, np.nan), REGULAR)
