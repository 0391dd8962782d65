"""Where the efflux rate of the reference region comes from."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import Srtm, Srtm2
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.k2prime import K2Prime, with_k2prime

DURATION_S = np.repeat([30, 60, 180, 360], [6, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
T = TIMING.mid_min
REF = 8 * (1 - np.exp(-T / 0.4)) * (0.6 * np.exp(-T / 12) + 0.4 * np.exp(-T / 120))
WEIGHTS = DURATION_S / DURATION_S.mean()

NAMES = ("cortex", "striatum", "raphe", "cerebellar white matter")
K2PRIMES = (0.10, 0.14, 0.15, 0.30)
BPND = (1.0, 2.0, 1.5, 0.1)


def targets():
    curve = ReferenceCurve(REF, TIMING)
    k2a = 0.9 * np.array(K2PRIMES) / (1 + np.array(BPND))
    amount = 0.9 * (np.array(K2PRIMES) - k2a)
    return 0.9 * REF + amount[:, None] * curve.convolved(k2a)


SCAN = (targets(), REF, TIMING, WEIGHTS)


def test_given_value_is_taken():
    assert K2Prime(per_min=0.12).estimate(*SCAN) == 0.12
    assert K2Prime(per_min=0.12, region="raphe").estimate_named(NAMES, *SCAN) == 0.12


@pytest.mark.parametrize(("name", "expected"), list(zip(NAMES, K2PRIMES, strict=True)))
def test_stated_region_gives_its_own(name, expected):
    found = K2Prime(region=name).estimate_named(NAMES, *SCAN)
    assert found == pytest.approx(expected, rel=1e-4)


def test_median_is_over_the_curves_that_bind():
    assert K2Prime().estimate(*SCAN) == pytest.approx(0.14, rel=1e-4)
    assert K2Prime(bpnd_window=(1.2, 20)).estimate(*SCAN) == pytest.approx(0.145, rel=1e-4)
    assert K2Prime(bpnd_window=(-1, 20)).estimate(*SCAN) == pytest.approx(0.145, rel=1e-4)


def test_flagged_curves_do_not_count():
    tacs = np.vstack([targets(), -targets()])
    assert K2Prime().estimate(tacs, *SCAN[1:]) == pytest.approx(0.14, rel=1e-4)


def test_without_a_curve_in_the_window_the_error_says_what_to_do():
    with pytest.raises(ValueError, match=r"none of 4 curves.* from 5 to 20; give k2prime per_min"):
        K2Prime(bpnd_window=(5, 20)).estimate(*SCAN)


def test_region_of_nameless_curves_is_refused():
    with pytest.raises(ValueError, match=r"striatum.*no names"):
        K2Prime(region="striatum").estimate(*SCAN)


def test_region_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"thalamus.*cortex, striatum"):
        K2Prime(region="thalamus").estimate_named(NAMES, *SCAN)


def test_region_whose_fit_says_nothing_of_k2prime_is_refused():
    tacs = targets()
    tacs[2] = 1.3 * REF
    with pytest.raises(ValueError, match=r"raphe gives no k2prime \(singular"):
        K2Prime(region="raphe").estimate_named(NAMES, tacs, *SCAN[1:])


@pytest.mark.parametrize(
    "options", [{"per_min": -0.1}, {"per_min": np.nan}, {"bpnd_window": (2.0, 1.0)}]
)
def test_options_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        K2Prime(**options)


def test_model_is_filled_in_once_and_others_are_left():
    model = Srtm2(k2prime=K2Prime(region="raphe"))
    filled = with_k2prime(model, NAMES, *SCAN)
    assert filled.k2prime.per_min == pytest.approx(0.15, rel=1e-4)
    assert filled == replace(model, k2prime=filled.k2prime)
    assert with_k2prime(filled, NAMES, *SCAN) is filled
    srtm = Srtm()
    assert with_k2prime(srtm, NAMES, *SCAN) is srtm
