"""Tissues and FreeSurfer-numbered labels of a brain, from its intensities and a warped atlas.

A small Bayesian labelling: the atlas, smoothed, is the prior of some fifteen classes; the
intensities of each class are Gaussian, with means that may drift over the brain for the large
ones; neighbours pull towards each other. Parcels of the cortex and sides of the body are then
taken from the nearest warped label of the same class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.core.labels import (
    BRAIN_STEM,
    CORTEX_LABELS,
    LABEL_NAMES,
    PONS,
    side_of,
    whole_brain_stem,
)
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.brain import bounding_box, crop
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import resample, resample_through_field

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
    tempering: float = 1.0
    """What the spread of intensities is multiplied by; above 1 the place counts for more."""
    drifting: bool = False
    """Whether the mean intensity varies over the brain."""


_DEEP = 1.3
"""Tempering of deep structures: their border voxels are mixtures, so that the spread within the
structure makes the intensity look more telling than it is."""

CLASSES = (
    TissueClass("fluid", (), 2.0),
    TissueClass("white", (2, 41, 77, 85, 251, 252, 253, 254, 255), 2.0, drifting=True),
    TissueClass("cortex", CORTEX_LABELS, 2.0, drifting=True),
    TissueClass("ventricles", (4, 43, 5, 44, 14, 15, 24, 31, 63), 1.0, -0.7),
    TissueClass("cerebellar_grey", (8, 47, 172), 1.0, 0.7, drifting=True),
    TissueClass("cerebellar_white", (7, 46), 1.0, 0.6, drifting=True),
    TissueClass("thalamus", (10, 49), 0.7, 0.3, _DEEP),
    TissueClass("caudate", (11, 50), 0.7, -0.6, _DEEP),
    TissueClass("putamen", (12, 51), 0.7, -0.9, _DEEP),
    TissueClass("pallidum", (13, 52), 0.7, -0.4, _DEEP),
    TissueClass("hippocampus", (17, 53), 0.7, -0.6, _DEEP),
    TissueClass("amygdala", (18, 54), 0.7, -0.3, _DEEP),
    TissueClass("accumbens", (26, 58), 0.7, -0.9),
    TissueClass("ventral_diencephalon", (28, 60), 0.7, 0.0, _DEEP),
    TissueClass("brain_stem", (16,), 0.7, 0.0, _DEEP),
)
"""Classes of the labelling. Smoothing and tempering are from trials against FreeSurfer's labels of
one brain, where Dice changed by less than 0.015 over 0.7 to 1.3 mm and tempering of 1 to 1.6;
offsets are those that leave its volumes and those of other labelled brains nearest to what they
are: see docs/anatomy.md."""

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
_CEREBELLAR_GREY, _CEREBELLAR_WHITE = _INDEX["cerebellar_grey"], _INDEX["cerebellar_white"]
_PLEXUS = {31: 4, 63: 43}
"""Choroid plexus and the ventricle it floats in."""

_ROUNDS = 4
_DRIFT_SIGMA_MM = 12.0
_NEIGHBOUR_WEIGHT = 0.6
_SMALLEST_SD = 0.03
_FLOOR = 1e-4
_CORTEX_LIKELY = 0.05
_FOLIA_LIKELY = 0.02
_PLEXUS_LEVEL = 0.35
"""Where plexus begins, from fluid (0) to cortex (1)."""
_BOX_MARGIN_MM = 8.0


@dataclass(frozen=True, eq=False)
class TissueShares:
    """Make-up of every voxel: float32 shares that add up to 1 in the brain, 0 outside."""

    grey: Volume
    """Share of grey matter."""
    white: Volume
    """Share of white matter."""
    fluid: Volume
    """Share of cerebrospinal fluid."""


def warp_atlas(atlas: Volume, field: Field, brain: Volume) -> Volume:
    """Atlas labels on the grid of a brain mask, 0 away from the brain.

    Parameters
    ----------
    atlas : Volume
        Label numbers.
    field : Field
        Displacements on the brain's space that lead to the atlas.
    brain : Volume
        Brain mask; its grid is the grid of the result.
    """
    box = bounding_box(brain, _BOX_MARGIN_MM)
    labels = np.zeros(brain.shape, atlas.data.dtype)
    labels[box] = resample_through_field(atlas, field, order=0, onto=crop(brain, box)).data
    return brain.with_data(labels)


def tissue_shares(t1w: Volume, brain: Volume, atlas: Volume) -> TissueShares:
    """Shares of grey matter, white matter and fluid in every voxel of a brain.

    Parameters
    ----------
    t1w : Volume
        Bias-corrected T1w, any intensity unit.
    brain : Volume
        Brain with its sulcal fluid, on the grid of `t1w`.
    atlas : Volume
        FreeSurfer-numbered atlas labels, warped to the grid of `t1w`; see `warp_atlas`.

    Raises
    ------
    DataError
        If the brain is empty, the atlas does not lie on it, or fluid, grey and white matter are
        not ever brighter in this order.
    """
    patch = _Patch.of(t1w, brain, atlas)
    posterior, means = patch.fit()
    _require_contrast(means)
    grey, white, fluid = _mixed_shares(patch.values, patch.inside, posterior, means)
    return TissueShares(patch.full(grey), patch.full(white), patch.full(fluid))


def label_brain(t1w: Volume, brain: Volume, atlas: Volume, shares: TissueShares) -> Volume:
    """FreeSurfer numbers of every voxel of a brain, int32; 0 outside and in sulcal fluid.

    Parameters
    ----------
    t1w, brain, atlas : Volume
        As for `tissue_shares`.
    shares : TissueShares
        Make-up of the voxels; decides between cortex, white matter and fluid.

    Raises
    ------
    DataError
        If the brain is empty or the atlas does not lie on it.
    """
    patch = _Patch.of(t1w, brain, atlas)
    posterior, means = patch.fit()
    tissues = (shares.grey, shares.white, shares.fluid)
    grey, white, fluid = (tissue.data[patch.box][patch.inside] for tissue in tissues)
    classes = _decide(posterior, grey, white, fluid)
    _decide_folia(classes, patch.values, posterior, means)
    numbers = _numbers(classes, patch.inside, patch.warped, patch.voxel_mm)
    level = (patch.values - means[_FLUID]) / (means[_CORTEX] - means[_FLUID])
    for plexus, ventricle in _PLEXUS.items():
        numbers[(numbers == plexus) & (level < _PLEXUS_LEVEL)] = ventricle
    return patch.full(numbers)


def labels_on(given: Volume, t1w: Volume, brain: Volume) -> Volume:
    """Labels of another origin on the grid of a T1w, the nearest voxel's, int32.

    Numbers that are no FreeSurfer label are left out. The brain stem becomes one structure, save
    for its pons (174), where somebody told them apart.

    Parameters
    ----------
    given : Volume
        FreeSurfer-numbered labels on any grid.
    t1w : Volume
        Bias-corrected T1w.
    brain : Volume
        Brain mask on the grid of `t1w`.

    Raises
    ------
    DataError
        If less than half of the brain has a FreeSurfer label, more than a tenth of the labels lies
        outside it, labels of the left lie to the right, or what they call cortex is not darker
        than what they call white matter.
    """
    labels = resample(given, brain, order=0)
    whole = whole_brain_stem(labels.data)
    numbers = np.where(labels.data == PONS, PONS, whole)
    known = np.isin(whole, list(LABEL_NAMES))
    if not known.any():
        raise DataError("no FreeSurfer label lies on the T1w: another space, or other numbers")
    found = labels.with_data(np.where(known, numbers, 0).astype(np.int32))
    inside = brain.data > 0
    labelled, outside = float(known[inside].mean()), float(1 - inside[known].mean())
    if labelled < _LEAST_LABELLED or outside > _MOST_OUTSIDE:
        raise DataError(
            f"FreeSurfer's labels cover {100 * labelled:.0f} % of the brain in the T1w, and"
            f" {100 * outside:.0f} % of them lie outside it; the file lies in another space,"
            " belongs to another head or has other numbers"
        )
    _require_sides(found)
    _require_tissues(found, t1w)
    return found


def with_pons(labels: Volume, brain_stem: Volume) -> Volume:
    """Labels whose brain stem has the pons told apart, 174, on the grid of the labels.

    Parameters
    ----------
    labels : Volume
        FreeSurfer numbers; only voxels of the brain stem (16) change.
    brain_stem : Volume
        Substructures of the brain stem as FreeSurfer has them, on any grid of the same world.
    """
    parts = resample(brain_stem, labels, order=0)
    pons = (labels.data == BRAIN_STEM) & (parts.data == PONS)
    return labels.with_data(np.where(pons, PONS, labels.data))


_LEAST_LABELLED = 0.5
_MOST_OUTSIDE = 0.1
"""Of FreeSurfer's own labels up to 2 % do, shifted by 10 mm 9 to 11 %, by 20 mm 19 to 24 %."""
_SIDES = {side: tuple(n for n in LABEL_NAMES if side_of(n) == side) for side in ("left", "right")}


