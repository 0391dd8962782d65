"""Voxels by the hundred thousand against one-by-one optima, regions, chunks and threads."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import Srtm, Srtm2, rows
from pipeline.kinetics.contract import Flag
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.projection import RateGrid, Search

K2PRIME = 0.14
MODELS_OF_VOXELS = [Srtm(), Srtm2(k2prime=K2Prime(per_min=K2PRIME))]
both = pytest.mark.parametrize("model", MODELS_OF_VOXELS, ids=[m.model for m in MODELS_OF_VOXELS])


def frames(durations_s, gap_after=None, start_s=0.0):
    """Frames one after the other, with ten minutes' gap after one of them."""
    duration = np.asarray(durations_s, float)
    start = start_s + np.cumsum(duration) - duration
    if gap_after is not None:
        start[gap_after + 1 :] += 600
    return FrameTiming(start, duration)


HRRT_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12])
TIMING = frames(HRRT_S)
PROTOCOLS = {
    "38 frames": TIMING,
    "gap": frames(HRRT_S, gap_after=27),
    "late start": frames(np.full(12, 300), start_s=300),
}


def reference(timing):
    t = timing.mid_min
    return 8 * (1 - np.exp(-t / 0.4)) * (0.6 * np.exp(-t / 12) + 0.4 * np.exp(-t / 120))


def noise_sd(timing, level):
    """Of the frames of one voxel, after decay correction for carbon-11."""
    activity = np.maximum(reference(timing), 0.3)
    return level * np.sqrt(activity * np.exp(0.034 * timing.mid_min) / timing.duration_min)


def voxels(count, rng, timing=TIMING, level=0.7):
    """Curves (V, F), float32, of voxels whose R1 and BPND are spread over a brain's."""
    ref = reference(timing)
    r1, bpnd = rng.uniform(0.5, 1.2, count), rng.uniform(0, 3, count)
    k2a = r1 * K2PRIME / (1 + bpnd)
    response = ReferenceCurve(ref, timing).convolved(k2a)
    clean = r1[:, None] * ref + (r1 * (K2PRIME - k2a))[:, None] * response
    return (clean + rng.normal(size=clean.shape) * noise_sd(timing, level)).astype(np.float32)


def weights_of(timing):
    return 1 / noise_sd(timing, 1.0) ** 2


def by_trying_all_rates(tacs, ref, timing, weights, rates=5001):
    """R1, BPND (V,) of SRTM with the least residual over rates so close that none is missed."""
    curve, root = ReferenceCurve(ref, timing), np.sqrt(weights)
    log_rate = np.linspace(np.log(Srtm().k2a_min), np.log(Srtm().k2a_max), rates)
    y, a, b = tacs * root, ref * root, curve.convolved(np.exp(log_rate)) * root
    b -= np.outer(b @ a / (a @ a), a)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    best = []
    for row in y:
        explained = (b @ row) ** 2
        at = int(np.argmax(explained))
        if 0 < at < rates - 1:
            below, top, above = explained[at - 1 : at + 2]
            at += (below - above) / (2 * (below - 2 * top + above))
        best.append(log_rate[0] + at * (log_rate[1] - log_rate[0]))
    k2a = np.exp(best)
    response = curve.convolved(k2a) * root
    pairs = np.stack([np.broadcast_to(a, response.shape), response], axis=-1)
    r1, amount = np.array(
        [np.linalg.lstsq(p, row, rcond=None)[0] for p, row in zip(pairs, y, strict=True)]
    ).T
    return r1, r1 + amount / k2a - 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_voxel_is_at_its_own_optimum(protocol, rng):
    timing = PROTOCOLS[protocol]
    count = 2000 if protocol == "38 frames" else 300
    tacs, ref, weights = voxels(count, rng, timing), reference(timing), weights_of(timing)
    fit = Srtm().fit_voxels(tacs, ref, timing, weights)
    r1, bpnd = by_trying_all_rates(tacs, ref, timing, weights)
    assert np.isfinite(fit.estimates["BPND"]).all()
    # float32, and what a parabola through three of the close rates leaves
    np.testing.assert_allclose(fit.estimates["BPND"], bpnd, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fit.estimates["R1"], r1, rtol=1e-5, atol=1e-5)


def test_no_rate_explains_more_of_a_curve_of_noise(rng):
    # Noise has peaks of nearly the same height far apart: the highest must be found.
    tacs = rng.normal(size=(40_000, 38)) * noise_sd(TIMING, 1.0)
    root = np.sqrt(weights_of(TIMING))
    curve = ReferenceCurve(reference(TIMING), TIMING)
    first = reference(TIMING) * root
    first /= np.linalg.norm(first)

    def across(rates):
        weighted = curve.convolved(rates) * root
        return weighted - np.outer(weighted @ first, first)

    grid = RateGrid.between(0.006, 0.6)
    search, _ = Search.along(across(grid.rate_per_min), root)
    optimum = search.best(tacs)
    at_optimum = across(grid.rate_at(optimum.place))
    at_optimum /= np.linalg.norm(at_optimum, axis=1, keepdims=True)
    found = np.abs(np.sum(tacs * root * at_optimum, axis=1))
    tried = across(np.geomspace(0.006, 0.6, 1001))
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    most = np.max(np.abs((tacs * root) @ tried.T), axis=1)
    assert np.min(found / most) > 1 - 1e-9
    np.testing.assert_allclose(np.abs(optimum.projection), found, rtol=1e-7)


