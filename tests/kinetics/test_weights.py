"""Frame weights against the noise they are meant to undo."""

import numpy as np
import pytest

from pipeline.core.decay import decay_constant_per_s
from pipeline.core.timing import FrameTiming
from pipeline.kinetics.weights import inverse_variance_weights

DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
PER_S = decay_constant_per_s("C11")
TAC = 8 * np.exp(-TIMING.mid_min / 60) * -np.expm1(-TIMING.mid_min / 0.3)


def test_weights_undo_the_variance_of_counts(rng):
    # Counts are drawn, decay-corrected and their variance measured: 20 000 draws leave 1 % of it.
    survival = np.exp(-PER_S * TIMING.mid_s)
    counts = rng.poisson(1e3 * TAC * survival * DURATION_S, size=(20_000, DURATION_S.size))
    measured = counts / (1e3 * survival * DURATION_S)
    product = inverse_variance_weights(TAC, TIMING, PER_S) * measured.var(axis=0)
    busy = 0.5 * TAC.max() < TAC
    # mid-frame against mean survival over the frame: within a tenth of a per cent
    np.testing.assert_allclose(product[busy] / product[busy].mean(), 1, rtol=0.05)


def test_weights_have_mean_one_whatever_the_unit():
    weights = inverse_variance_weights(TAC, TIMING, PER_S)
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_allclose(inverse_variance_weights(1e4 * TAC, TIMING, PER_S), weights)


@pytest.mark.parametrize("first", [0.0, -0.3, 1e-9])
def test_frame_that_holds_nothing_yet_is_trusted_no_more_than_a_full_one(first):
    tac = TAC.copy()
    tac[:2] = first
    weights = inverse_variance_weights(tac, TIMING, PER_S)
    per_second = weights / DURATION_S
    # Before the bolus arrives a frame is free of counts, not free of errors of the model.
    assert per_second[:2].max() < 5 * per_second[2:].max()


def test_frames_before_the_injection_weigh_nothing():
    late = FrameTiming(TIMING.start_s - 25, DURATION_S)
    weights = inverse_variance_weights(TAC, late, PER_S)
    assert (weights[late.end_s <= 0] == 0).all()
    assert (weights[late.end_s > 0] > 0).all()


@pytest.mark.parametrize("tac", [np.zeros(38), np.full(38, np.nan), -TAC])
def test_curve_without_activity_is_refused(tac):
    with pytest.raises(ValueError, match="activity"):
        inverse_variance_weights(tac, TIMING, PER_S)
