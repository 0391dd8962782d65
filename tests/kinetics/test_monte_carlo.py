"""Bias and scatter of BPND under the noise of simulated scans, against published figures."""

import numpy as np
import pytest

from monte_carlo import run

pytestmark = pytest.mark.slow

SCANS = 400


@pytest.fixture(scope="module")
def table():
    """Estimates of all models in noisy scans."""
    return run(SCANS)


def cell(table, values, model):
    """Values (R,) of a model."""
    return values[table.models.index(model)]


def test_srtm_scatters_as_published(table):
    # Inverse variance weights, 300 scans: 1.6, 2.3, 4.9, 6.4 and 5.5 %. The raphe lies a fifth
    # higher here, more than sampling (4 %) covers; the reference curve and k2prime of those scans
    # are not known to be the same. The limit is for gross errors.
    published = np.array([1.6, 2.3, 4.9, 6.4, 5.5])
    np.testing.assert_allclose(cell(table, table.cv_percent, "SRTM"), published, rtol=0.25)


def test_srtm_family_is_hardly_biased(table):
    # Published: within .6 %; four standard errors of the mean of 400 scans on top.
    allowed = 0.6 + 4 * table.cv_percent / np.sqrt(SCANS)
    for model in ("SRTM", "SRTM2", "MRTM1", "MRTM2"):
        assert (np.abs(cell(table, table.bias_percent, model)) < cell(table, allowed, model)).all()


def test_known_k2prime_reduces_scatter(table):
    for three, two in (("SRTM", "SRTM2"), ("MRTM1", "MRTM2")):
        gain = cell(table, table.cv_percent, two) / cell(table, table.cv_percent, three)
        assert (gain < 0.95).all(), (three, gain)


def test_noise_biases_the_ratio_plot_as_published(table):
    # Ten frames: -7 % in the raphe, -5 % in the ventral striatum. The multilinear form, which
    # does not divide by a noisy curve, is nearer to the truth everywhere.
    ratio = cell(table, table.bias_percent, "Logan")
    region = dict(zip(table.regions, ratio, strict=True))
    assert region["DBS"] == pytest.approx(-7, abs=2)
    assert region["VST"] == pytest.approx(-5, abs=2)
    multilinear = cell(table, table.bias_percent, "Logan, multilinear")
    assert (np.abs(multilinear) < np.abs(ratio)).all()


def test_standard_errors_are_the_scatter(table):
    # All but the noise of the reference, which no standard error counts. A regression that takes
    # integrals as free of noise would claim half of the scatter.
    assert (table.error_ratio > 0.8).all(), table.error_ratio
    assert (table.error_ratio < 1.2).all(), table.error_ratio
