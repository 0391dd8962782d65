"""Frame weights against the noise they are meant to undo, and against their formulas."""

import csv
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.core.decay import decay_constant_per_s
from pipeline.core.timing import FrameTiming
from pipeline.kinetics.weights import (
    FrameWeights,
    frame_weights,
    inverse_variance_weights,
    kinfitr_weights,
)

ORACLE = Path(__file__).resolve().parents[3] / "shared" / "oracles" / "simba_controls"

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


@pytest.mark.parametrize("method", get_args(FrameWeights))
def test_every_method_has_mean_one_and_ignores_what_precedes_the_injection(method):
    late = FrameTiming(TIMING.start_s - 25, DURATION_S)
    weights = frame_weights(method, TAC, late, PER_S)
    after = late.end_s > 0
    assert (weights[~after] == 0).all()
    assert (weights[after] > 0).all()
    assert weights[after].mean() == pytest.approx(1)
    np.testing.assert_allclose(frame_weights(method, 1e4 * TAC, late, PER_S), weights)


def test_simple_methods():
    np.testing.assert_allclose(frame_weights("uniform", TAC, TIMING, PER_S), 1)
    by_length = frame_weights("duration", TAC, TIMING, PER_S)
    np.testing.assert_allclose(by_length, DURATION_S / DURATION_S.mean())
    counts = frame_weights("counts", TAC, TIMING, PER_S)
    np.testing.assert_array_equal(counts, inverse_variance_weights(TAC, TIMING, PER_S))


def test_unknown_method_is_refused():
    with pytest.raises(ValueError, match="kinfitr-9"):
        frame_weights("kinfitr-10", TAC, TIMING, PER_S)


@pytest.mark.parametrize("number", range(1, 10))
def test_kinfitr_formulas(number):
    # frames of like length and a curve of like height: no weight is cut or floored
    timing = FrameTiming(np.arange(8) * 30.0, np.repeat([30.0, 28.0], 4))
    tac = np.array([5.0, 6, 6, 7, 6.5, 6, 5.5, 5])
    lam, d, start = PER_S * 60, timing.duration_min, timing.start_min
    seen = tac * (1 - np.exp(-lam * d)) / (np.exp(lam * start) * lam * d)
    formula = {
        1: d / seen,
        2: np.sqrt(d * seen),
        3: np.sqrt(d) / tac,
        4: np.sqrt(d),
        5: d * np.exp(-lam * (start + d / 2)),
        6: d / tac,
        7: d,
        8: d**2 / seen,
        9: d**2 / (d * tac) * (tac / seen) ** 2,
    }[number]
    share = formula / formula.max()
    assert share.min() > 0.5  # so that nothing is squeezed
    expected = share
    found = kinfitr_weights(number, tac, timing, PER_S)
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-12)


def test_kinfitr_cuts_what_stands_out():
    # one frame of ten minutes among frames of one: without the cut it would set the scale
    duration = np.array([60.0, 60, 60, 60, 60, 600, 60, 60])
    timing = FrameTiming(np.cumsum(duration) - duration, duration)
    weights = kinfitr_weights(7, np.ones(8), timing, PER_S)
    np.testing.assert_allclose(weights, 1)


@pytest.mark.parametrize("number", [1, 3, 6, 8, 9])
def test_kinfitr_floors_frames_that_hold_nothing(number):
    tac = TAC.copy()
    tac[:2] = [0.0, -1.0]
    weights = kinfitr_weights(number, tac, TIMING, PER_S)
    assert np.isfinite(weights).all()
    assert weights.max() <= 2 * weights.min() * (1 + 1e-12)


@pytest.mark.skipif(
    not ORACLE.is_dir(), reason=f"published weights are not beside the repository ({ORACLE.name})"
)
def test_default_of_kinfitr_is_that_of_published_scans():
    # The published weights are those of the mean of the nine regions, with 20.4 min for carbon-11;
    # with both only the rounding of printed numbers is left.
    scans = {}
    with (ORACLE / "tacs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            scans.setdefault(row["pet"], {}).setdefault(row["region"], []).append(row)
    assert len(scans) == 20
    for regions in scans.values():
        frames = next(iter(regions.values()))
        duration = np.array([float(f["duration_min"]) for f in frames]) * 60
        start = np.array([float(f["mid_min"]) for f in frames]) * 60 - duration / 2
        timing = FrameTiming(np.round(start, 6), np.round(duration, 6))
        tac = np.mean([[float(f["tac"]) for f in region] for region in regions.values()], axis=0)
        published = np.array([float(f["weight"]) for f in frames])
        found = kinfitr_weights(2, tac, timing, np.log(2) / (20.4 * 60))
        np.testing.assert_allclose(found * published.mean(), published, rtol=0, atol=1e-12)