def _require_sides(labels: Volume) -> None:
    """What is called left lies to the left by the header."""
    x_mm = [
        apply_affine(labels.affine, np.argwhere(np.isin(labels.data, numbers)).mean(axis=0))[0]
        for numbers in _SIDES.values()
        if np.isin(labels.data, numbers).any()
    ]
    if len(x_mm) == 2 and not x_mm[0] < x_mm[1]:
        raise DataError(
            "labels of the left side lie to the right of those of the right side; the file's "
            "header is mirrored"
        )


def _require_tissues(labels: Volume, t1w: Volume) -> None:
    below = brighter_white_share(labels, t1w)
    if below < _LEAST_BRIGHTER:
        raise DataError(
            "what the labels call white matter is brighter than what they call cortex in"
            f" {100 * below:.0f} % of pairs of voxels only; the labels do not lie on this T1w, or"
            " belong to another head"
        )


def brighter_white_share(labels: Volume, t1w: Volume) -> float:
    """Share of pairs of a voxel of white matter and one of cortex in which the former is brighter.

    Tells whether labels lie on a T1w: both are on one grid. NaN without cortex or white matter.
    """
    cortex, white = (
        t1w.data[np.isin(labels.data, CLASSES[index].labels)] for index in (_CORTEX, _WHITE)
    )
    if not (cortex.size and white.size):
        return float("nan")
    return float(np.searchsorted(np.sort(cortex), white).mean() / cortex.size)


