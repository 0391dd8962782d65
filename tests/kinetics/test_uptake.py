"""SUVR and SUV against means by hand."""

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.kinetics.contract import Flag
from pipeline.kinetics.suv import Suv
from pipeline.kinetics.suvr import Suvr

TIMING = FrameTiming(
    np.array([0.0, 60, 180, 300, 480, 600]), np.array([60.0, 120, 120, 180, 120, 60])
)
REF = np.array([1.0, 4, 4, 3, 2, 2])
TACS = np.array([[1.0, 5, 8, 9, 6, 5], [0.0, 2, 2, 2, 2, 2]])
WEIGHTS = np.full(6, 0.3)


def test_suvr_is_the_ratio_of_means_by_duration():
    # from 3 to 10 min: frames of 2, 3 and 2 min
    fit = Suvr(start_min=3, end_min=10).fit(TACS, REF, TIMING, WEIGHTS)
    ref = (2 * 4 + 3 * 3 + 2 * 2) / 7
    expected = [(2 * 8 + 3 * 9 + 2 * 6) / 7 / ref, 2 / ref]
    np.testing.assert_allclose(fit.estimates["SUVR"], expected, rtol=1e-13)
    assert np.isnan(fit.standard_errors["SUVR"]).all()
    assert not fit.flags.any()
    np.testing.assert_array_equal(np.isfinite(fit.fitted[0]), [0, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(fit.fitted[0, 2:5], expected[0] * REF[2:5])


def test_frame_that_is_not_wholly_inside_does_not_count():
    fit = Suvr(start_min=2.9, end_min=9.9).fit(TACS, REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(fit.estimates["SUVR"], [(16 + 27) / 17, 10 / 17])


def test_frame_without_weight_does_not_count():
    weights = WEIGHTS.copy()
    weights[3] = 0
    tacs, ref = TACS.copy(), REF.copy()
    tacs[:, 3], ref[3] = np.nan, np.nan
    fit = Suvr(start_min=3, end_min=10).fit(tacs, ref, TIMING, weights)
    np.testing.assert_allclose(fit.estimates["SUVR"], [14 / 6, 4 / 6])


def test_suv_is_activity_by_dose_per_weight():
    model = Suv(start_min=3, end_min=10, injected_mbq=370, body_weight_kg=74)
    # 5 MBq/kg is 5 kBq/g: 10 kBq/mL there is an SUV of 2 g/mL
    tacs = np.full((1, 6), 10_000.0)
    for ref in (REF, np.full(6, np.nan)):
        fit = model.fit(tacs, ref, TIMING, WEIGHTS)
        assert fit.estimates["SUV"][0] == pytest.approx(2)
    voxels = model.fit_voxels(tacs.astype(np.float32), REF, TIMING, WEIGHTS)
    assert voxels.estimates["SUV"][0] == pytest.approx(2)
    assert voxels.residual[0] == pytest.approx(0, abs=1e-3)


def test_residual_is_the_spread_in_the_window():
    model = Suvr(start_min=3, end_min=10)
    voxels = model.fit_voxels(TACS, REF, TIMING, WEIGHTS)
    value = model.fit(TACS, REF, TIMING, WEIGHTS).estimates["SUVR"][:, None]
    difference = (TACS - value * REF)[:, 2:5]
    expected = np.sqrt(difference**2 @ np.array([2, 3, 2]) / 7)
    np.testing.assert_allclose(voxels.residual, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("known", "missing"),
    [
        ({"body_weight_kg": 74.0}, "injected_mbq"),
        ({"injected_mbq": 370.0}, "body_weight_kg"),
        ({"injected_mbq": 0.0, "body_weight_kg": 74.0}, "injected_mbq"),
    ],
)
def test_suv_names_what_is_missing(known, missing):
    with pytest.raises(ValueError, match=missing):
        Suv(start_min=3, end_min=10, **known).fit(TACS, REF, TIMING, WEIGHTS)


def test_window_without_a_frame_is_refused():
    with pytest.raises(ValueError, match="from 0 to 11 min"):
        Suvr(start_min=40, end_min=90).fit(TACS, REF, TIMING, WEIGHTS)


def test_reference_without_activity_is_refused():
    with pytest.raises(ValueError, match="no activity"):
        Suvr(start_min=3, end_min=10).fit(TACS, 0 * REF, TIMING, WEIGHTS)


def test_bad_curve_fails_alone():
    tacs = TACS.copy()
    tacs[0, 4] = np.inf
    fit = Suvr(start_min=3, end_min=10).fit(tacs, REF, TIMING, WEIGHTS)
    assert fit.flags[0] & Flag.FAILED
    assert np.isnan(fit.estimates["SUVR"][0])
    assert np.isfinite(fit.estimates["SUVR"][1])


@pytest.mark.parametrize("model", [Suvr, Suv])
@pytest.mark.parametrize("window", [(-1, 10), (10, 10), (10, np.inf)])
def test_window_out_of_order_is_refused(model, window):
    with pytest.raises(ValueError, match="start_min"):
        model(start_min=window[0], end_min=window[1])
