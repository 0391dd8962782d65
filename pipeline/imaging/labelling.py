"""Tissues and FreeSurfer-numbered labels of a brain, from its intensities and a warped atlas.

A small Bayesian labelling: the atlas, smoothed, is the prior of some fifteen classes; the
intensities of each class are Gaussian, with means that may drift over the brain for the large
ones; neighbours pull towards each other. Parcels of the cortex and sides of the body are then
taken from the nearest warped label of the same class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.labels import CORTEX_LABELS
from pipeline.core.volume import BoolArray, FloatArray, Volume

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TissueClass:
    """Labels that look alike and lie together."""

    name: str
    labels: tuple[int, ...]
    prior_sigma_mm: float
    """How far the prior reaches beyond the warped label."""
    log_offset: float = 0.0
    """Added to the log prior; negative where warped atlas labels come out too large."""
    drifting: bool = False
    """Whether the mean intensity varies over the brain."""


CLASSES = (
    TissueClass("fluid", (), 2.0),
    TissueClass("white", (2, 41, 77, 85, 251, 252, 253, 254, 255), 2.0, drifting=True),
    TissueClass("cortex", CORTEX_LABELS, 2.0, drifting=True),
    TissueClass("ventricles", (4, 43, 5, 44, 14, 15, 24, 31, 63), 1.0),
    TissueClass("cerebellar_grey", (8, 47, 172), 1.0, drifting=True),
    TissueClass("cerebellar_white", (7, 46), 1.0),
    TissueClass("thalamus", (10, 49), 0.7),
    TissueClass("caudate", (11, 50), 0.7, -1.0),
    TissueClass("putamen", (12, 51), 0.7, -1.5),
    TissueClass("pallidum", (13, 52), 0.7),
    TissueClass("hippocampus", (17, 53), 0.7, -0.8),
    TissueClass("amygdala", (18, 54), 0.7),
    TissueClass("accumbens", (26, 58), 0.7, -1.0),
    TissueClass("ventral_diencephalon", (28, 60), 0.7),
    TissueClass("brain_stem", (16,), 0.7),
)
"""Classes of the labelling; the smoothing and offsets are from trials against FreeSurfer."""

_INDEX = {c.name: i for i, c in enumerate(CLASSES)}
_FLUID, _WHITE, _CORTEX, _VENTRICLES = (
    _INDEX[n] for n in ("fluid", "white", "cortex", "ventricles")
)
_GREY = tuple(
    _INDEX[n]
    for n in (
        "cortex",
        "cerebellar_grey",
        "thalamus",
        "caudate",
        "putamen",
        "pallidum",
        "hippocampus",
        "amygdala",
        "accumbens",
    )
)
_WHITES = tuple(
    _INDEX[n] for n in ("white", "cerebellar_white", "ventral_diencephalon", "brain_stem")
)
_FLUIDS = (_FLUID, _VENTRICLES)

_ROUNDS = 4
_DRIFT_SIGMA_MM = 12.0
_NEIGHBOUR_WEIGHT = 0.6
_SMALLEST_SD = 0.03
_FLOOR = 1e-4
_GREY_AGAINST_FLUID = 0.5
_GREY_AGAINST_WHITE = 0.5


@dataclass(frozen=True, eq=False)
class Labelling:
    """What every voxel of the brain is."""

    labels: Volume
    """FreeSurfer numbers, int32; 0 outside the brain and in sulcal fluid."""
    grey: Volume
    """Share of grey matter, float32."""
    white: Volume
    """Share of white matter, float32."""
    fluid: Volume
    """Share of cerebrospinal fluid, float32."""


def label_brain(t1w: Volume, brain: BoolArray, atlas: Volume) -> Labelling:
    """Label a brain.

    Parameters
    ----------
    t1w : Volume
        Bias-corrected T1w, any intensity unit.
    brain : (X, Y, Z) bool array
        Brain with its sulcal fluid.
    atlas : Volume
        FreeSurfer-numbered atlas labels, warped to the grid of `t1w`.

    Returns
    -------
    Labelling

    Raises
    ------
    ValueError
        If the brain is empty or the atlas does not lie on it.
    """
    box = _bounding_box(brain)
    inside = brain[box]
    intensity = t1w.data[box].astype(np.float32)
    intensity = intensity / np.float32(np.percentile(intensity[inside], 90))
    warped = atlas.data[box]
    if np.count_nonzero(warped[inside]) < 0.3 * np.count_nonzero(inside):
        raise ValueError("the warped atlas does not lie on the brain; the registration failed")
    voxel_mm = t1w.voxel_size_mm
    log_prior = _log_priors(warped, inside, voxel_mm)
    posterior, means = _fit(intensity, inside, log_prior, voxel_mm)
    shares = _tissue_shares(intensity[inside], posterior, means)
    classes = _decide(posterior, shares)
    numbers = _numbers(classes, inside, warped, voxel_mm)

    def full(values: NDArray[np.generic], dtype: type) -> Volume:
        data = np.zeros(t1w.shape, dtype)
        part = data[box]
        part[inside] = values
        return t1w.with_data(data)

    grey, white, fluid = shares
    return Labelling(
        full(numbers, np.int32),
        full(grey, np.float32),
        full(white, np.float32),
        full(fluid, np.float32),
    )


def _bounding_box(mask: BoolArray) -> tuple[slice, slice, slice]:
    """The box of a mask with a margin of four voxels."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        raise ValueError("the brain mask is empty")
    x, y, z = (slice(max(s.start - 4, 0), s.stop + 4) for s in found[0])
    return x, y, z


