"""SRTM2 against a general least-squares program, and what it is for: less scatter."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, least_squares

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import Srtm, Srtm2
from pipeline.kinetics.contract import Flag
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.k2prime import K2Prime

DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
T = TIMING.mid_min
REF = 8 * (1 - np.exp(-T / 0.4)) * (0.6 * np.exp(-T / 12) + 0.4 * np.exp(-T / 120))
SD = np.sqrt(np.maximum(REF, 0.3) * np.exp(0.034 * T) / TIMING.duration_min)
WEIGHTS = 1 / SD**2
K2PRIME = 0.14
KNOWN = Srtm2(k2prime=K2Prime(per_min=K2PRIME))
CURVE = ReferenceCurve(REF, TIMING)


def curve(r1, k2a, k2prime=K2PRIME):
    """Wu & Carson (2002), their equation for one target."""
    return r1 * (REF + (k2prime - k2a) * CURVE.convolved(np.array([k2a]))[0])


def noisy(r1, bpnd, count, rng, level):
    clean = curve(r1, r1 * K2PRIME / (1 + bpnd))
    return clean + rng.normal(size=(count, clean.size)) * level * SD


@pytest.mark.parametrize("r1", [0.5, 0.8, 1.2])
@pytest.mark.parametrize("bpnd", [0.0, 0.4, 2.0, 6.0])
def test_curve_of_the_model_gives_its_parameters(r1, bpnd):
    k2a = r1 * K2PRIME / (1 + bpnd)
    fit = KNOWN.fit(curve(r1, k2a)[None], REF, TIMING, WEIGHTS)
    expected = {
        "BPND": bpnd, "R1": r1, "k2": r1 * K2PRIME, "k2a": k2a, "k2prime": K2PRIME,
    }  # fmt: skip
    for symbol, value in expected.items():
        assert fit.estimates[symbol][0] == pytest.approx(value, rel=1e-6, abs=1e-6), symbol
    np.testing.assert_allclose(fit.fitted[0], curve(r1, k2a), rtol=1e-7, atol=1e-7)


def test_optimum_and_standard_errors_are_those_of_a_general_program(rng):
    tacs = np.vstack([noisy(0.9, bpnd, 5, rng, 0.15) for bpnd in (0.3, 1.2, 2.5)])
    fit = KNOWN.fit(tacs, REF, TIMING, WEIGHTS)
    root = np.sqrt(WEIGHTS)
    for i, tac in enumerate(tacs):
        ours = np.array([fit.estimates["R1"][i], fit.estimates["k2a"][i]])
        general = min(
            (
                least_squares(
                    lambda p, tac=tac: root * (curve(*p) - tac), start,
                    bounds=([-np.inf, 0.006], [np.inf, 0.6]), x_scale=(1, 0.05),
                    xtol=1e-14, ftol=1e-14, gtol=1e-14,
                )
                for start in [(1.0, 0.1), (0.7, 0.02), (0.9, 0.3)]
            ),
            key=lambda found: found.cost,
        )  # fmt: skip
        square = np.sum((root * (curve(*ours) - tac)) ** 2)
        assert square <= 2 * general.cost * (1 + 1e-8)
        np.testing.assert_allclose(ours, general.x, rtol=1e-5)

        def published(p):
            return np.array([p[0] * K2PRIME / p[1] - 1, p[0], p[0] * K2PRIME, p[1]])

        jacobian = approx_fprime(ours, lambda p: root * curve(*p), 1e-7)
        covariance = np.linalg.inv(jacobian.T @ jacobian) * square / (len(REF) - 2)
        gradient = approx_fprime(ours, published, 1e-7)
        numerical = np.sqrt(np.diag(gradient @ covariance @ gradient.T))
        analytical = [fit.standard_errors[symbol][i] for symbol in ("BPND", "R1", "k2", "k2a")]
        np.testing.assert_allclose(analytical, numerical, rtol=1e-4)


def test_fixed_parameter_has_no_standard_error():
    fit = KNOWN.fit(curve(0.9, 0.05)[None], REF, TIMING, WEIGHTS)
    assert fit.estimates["k2prime"][0] == K2PRIME
    assert np.isnan(fit.standard_errors["k2prime"][0])


def test_standard_errors_are_the_scatter_and_less_than_those_of_srtm(rng):
    # 2,000 draws know a standard deviation to 1.6 %; the delta method is of first order.
    tacs = noisy(0.85, 1.2, 2000, rng, 0.15)
    two, three = (m.fit(tacs, REF, TIMING, WEIGHTS) for m in (KNOWN, Srtm()))
    for fit in (two, three):
        scatter, told = np.std(fit.estimates["BPND"]), np.median(fit.standard_errors["BPND"])
        assert told == pytest.approx(scatter, rel=0.06)
        assert np.mean(fit.estimates["BPND"]) == pytest.approx(1.2, abs=0.02)
    assert np.std(two.estimates["BPND"]) < 0.9 * np.std(three.estimates["BPND"])
    assert np.std(two.estimates["R1"]) < 0.9 * np.std(three.estimates["R1"])


def test_k2prime_of_a_first_pass_is_that_of_the_curves(rng):
    tacs = np.vstack([noisy(r1, b, 8, rng, 0.02) for r1, b in ((0.8, 1.0), (1.1, 1.7))])
    fit = Srtm2().fit(tacs, REF, TIMING, WEIGHTS)
    assert np.ptp(fit.estimates["k2prime"]) == 0
    assert fit.estimates["k2prime"][0] == pytest.approx(K2PRIME, rel=0.02)
    voxels = Srtm2().fit_voxels(tacs, REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(voxels.estimates["BPND"], fit.estimates["BPND"], rtol=1e-5)


def test_estimate_on_a_bound_is_flagged():
    model = Srtm2(k2prime=K2Prime(per_min=K2PRIME), k2a_min=0.08)
    fit = model.fit(curve(0.9, 0.05)[None], REF, TIMING, WEIGHTS)
    assert fit.estimates["k2a"][0] == pytest.approx(0.08)
    assert fit.flags[0] & Flag.AT_BOUND


def test_negative_curve_is_implausible():
    fit = KNOWN.fit(-curve(0.9, 0.05)[None], REF, TIMING, WEIGHTS)
    assert fit.flags[0] & Flag.IMPLAUSIBLE
    assert fit.estimates["R1"][0] == pytest.approx(-0.9, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"k2prime": K2Prime(per_min=0)}, {"k2a_min": 0.0}, {"k2a_min": 0.7},
        {"k2a_max": np.inf}, {"imprecise_share": 0.0},
    ],
)  # fmt: skip
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Srtm2(**options)
