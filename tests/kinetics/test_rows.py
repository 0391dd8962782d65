"""Rows in chunks: what is fitted, what is set aside, and where results go."""

import numpy as np
import pytest

from pipeline.kinetics import rows as rows_module
from pipeline.kinetics.contract import BPND, R1, Flag, ModelFit, VoxelFit
from pipeline.kinetics.goodness import GOODNESS
from pipeline.kinetics.rows import Rows

PARAMETERS = (BPND, R1)


class Means:
    """A model whose BPND is the mean of a curve, NaN where that is negative; sees its chunks."""

    def __init__(self):
        self.seen = []

    def fit(self, chunk):
        self.seen.append(chunk.copy())
        mean = chunk.mean(axis=1)
        estimates = {"BPND": np.where(mean < 0, np.nan, mean), "R1": 2 * mean}
        return ModelFit(
            estimates=estimates,
            standard_errors=estimates,
            goodness={parameter.symbol: mean for parameter in GOODNESS},
            fitted=chunk,
            flags=(mean > 5) * np.uint8(Flag.AT_BOUND),
        )

    def fit_voxels(self, chunk):
        fit = self.fit(chunk)
        residual = fit.estimates["R1"]
        return VoxelFit(estimates=fit.estimates, residual=residual, flags=fit.flags)


@pytest.fixture
def means():
    return Means()


@pytest.fixture
def curves(rng):
    """Curves (100, 12) with means about 0 to 10."""
    return rng.uniform(0, 1, (100, 12)) + np.linspace(0, 9, 100)[:, None]


@pytest.mark.parametrize("chunk", [1, 7, 100, 8192])
def test_every_row_is_fitted_once_and_in_its_place(means, curves, chunk, monkeypatch):
    monkeypatch.setattr(rows_module, "_CHUNK", chunk)
    fit = Rows(curves, np.ones(12), 3).fit(PARAMETERS, means.fit)
    np.testing.assert_array_equal(np.concatenate(means.seen), curves)
    np.testing.assert_allclose(fit.estimates["BPND"], curves.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(fit.goodness["AIC"], curves.mean(axis=1), rtol=1e-14)
    np.testing.assert_array_equal(fit.fitted, curves)
    np.testing.assert_array_equal(fit.flags, (curves.mean(axis=1) > 5) * int(Flag.AT_BOUND))


def test_voxels_are_float32_and_the_rest_the_same(means, curves):
    fit = Rows(curves.astype(np.float32), np.ones(12), 3).fit_voxels(PARAMETERS, means.fit_voxels)
    assert fit.estimates["BPND"].dtype == fit.residual.dtype == np.float32
    assert means.seen[0].dtype == np.float64
    np.testing.assert_allclose(fit.estimates["BPND"], curves.mean(axis=1), rtol=1e-6)


def test_rows_of_a_view_are_read_where_they_lie(means, curves):
    image = np.asfortranarray(curves)
    fit = Rows(image, np.ones(12), 3).fit(PARAMETERS, means.fit)
    np.testing.assert_allclose(fit.estimates["BPND"], curves.mean(axis=1), rtol=1e-14)


@pytest.mark.parametrize("corrupt", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_in_a_frame_without_weight_reaches_no_fit(means, curves, corrupt):
    weights = np.ones(12)
    weights[3] = 0
    curves[:, 3] = corrupt
    fit = Rows(curves, weights, 3).fit(PARAMETERS, means.fit)
    assert (means.seen[0][:, 3] == 0).all()
    assert not (fit.flags & Flag.FAILED).any()
    assert (curves[:, 3] == corrupt).all() or np.isnan(corrupt)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_is_not_fitted(means, curves, bad):
    curves[[4, 90], 3] = bad
    fit = Rows(curves, np.ones(12), 3).fit(PARAMETERS, means.fit)
    assert np.isfinite(means.seen[0]).all()
    failed = Flag.FAILED | Flag.NONFINITE_INPUT
    np.testing.assert_array_equal(np.flatnonzero(fit.flags & Flag.FAILED), [4, 90])
    np.testing.assert_array_equal(fit.flags[[4, 90]], [failed, failed])
    assert np.isnan(fit.fitted[[4, 90]]).all()
    assert np.isnan(fit.standard_errors["R1"][[4, 90]]).all()


def test_row_of_zeros_and_row_without_main_estimate_fail_in_all_they_say(means, curves):
    curves[5] = 0
    curves[6] = -1
    fit = Rows(curves, np.ones(12), 3).fit(PARAMETERS, means.fit)
    np.testing.assert_array_equal(np.flatnonzero(fit.flags == int(Flag.FAILED)), [5, 6])
    for values in (fit.estimates, fit.standard_errors, fit.goodness):
        assert all(np.isnan(of_symbol[[5, 6]]).all() for of_symbol in values.values())


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(3, Flag.FEW_FRAMES | Flag.FAILED), (4, Flag.FEW_FRAMES), (5, Flag(0))],
)
def test_few_frames_are_flagged_and_too_few_fail(means, curves, frames, expected):
    weights = np.zeros(12)
    weights[:frames] = 1
    fit = Rows(curves[:3], weights, 3).fit(PARAMETERS, means.fit)
    np.testing.assert_array_equal(fit.flags, int(expected))
    assert np.isnan(fit.estimates["BPND"]).all() == bool(expected & Flag.FAILED)