def _log_priors(warped: NDArray[np.integer], inside: BoolArray, voxel_mm: FloatArray) -> Float32:
    """Log prior of every class in the voxels inside, (C, N)."""
    table = np.zeros(int(warped.max()) + 1, np.int8)
    for index, tissue in enumerate(CLASSES):
        for label in tissue.labels:
            if label < table.size:
                table[label] = index
    classes = table[warped]
    prior = np.empty((len(CLASSES), int(inside.sum())), np.float32)
    for index, tissue in enumerate(CLASSES):
        indicator = (classes == index).astype(np.float32)
        sigma = tissue.prior_sigma_mm / voxel_mm
        smoothed = ndimage.gaussian_filter(indicator, sigma, truncate=3.0)
        prior[index] = np.log(smoothed[inside] + _FLOOR) + tissue.log_offset
    return prior


def _fit(
    intensity: Float32, inside: BoolArray, log_prior: Float32, voxel_mm: FloatArray
) -> tuple[Float32, Float32]:
    """Posterior (C, N) and mean intensity (C, N) of every class, by expectation maximisation."""
    values = intensity[inside]
    posterior = _softmax(log_prior)
    means = np.empty_like(posterior)
    for _ in range(_ROUNDS):
        log_likelihood = np.empty_like(posterior)
        for index, tissue in enumerate(CLASSES):
            share = posterior[index]
            mean = float(share @ values) / max(float(share.sum()), 1.0)
            means[index] = mean
            if tissue.drifting:
                means[index] = _local_mean(values, share, inside, mean, voxel_mm)
            deviation = values - means[index]
            variance = float(share @ deviation**2) / max(float(share.sum()), 1.0)
            variance = max(variance, _SMALLEST_SD**2)
            if index in _FLUIDS:
                # darker than fluid is still fluid, or a vessel or dura: never tissue
                deviation = np.maximum(deviation, 0)
            log_likelihood[index] = -0.5 * deviation**2 / variance - 0.5 * np.log(variance)
        pull = _neighbours(posterior, inside)
        posterior = _softmax(log_prior + log_likelihood + _NEIGHBOUR_WEIGHT * pull)
    return posterior, means


def _local_mean(
    values: Float32, share: Float32, inside: BoolArray, mean: float, voxel_mm: FloatArray
) -> Float32:
    """Mean (N,) of a class around every voxel; the overall mean where the class is rare."""
    sigma = _DRIFT_SIGMA_MM / voxel_mm
    # a drift this smooth needs no full grid
    step = np.maximum(np.round(4.0 / voxel_mm).astype(int), 1)
    coarse = tuple(slice(None, None, s) for s in step)
    weight, total = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.float32)
    weight[inside], total[inside] = share, share * values
    size = tuple(int(s) for s in step)
    weight = ndimage.uniform_filter(weight, size)[coarse]
    total = ndimage.uniform_filter(total, size)[coarse]
    weight = ndimage.gaussian_filter(weight, sigma / step)
    total = ndimage.gaussian_filter(total, sigma / step)
    local = (total + 0.01 * mean) / (weight + 0.01)
    points = np.argwhere(inside).T / step[:, None]
    return ndimage.map_coordinates(local, points, order=1, mode="nearest", output=np.float32)


