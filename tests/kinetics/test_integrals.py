"""Running integrals against integrals of curves that are known in closed form."""

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.kinetics.integrals import ReferenceIntegrals, running_integral

DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
ONES = np.ones(len(TIMING))


def kept(frames):
    return FrameTiming(TIMING.start_s[frames], TIMING.duration_s[frames])


def rising(timing):
    """Frame means of the curve 2 t, whose integral is t squared."""
    return timing.start_min + timing.end_min


def test_constant_and_rising_curves():
    operator = running_integral(TIMING, ONES)
    np.testing.assert_allclose(operator @ ONES, TIMING.mid_min, rtol=1e-13)
    # half of a frame's sum is not the integral to its middle: short by (duration / 2)^2
    short = (TIMING.duration_min / 2) ** 2
    np.testing.assert_allclose(operator @ rising(TIMING) - short, TIMING.mid_min**2, rtol=1e-12)


def test_previous_frames_count_whole_and_the_own_one_half(rng):
    curves = rng.normal(size=(5, len(TIMING)))
    found = curves @ running_integral(TIMING, ONES).T
    for curve, row in zip(curves, found, strict=True):
        total = 0.0
        for f, duration in enumerate(TIMING.duration_min):
            assert row[f] == pytest.approx(total + curve[f] * duration / 2, abs=1e-12)
            total += curve[f] * duration


@pytest.mark.parametrize("gap", [[20], [10, 11, 12], [30, 35]])
def test_gap_is_bridged_by_a_line(gap):
    # Of a curve that is a line the bridge misses nothing.
    frames = np.setdiff1d(np.arange(len(TIMING)), gap)
    whole = running_integral(TIMING, ONES) @ rising(TIMING)
    timing = kept(frames)
    found = running_integral(timing, np.ones(len(timing))) @ rising(timing)
    np.testing.assert_allclose(found, whole[frames], rtol=1e-12)


@pytest.mark.parametrize("gap", [[20], [10, 11, 12], [0, 1], [36, 37]])
def test_frame_without_weight_is_a_gap(gap, rng):
    weights = ONES.copy()
    weights[gap] = 0
    frames = np.flatnonzero(weights)
    operator = running_integral(TIMING, weights)
    assert not operator[:, gap].any()
    alone = running_integral(kept(frames), np.ones(frames.size))
    np.testing.assert_allclose(operator[np.ix_(frames, frames)], alone, atol=1e-12)
    # and the integral to its middle is that of the bridge
    if 0 not in gap and 37 not in gap:
        expected = TIMING.mid_min[gap] ** 2
        np.testing.assert_allclose((operator @ rising(TIMING))[gap], expected, rtol=1e-12)


def test_late_start_is_a_triangle_from_the_injection():
    late = FrameTiming(np.array([600.0, 900.0]), np.array([300.0, 300.0]))
    # 2 t from the injection on: through zero, so that the triangle is exact up to the first frame
    found = running_integral(late, np.ones(2)) @ rising(late)
    np.testing.assert_allclose(found, late.mid_min**2 + 2.5**2, rtol=1e-12)


def test_curve_stays_level_after_the_last_frame():
    weights = np.array([1.0, 1.0, 0.0])
    timing = FrameTiming(np.array([0.0, 60.0, 120.0]), np.full(3, 60.0))
    found = running_integral(timing, weights) @ np.array([1.0, 3.0, 99.0])
    np.testing.assert_allclose(found, [0.5, 2.5, 5.5])


def test_frames_before_the_injection_do_not_count():
    timing = FrameTiming(np.array([-60.0, -20.0, 40.0]), np.array([40.0, 60.0, 60.0]))
    operator = running_integral(timing, np.ones(3))
    assert not operator[0].any()
    assert not operator[:, 0].any()
    # the frame from -20 to 40 s holds its activity after the injection
    np.testing.assert_allclose(operator @ np.array([99.0, 2.0, 4.0]), [0, 1, 4])


def test_no_frame_with_weight_leaves_nothing():
    assert not running_integral(TIMING, 0 * ONES).any()


def test_start_that_leaves_too_few_frames_is_refused():
    integrals = ReferenceIntegrals.of(rising(TIMING), TIMING, ONES)
    assert np.count_nonzero(integrals.from_start(33.0, 2)) == 10
    with pytest.raises(ValueError, match="leaves 2 frames"):
        integrals.from_start(80.0, 2)


def test_reference_value_without_weight_does_not_matter(rng):
    ref = rising(TIMING)
    weights = ONES.copy()
    weights[[0, 7, 20]] = 0
    corrupt = ref.copy()
    corrupt[[0, 7, 20]] = [np.nan, 1e9, -np.inf]
    clean, dirty = (ReferenceIntegrals.of(r, TIMING, weights) for r in (ref, corrupt))
    np.testing.assert_array_equal(clean.ref, dirty.ref)
    np.testing.assert_array_equal(clean.integral, dirty.integral)