@both
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_voxels_equal_curves(model, protocol, rng):
    timing = PROTOCOLS[protocol]
    tacs, ref, weights = voxels(3000, rng, timing), reference(timing), weights_of(timing)
    by_voxels = model.fit_voxels(tacs, ref, timing, weights)
    by_curves = model.fit(tacs, ref, timing, weights)
    for symbol, estimate in by_voxels.estimates.items():
        np.testing.assert_allclose(
            estimate, by_curves.estimates[symbol], rtol=1e-5, atol=1e-5, err_msg=symbol
        )
    square = (tacs - by_curves.fitted) ** 2 @ weights / weights.sum()
    np.testing.assert_allclose(by_voxels.residual, np.sqrt(square), rtol=1e-5)
    same = ~np.uint8(Flag.IMPRECISE)
    np.testing.assert_array_equal(by_voxels.flags, by_curves.flags & same)


@both
def test_map_of_constant_regions_holds_the_regional_estimates(model, rng):
    regions = voxels(5, rng, level=0.05).astype(float)
    label = rng.integers(0, 5, 4000)
    ref, weights = reference(TIMING), weights_of(TIMING)
    by_region = model.fit(regions, ref, TIMING, weights)
    by_voxel = model.fit_voxels(regions[label].astype(np.float32), ref, TIMING, weights)
    for symbol, estimate in by_voxel.estimates.items():
        expected = by_region.estimates[symbol][label]
        np.testing.assert_allclose(estimate, expected, rtol=1e-5, atol=1e-5, err_msg=symbol)


@both
@pytest.mark.parametrize("chunk", [1, 97, 5000])
def test_size_of_the_chunks_does_not_matter(model, chunk, rng, monkeypatch):
    tacs = voxels(200 if chunk == 1 else 12_000, rng)
    ref, weights = reference(TIMING), weights_of(TIMING)
    usual = model.fit_voxels(tacs, ref, TIMING, weights)
    monkeypatch.setattr(rows, "_CHUNK", chunk)
    other = model.fit_voxels(tacs, ref, TIMING, weights)
    np.testing.assert_array_equal(other.flags, usual.flags)
    np.testing.assert_array_max_ulp(other.residual, usual.residual, 4)
    for symbol, estimate in usual.estimates.items():
        # two units in the last place of float32, of DVR for BPND
        offset = 1 if symbol == "BPND" else 0
        np.testing.assert_allclose(
            other.estimates[symbol] + offset, estimate + offset, rtol=2.4e-7, err_msg=symbol
        )


_FIT_IN_A_PROCESS = """
import hashlib, importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("voxels", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
tacs = module.voxels(20_000, np.random.default_rng(1))
digest = hashlib.sha256()
for model in module.MODELS_OF_VOXELS:
    fit = model.fit_voxels(
        tacs, module.reference(module.TIMING), module.TIMING, module.weights_of(module.TIMING)
    )
    for estimate in (*fit.estimates.values(), fit.residual, fit.flags):
        digest.update(estimate.tobytes())
print(digest.hexdigest())
"""


def test_number_of_threads_does_not_matter():
    digests = set()
    for threads in ("1", "2", "4"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", _FIT_IN_A_PROCESS, __file__],
            env={**os.environ, **dict.fromkeys(names, threads)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        digests.add(done.stdout)
    assert len(digests) == 1


@both
def test_bad_voxels_are_nan_and_alone(model, rng):
    tacs = voxels(10_000, rng)
    ref, weights = reference(TIMING), weights_of(TIMING)
    clean = model.fit_voxels(tacs, ref, TIMING, weights)
    tacs[7, 3], tacs[8, 30], tacs[9] = np.nan, np.inf, 0
    fit = model.fit_voxels(tacs, ref, TIMING, weights)
    bad, rest = [7, 8, 9], np.setdiff1d(np.arange(10_000), [7, 8, 9])
    for symbol, estimate in fit.estimates.items():
        assert np.isnan(estimate[bad]).all(), symbol
        np.testing.assert_array_equal(estimate[rest], clean.estimates[symbol][rest])
    assert np.isnan(fit.residual[bad]).all()
    assert ((fit.flags[bad] & Flag.FAILED) > 0).all()
    assert ((fit.flags[[7, 8]] & Flag.NONFINITE_INPUT) > 0).all()
    np.testing.assert_array_equal(fit.flags[rest], clean.flags[rest])


def test_optimum_on_a_bound_is_flagged(rng):
    # Voxels of noise alone: many have no optimum between the bounds.
    tacs = (rng.normal(size=(2000, 38)) * noise_sd(TIMING, 3.0)).astype(np.float32)
    model = Srtm(k2a_min=0.02, k2a_max=0.2)
    fit = model.fit_voxels(tacs, reference(TIMING), TIMING, weights_of(TIMING))
    k2a = fit.estimates["k2a"]
    on_bound = np.isclose(k2a, 0.02, rtol=1e-6) | np.isclose(k2a, 0.2, rtol=1e-6)
    assert on_bound.mean() > 0.2
    np.testing.assert_array_equal((fit.flags & Flag.AT_BOUND) > 0, on_bound)


def test_memory_of_a_fit_is_its_maps_and_a_chunk(rng):
    tacs = np.tile(voxels(20_000, rng), (10, 1))
    tracemalloc.start()
    try:
        fit = Srtm().fit_voxels(tacs, reference(TIMING), TIMING, weights_of(TIMING))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    maps = sum(estimate.nbytes for estimate in fit.estimates.values())
    maps += fit.residual.nbytes + fit.flags.nbytes
    assert peak < maps + 64 * 2**20