_LEAST_BRIGHTER = 0.85
"""FreeSurfer's labels have 98 to 99 % of such pairs on seven heads; shifted by 2 mm 87 to 89 %, by
3 mm 78 to 82 %, by 5 mm 70 to 73 %, mirrored 62 to 77 %."""


@dataclass(frozen=True, eq=False)
class _Patch:
    """The box of a T1w that holds the brain."""

    t1w: Volume
    box: tuple[slice, slice, slice]
    inside: BoolArray
    values: Float32
    """Intensities (N,) of the voxels inside, relative to white matter."""
    warped: NDArray[np.integer[Any]]
    voxel_mm: FloatArray

    @classmethod
    def of(cls, t1w: Volume, brain: Volume, atlas: Volume) -> _Patch:
        box = bounding_box(brain, _BOX_MARGIN_MM)
        inside, warped = brain.data[box] > 0, atlas.data[box]
        if np.count_nonzero(warped[inside]) < 0.3 * np.count_nonzero(inside):
            raise DataError(
                "the warped atlas does not lie on the brain; look at the brain mask and the"
                " registration to MNI space"
            )
        values = t1w.data[box][inside].astype(np.float32)
        values /= np.float32(np.percentile(values, 90))
        return cls(t1w, box, inside, values, warped, t1w.voxel_size_mm)

    def fit(self) -> tuple[Float32, Float32]:
        """Posterior (C, N) and means (C, N) of the classes."""
        log_prior = _log_priors(self.warped, self.inside, self.voxel_mm)
        return _fit(self.values, self.inside, log_prior, self.voxel_mm)

    def full(self, values: NDArray[Any]) -> Volume:
        """Values (N,) on the grid of the T1w, 0 outside."""
        data = np.zeros(self.t1w.shape, values.dtype)
        data[self.box][self.inside] = values
        return self.t1w.with_data(data)


def _log_priors(
    warped: NDArray[np.integer[Any]], inside: BoolArray, voxel_mm: FloatArray
) -> Float32:
    """Log prior of every class in the voxels inside, (C, N)."""
    classes = _class_of(warped)
    prior = np.empty((len(CLASSES), int(inside.sum())), np.float32)
    for index, tissue in enumerate(CLASSES):
        indicator = (classes == index).astype(np.float32)
        sigma = tissue.prior_sigma_mm / voxel_mm
        smoothed = ndimage.gaussian_filter(indicator, sigma, truncate=3.0)
        prior[index] = np.log(smoothed[inside] + _FLOOR) + tissue.log_offset
    return prior


