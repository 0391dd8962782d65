"""WAPI on phantoms whose curves are known in closed form."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.timing import FrameTiming
from pipeline.kinetics.contract import Flag
from pipeline.kinetics.integrals import running_integral
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.wapi import Wapi

K2PRIME = 0.14
AMPLITUDES, RATES = np.array([20.0, 30.0, -50.0]), np.array([0.012, 0.08, 1.2])
DURATION_S = np.repeat([10.0, 20.0, 60.0, 180.0, 360.0], [8, 5, 4, 8, 13])
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
WEIGHTS = np.ones(38)
MODEL = Wapi(k2prime=K2Prime(per_min=K2PRIME))
SHAPE = (58, 61, 55)


def mean_of_exponential(rate):
    """Means of exp(-rate t) over the frames, (..., F)."""
    rate = np.asarray(rate)[..., None]
    return (np.exp(-rate * TIMING.start_min) - np.exp(-rate * TIMING.end_min)) / (
        rate * TIMING.duration_min
    )


REF = AMPLITUDES @ mean_of_exponential(RATES)


def srtm_frames(r1, bpnd):
    """Frame means of the exact SRTM response to REF, whose k2prime is K2PRIME."""
    k2a = K2PRIME * r1 / (1 + bpnd)
    frames = np.zeros((*r1.shape, 38))
    decaying = 0
    for amplitude, rate in zip(AMPLITUDES, RATES, strict=True):
        share = amplitude * (K2PRIME - k2a) / (k2a - rate)
        frames += (r1 * (amplitude + share))[..., None] * mean_of_exponential(rate)
        decaying = decaying + r1 * share
    return (frames - decaying[..., None] * mean_of_exponential(k2a)).astype(np.float32)


@pytest.fixture(scope="module")
def phantom():
    """Frames, mask and DVR of a ball in air, with smoothly varying delivery and binding."""
    rng = np.random.default_rng(4)

    def smooth():
        field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 4, mode="wrap")
        return field / np.abs(field).max()

    centre = [(np.arange(n) - (n - 1) / 2) ** 2 for n in SHAPE]
    radius = np.sqrt(sum(np.meshgrid(*centre, indexing="ij")))
    bpnd, r1 = 1.2 + smooth(), 1 + 0.25 * smooth()
    frames = srtm_frames(r1, bpnd)
    frames *= ndimage.gaussian_filter((radius < 23).astype(np.float32), 1.0)[..., None]
    return frames, radius < 19, 1 + bpnd


@pytest.fixture(scope="module")
def noisy(phantom):
    """The phantom with noise correlated over 2.4 voxels, 27 % per voxel in the late frames."""
    frames = phantom[0]
    noise = np.random.default_rng(5).standard_normal(frames.shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, (1, 1, 1, 0))
    decay = np.exp(np.log(2) / 20.4 * TIMING.mid_min)
    sd = 6 * np.sqrt(np.maximum(REF, 5) * decay / TIMING.duration_min)
    return frames + noise * sd.astype(np.float32)


def small(phantom):
    """A corner of the phantom that is quick to fit, and its mask."""
    return phantom[0][16:36, 16:37, 16:34], np.ones((20, 21, 18), bool)


def voxelwise_dvr(curves, k2prime=K2PRIME, weights=WEIGHTS):
    """Multilinear Logan of (V, F) curves by `lstsq`, one after the other."""
    last = np.flatnonzero(weights)[-10:]
    root = np.sqrt(weights[last])
    operator = running_integral(TIMING, weights)[last]
    x = root * (operator @ REF + (REF[last] / k2prime if k2prime else 0))
    return np.array(
        [
            np.linalg.lstsq(np.c_[x, root * c[last]], root * (operator @ c), rcond=None)[0][0]
            for c in curves.astype(float)
        ]
    )


@pytest.mark.parametrize("k2prime", [K2PRIME, 0.0])
def test_without_noise_it_is_the_voxelwise_plot(phantom, k2prime):
    frames, mask, dvr = phantom
    fit = replace(MODEL, k2prime=K2Prime(per_min=k2prime)).fit_image(
        frames, mask, REF, TIMING, WEIGHTS
    )
    expected = voxelwise_dvr(frames[mask], k2prime)
    assert np.abs(fit.estimates["DVR"] / expected - 1).max() < 0.005  # 0.27 % measured
    assert not fit.flags.any()
    np.testing.assert_array_equal(fit.estimates["BPND"], fit.estimates["DVR"] - 1)
    if k2prime:
        assert np.abs(fit.estimates["DVR"] / dvr[mask] - 1).max() < 0.01


def test_less_noise_than_the_voxelwise_plot_at_the_same_mean(phantom, noisy):
    _, mask, dvr = phantom
    found = MODEL.fit_image(noisy, mask, REF, TIMING, WEIGHTS).estimates["DVR"] / dvr[mask] - 1
    voxelwise = voxelwise_dvr(noisy[mask]) / dvr[mask] - 1
    assert found.std() < 0.75 * voxelwise.std()  # 0.61 measured
    assert abs(found.mean()) < 0.01
    assert abs(found.mean()) < abs(voxelwise.mean())


def test_residual_is_that_of_the_plot_at_its_dvr(phantom, noisy):
    frames, mask, _ = phantom
    clean = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    fit = MODEL.fit_image(noisy, mask, REF, TIMING, WEIGHTS)
    assert np.median(clean.residual) < 0.02 * np.median(fit.residual)

    voxel = 1234
    curve = noisy[mask][voxel].astype(float)
    operator = running_integral(TIMING, WEIGHTS)[-10:]
    left = operator @ curve - fit.estimates["DVR"][voxel] * (operator @ REF + REF[-10:] / K2PRIME)
    (_,), (rss,), _, _ = np.linalg.lstsq(left[:, None], curve[-10:], rcond=None)
    assert fit.residual[voxel] == pytest.approx(np.sqrt(rss / 10), rel=1e-3)


def test_unit_of_activity_does_not_matter(phantom):
    frames, mask = small(phantom)
    fit = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    scaled = MODEL.fit_image(frames * np.float32(1000), mask, REF * 1000, TIMING, WEIGHTS)
    np.testing.assert_allclose(scaled.estimates["DVR"], fit.estimates["DVR"], rtol=1e-4)
    np.testing.assert_allclose(scaled.residual, fit.residual * 1000, rtol=0.01, atol=1)


def test_reference_everywhere_binds_nothing():
    frames = np.broadcast_to(REF.astype(np.float32), (12, 11, 10, 38))
    fit = MODEL.fit_image(frames, np.ones((12, 11, 10), bool), REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(fit.estimates["BPND"], 0, atol=1e-4)


def test_constant_image_is_fitted_like_one_curve_with_its_weights():
    """Weights multiply squared residuals: `lstsq` takes their square roots."""
    rng = np.random.default_rng(8)
    curve = srtm_frames(np.array(1.1), np.array(1.5)) * (1 + 0.05 * rng.standard_normal(38))
    weights = rng.uniform(0.1, 2, 38)
    weights[34] = 0
    frames = np.broadcast_to(curve.astype(np.float32), (9, 8, 7, 38))
    fit = MODEL.fit_image(frames, np.ones((9, 8, 7), bool), REF, TIMING, weights)
    expected = voxelwise_dvr(curve[None], weights=weights)[0]
    assert abs(expected / voxelwise_dvr(curve[None])[0] - 1) > 0.001  # they matter
    np.testing.assert_allclose(fit.estimates["DVR"], expected, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("frame", [3, 33])
def test_frame_without_weight_is_ignored_even_if_corrupt(phantom, bad, frame):
    frames, mask = small(phantom)
    weights = np.where(np.arange(38) == frame, 0.0, 1.0)
    corrupt, ref = frames.copy(), REF.copy()
    corrupt[..., frame], ref[frame] = bad, bad
    fit = MODEL.fit_image(frames, mask, REF, TIMING, weights)
    other = MODEL.fit_image(corrupt, mask, ref, TIMING, weights)
    np.testing.assert_array_equal(other.estimates["DVR"], fit.estimates["DVR"])
    np.testing.assert_array_equal(other.flags, fit.flags)


def test_bad_voxels_are_nan_and_leave_the_others(phantom):
    frames, mask = small(phantom)
    fit = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    spoilt = frames.copy()
    spoilt[3, 4, 5, 7] = np.nan
    spoilt[15, 15, 15] = 0
    other = MODEL.fit_image(spoilt, mask, REF, TIMING, WEIGHTS)
    nan, empty = np.ravel_multi_index([(3, 15), (4, 15), (5, 15)], mask.shape)
    assert other.flags[nan] == Flag.FAILED | Flag.NONFINITE_INPUT
    assert other.flags[empty] == Flag.FAILED
    assert np.flatnonzero(np.isnan(other.estimates["DVR"])).tolist() == [nan, empty]
    assert np.isnan(other.residual[[nan, empty]]).all()
    # they are holes, which bear on their neighbourhood alone
    far = np.linalg.norm(np.argwhere(mask) - (3, 4, 5), axis=1) > 8
    far &= np.linalg.norm(np.argwhere(mask) - (15, 15, 15), axis=1) > 8
    change = np.abs(other.estimates["DVR"] - fit.estimates["DVR"])[far]
    assert np.quantile(change, 0.99) < 0.02


def test_order_in_memory_does_not_matter(phantom):
    frames, mask = small(phantom)
    fit = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    other = MODEL.fit_image(np.asfortranarray(frames), mask, REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(other.estimates["DVR"], fit.estimates["DVR"], rtol=1e-5)


def test_air_far_from_the_mask_does_not_matter(phantom):
    frames, mask, _ = phantom
    fit = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    wide = ((20, 20),) * 3
    padded = np.pad(frames, (*wide, (0, 0)))
    other = MODEL.fit_image(padded, np.pad(mask, wide), REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(other.estimates["DVR"], fit.estimates["DVR"], rtol=0.003)


def test_margin_stands_for_the_whole_image(phantom, noisy):
    _, ball, dvr = phantom
    core = ndimage.binary_erosion(ball, iterations=9)
    whole, near, none = (
        replace(MODEL, margin_voxels=margin)
        .fit_image(noisy, core, REF, TIMING, WEIGHTS)
        .estimates["DVR"]
        for margin in (100, MODEL.margin_voxels, 0)
    )
    noise = (whole - dvr[core]).std()
    assert (near - whole).std() < 0.12 * noise  # 8 % measured; a small mask is the hard case
    assert (near - whole).std() < 0.25 * (none - whole).std()  # 14 % measured


def test_k2prime_is_estimated_from_blocks(phantom):
    frames, mask, _ = phantom
    fit = Wapi().fit_image(frames, mask, REF, TIMING, WEIGHTS)
    given = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    np.testing.assert_allclose(fit.estimates["DVR"], given.estimates["DVR"], rtol=0.003)


def test_voxels_come_in_c_order(phantom):
    frames, ball, _ = phantom
    mask = ball & (np.random.default_rng(6).random(SHAPE) < 0.02)
    fit = MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    whole = MODEL.fit_image(frames, np.ones(SHAPE, bool), REF, TIMING, WEIGHTS)
    expected = whole.estimates["DVR"].reshape(SHAPE)[mask]
    np.testing.assert_allclose(fit.estimates["DVR"], expected, rtol=0.01)


def test_input_is_left_as_it_was(phantom):
    frames, mask = small(phantom)
    inputs = (frames.copy(), mask.copy(), REF.copy(), WEIGHTS.copy())
    for array in inputs:
        array.flags.writeable = False
    MODEL.fit_image(*inputs[:3], TIMING, inputs[3])
    for array, original in zip(inputs, (frames, mask, REF, WEIGHTS), strict=True):
        np.testing.assert_array_equal(array, original)


def test_few_frames_are_flagged(phantom):
    frames, mask = small(phantom)
    last = np.arange(38)
    fit = MODEL.fit_image(frames, mask, REF, TIMING, np.where(last >= 32, 1.0, 0.0))
    assert (fit.flags == Flag.FEW_FRAMES).all()
    none = MODEL.fit_image(frames, mask, REF, TIMING, np.where(last >= 36, 1.0, 0.0))
    assert (none.flags == Flag.FEW_FRAMES | Flag.FAILED).all()
    assert np.isnan(none.estimates["BPND"]).all()


def test_empty_mask_gives_no_voxels(phantom):
    frames, mask = small(phantom)
    assert MODEL.fit_image(frames, ~mask, REF, TIMING, WEIGHTS).residual.shape == (0,)


def test_declared_parameters_are_the_ones_that_come_back(phantom):
    fit = MODEL.fit_image(*small(phantom), REF, TIMING, WEIGHTS)
    assert set(fit.estimates) == {p.symbol for p in Wapi.parameters} == set(Wapi.map_parameters)
    assert all(values.dtype == np.float32 for values in (*fit.estimates.values(), fit.residual))


def test_memory_is_a_few_volumes(phantom):
    """Two stacks of n + 1 volumes, some volumes more, and what a chunk takes: no 22 sub-bands."""
    frames, mask, _ = phantom
    volume = 4 * np.prod(SHAPE)
    tracemalloc.start()
    MODEL.fit_image(frames, mask, REF, TIMING, WEIGHTS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    chunks = 25 * 2**20
    assert peak < (3 * 11 + 6) * volume + chunks
    hrrt = 4 * 256 * 256 * 207
    assert (3 * 11 + 6) * hrrt + chunks < 4 * 2**30


def test_reference_that_is_not_finite_is_refused(phantom):
    with pytest.raises(ValueError, match="reference curve is not finite"):
        MODEL.fit_image(*small(phantom), np.where(REF > 40, np.nan, REF), TIMING, WEIGHTS)


def test_shapes_must_match(phantom):
    frames, mask = small(phantom)
    with pytest.raises(ValueError, match="shape"):
        MODEL.fit_image(frames, mask[1:], REF, TIMING, WEIGHTS)


@pytest.mark.parametrize(
    "option",
    [{"depth": 0}, {"n_frames": 2}, {"threshold_share": -0.1}, {"margin_voxels": -1}],
)
def test_unsound_options_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        Wapi(**option)