def _neighbours(posterior: Float32, inside: BoolArray) -> Float32:
    """Mean posterior (C, N) of the six neighbours, times their number over six."""
    pull = np.empty_like(posterior)
    grid = np.zeros(inside.shape, np.float32)
    kernel = ndimage.generate_binary_structure(3, 1).astype(np.float32)
    kernel[1, 1, 1] = 0
    for index, share in enumerate(posterior):
        grid[inside] = share
        pull[index] = ndimage.convolve(grid, kernel / 2, mode="constant")[inside]
    return pull


def _softmax(logits: Float32) -> Float32:
    shifted = np.exp(logits - logits.max(axis=0))
    return np.asarray(shifted / shifted.sum(axis=0), np.float32)


def _tissue_shares(
    values: Float32, posterior: Float32, means: Float32
) -> tuple[Float32, Float32, Float32]:
    """Shares of grey, white and fluid (N,) that make up every voxel.

    At the borders of the cortex a voxel is a mixture of the two tissues it lies between: its
    shares follow from where its intensity lies between their means. Elsewhere they are the
    posterior of the tissue.
    """
    grey = posterior[list(_GREY)].sum(axis=0)
    white = posterior[list(_WHITES)].sum(axis=0)
    fluid = posterior[list(_FLUIDS)].sum(axis=0)
    grey_mean = means[_CORTEX]
    cortical = posterior[[_CORTEX, _FLUID, _WHITE]].sum(axis=0) > 0.9
    dark = cortical & (values < grey_mean)
    # sulci are so narrow that hardly a voxel of theirs is pure: the ventricles show pure fluid
    fluid_mean = np.minimum(means[_FLUID], means[_VENTRICLES])
    mixed = np.clip((values - fluid_mean) / (grey_mean - fluid_mean), 0, 1)
    grey[dark], fluid[dark], white[dark] = mixed[dark], 1 - mixed[dark], 0
    bright = cortical & (values >= grey_mean)
    mixed = np.clip((means[_WHITE] - values) / (means[_WHITE] - grey_mean), 0, 1)
    grey[bright], white[bright], fluid[bright] = mixed[bright], 1 - mixed[bright], 0
    return grey, white, fluid


def _decide(posterior: Float32, shares: tuple[Float32, Float32, Float32]) -> NDArray[np.intp]:
    """Class (N,) of every voxel; between fluid and cortex the share of grey matter decides."""
    classes = np.argmax(posterior, axis=0)
    grey, white, fluid = shares
    ribbon = (classes == _CORTEX) | ((classes == _FLUID) & (posterior[_CORTEX] > _CORTEX_LIKELY))
    classes[ribbon] = _CORTEX
    classes[ribbon & (fluid > 1 - _GREY_AGAINST_FLUID)] = _FLUID
    classes[ribbon & (white > 1 - _GREY_AGAINST_WHITE)] = _WHITE
    return classes


def _numbers(
    classes: NDArray[np.intp],
    inside: BoolArray,
    warped: NDArray[np.integer],
    voxel_mm: FloatArray,
) -> NDArray[np.int32]:
    """FreeSurfer number (N,): of the nearest warped label of the voxel's class."""
    grid = np.full(inside.shape, -1, np.int8)
    grid[inside] = classes
    numbers = np.zeros(inside.shape, np.int32)
    for index, tissue in enumerate(CLASSES):
        wanted = grid == index
        source = np.isin(warped, tissue.labels)
        if not tissue.labels or not wanted.any() or not source.any():
            continue
        nearest = ndimage.distance_transform_edt(
            ~source, sampling=voxel_mm, return_distances=False, return_indices=True
        )
        numbers[wanted] = warped[tuple(axis[wanted] for axis in nearest)]
    return numbers[inside]