def _class_of(warped: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """Index of the class of every label; fluid where there is none."""
    table = np.full(max(int(warped.max()), *LABEL_NAMES) + 1, -1, np.int8)
    table[0] = _FLUID
    for index, tissue in enumerate(CLASSES):
        table[list(tissue.labels)] = index
    classes: NDArray[np.int8] = table[warped]
    if (classes < 0).any():
        unknown = np.unique(warped[classes < 0]).tolist()
        raise ValueError(f"labels of the atlas that belong to no tissue class: {unknown}")
    return classes


def _fit(
    values: Float32, inside: BoolArray, log_prior: Float32, voxel_mm: FloatArray
) -> tuple[Float32, Float32]:
    """Posterior (C, N) and mean intensity (C, N) of every class, by expectation maximisation."""
    posterior = _softmax(log_prior.copy())
    means = np.empty_like(posterior)
    for _ in range(_ROUNDS):
        logits = log_prior.copy()
        for index, tissue in enumerate(CLASSES):
            # sulci are so narrow that hardly a voxel of theirs is pure: the ventricles teach fluid
            share = posterior[_VENTRICLES if index == _FLUID else index]
            mean = float(share @ values) / max(float(share.sum()), 1.0)
            means[index] = mean
            if tissue.drifting:
                means[index] = _local_mean(values, share, inside, mean, voxel_mm)
            deviation = values - means[index]
            variance = float(share @ deviation**2) / max(float(share.sum()), 1.0)
            variance = max(variance, _SMALLEST_SD**2) * tissue.tempering**2
            if index in _FLUIDS:
                # darker than fluid is still fluid, or a vessel or dura: never tissue
                deviation = np.maximum(deviation, 0)
            logits[index] -= 0.5 * (deviation**2 / variance + np.log(variance))
        _add_pull(logits, posterior, inside, voxel_mm)
        posterior = _softmax(logits)
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
    drift = ndimage.map_coordinates(local, points, order=1, mode="nearest", output=np.float32)
    return np.asarray(drift)


def _add_pull(
    logits: Float32, posterior: Float32, inside: BoolArray, voxel_mm: FloatArray
) -> None:
    """Add to logits (C, N) what the six neighbours' posterior (C, N) pulls towards.

    A neighbour counts by the inverse of its distance, so that a pull is as strong per millimetre
    on every grid.
    """
    padded = np.zeros([n + 2 for n in inside.shape], np.float32)
    grid, total = padded[1:-1, 1:-1, 1:-1], np.empty(inside.shape, np.float32)
    middle = slice(1, -1)
    for index, share in enumerate(posterior):
        grid[inside] = share
        total[:] = 0
        for axis, size_mm in enumerate(voxel_mm):
            for beside in (slice(None, -2), slice(2, None)):
                where = tuple(beside if a == axis else middle for a in range(3))
                total += padded[where] / np.float32(size_mm)
        logits[index] += np.float32(_NEIGHBOUR_WEIGHT / 2) * total[inside]


def _softmax(logits: Float32) -> Float32:
    """Shares (C, N); `logits` are used up."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def _require_contrast(means: Float32) -> None:
    """A T1w has dark fluid, grey cortex and bright white matter; means are (C, N)."""
    fluid, cortex, white = (float(means[index].mean()) for index in (_FLUID, _CORTEX, _WHITE))
    if not (cortex - fluid > _LEAST_STEP and white - cortex > _LEAST_STEP):
        raise DataError(
            "the image has not the contrast of a T1w (fluid, cortex and white matter at"
            f" {100 * fluid:.0f}, {100 * cortex:.0f} and {100 * white:.0f} % of the bright tissue;"
            " each should be brighter than the one before): is it another weighting?"
        )


_LEAST_STEP = 0.05


def _mixed_shares(
    values: Float32, inside: BoolArray, posterior: Float32, means: Float32
) -> tuple[Float32, Float32, Float32]:
    """Shares of grey, white and fluid (N,) that make up every voxel.

    At the borders of the cortex a voxel is a mixture of the two tissues it lies between: its
    shares follow from where its intensity lies between their means. Elsewhere they are the
    posterior of the tissue: in the depth of the white matter a dark voxel is noise.
    """
    grey = posterior[list(_GREY)].sum(axis=0)
    white = posterior[list(_WHITES)].sum(axis=0)
    fluid = posterior[list(_FLUIDS)].sum(axis=0)
    classes = np.argmax(posterior, axis=0)
    touches_cortex = _touches(classes == _CORTEX, inside)
    cortical = touches_cortex & (posterior[[_CORTEX, _FLUID, _WHITE]].sum(axis=0) > 0.9)
    grey_mean, fluid_mean = means[_CORTEX], means[_FLUID]
    # where local means meet or cross, as in a patch of ill-corrected bias, no intensity is a share
    dark = cortical & (values < grey_mean) & (grey_mean - fluid_mean > _LEAST_STEP)
    mixed = np.clip((values - fluid_mean) / (grey_mean - fluid_mean), 0, 1)
    grey[dark], fluid[dark], white[dark] = mixed[dark], 1 - mixed[dark], 0
    bright = cortical & (values >= grey_mean) & (means[_WHITE] - grey_mean > _LEAST_STEP)
    bright &= _touches(classes == _WHITE, inside)
    mixed = np.clip((means[_WHITE] - values) / (means[_WHITE] - grey_mean), 0, 1)
    grey[bright], white[bright], fluid[bright] = mixed[bright], 1 - mixed[bright], 0
    return grey, white, fluid


def _touches(chosen: BoolArray, inside: BoolArray) -> BoolArray:
    """Voxels (N,) that are chosen (N,) or have a chosen one among their 26 neighbours."""
    grid = np.zeros(inside.shape, np.uint8)
    grid[inside] = chosen
    return np.asarray(ndimage.maximum_filter(grid, 3, mode="constant")[inside] > 0)


def _decide(posterior: Float32, grey: Float32, white: Float32, fluid: Float32) -> NDArray[np.intp]:
    """Class (N,) of every voxel; around the cortex the tissue with the largest share decides."""
    classes = np.asarray(np.argmax(posterior, axis=0))
    ribbon = (classes == _CORTEX) | ((classes == _FLUID) & (posterior[_CORTEX] > _CORTEX_LIKELY))
    classes[ribbon] = _CORTEX
    classes[ribbon & (fluid > grey)] = _FLUID
    classes[ribbon & (white > grey)] = _WHITE
    return classes


def _decide_folia(
    classes: NDArray[np.intp], values: Float32, posterior: Float32, means: Float32
) -> None:
    """Give cerebellar voxels nearer to white matter's intensity than to grey matter's to white.

    Folia are thinner than voxels: mixed with fluid, grey matter spreads so wide that the
    likelihood would leave it the branches of the white matter.
    """
    folia = posterior[_CEREBELLAR_GREY] + posterior[_CEREBELLAR_WHITE] > 0.8
    folia &= posterior[_CEREBELLAR_WHITE] > _FOLIA_LIKELY
    folia &= classes == _CEREBELLAR_GREY
    bright = values > (means[_CEREBELLAR_GREY] + means[_CEREBELLAR_WHITE]) / 2
    classes[folia & bright] = _CEREBELLAR_WHITE


def _numbers(
    classes: NDArray[np.intp],
    inside: BoolArray,
    warped: NDArray[np.integer[Any]],
    voxel_mm: FloatArray,
) -> NDArray[np.int32]:
    """FreeSurfer number (N,): of the nearest warped label of the voxel's class."""
    grid = np.full(inside.shape, -1, np.int8)
    grid[inside] = classes
    numbers = np.zeros(inside.shape, np.int32)
    for index, tissue in enumerate(CLASSES):
        wanted, source = grid == index, np.isin(warped, tissue.labels)
        if not wanted.any() or not source.any():
            continue
        # small structures need a small part of the grid only
        part = ndimage.find_objects((wanted | source).view(np.uint8))[0]
        wanted, source = wanted[part], source[part]
        nearest = ndimage.distance_transform_edt(
            ~source, sampling=voxel_mm, return_distances=False, return_indices=True
        )
        numbers[part][wanted] = warped[part][tuple(axis[wanted] for axis in nearest)]
    return np.asarray(numbers[inside])
