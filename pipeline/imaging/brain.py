"""Where the brain is in a T1w image: affine to the template and brain mask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage, optimize

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.greedy import register_affine, register_deformable
from pipeline.imaging.warp import (
    coarse_grid,
    invert_field,
    resample,
    resample_through_field,
    smooth_and_resample,
)

_BRAIN_ML = (800.0, 2200.0)
_HEAD_TOP_MM = 150.0


def locate_brain(image: Volume, template: Volume) -> FloatArray:
    """Affine from a skull-stripped template to a head in any position, (4, 4), RAS+ mm.

    A search over poses at 8 mm, by normalised mutual information within the template's brain and
    the dark shell around it, and then an affine registration at 4 mm.

    Parameters
    ----------
    image : Volume
        T1w image of a head or of a stripped brain; upright within some 40 degrees by its header.
    template : Volume
        Skull-stripped template, zero outside the brain.

    Raises
    ------
    DataError
        If the image shows nothing, or nothing that resembles the template.
    ToolError
        If the registration fails.
    """
    fixed = smooth_and_resample(template, coarse_grid(template, 2.0))
    moving = smooth_and_resample(image, coarse_grid(image, 2.0))
    around = fixed.with_data(_within(fixed.data > 0.2 * fixed.data.max(), _SHELL_MM, fixed))
    search = _PoseSearch.between(template, image, around)
    return register_affine(fixed, moving, search.best(), fixed_mask=around)


@dataclass(frozen=True, eq=False)
class _PoseSearch:
    """Mutual information of a template with an image as a function of pose.

    A pose is (7,): rotations about x, y, z in degrees, shifts in mm, log scale in percent.
    """

    points_mm: FloatArray
    template_bins: NDArray[np.intp]
    image: Volume
    template_centre_mm: FloatArray
    image_centre_mm: FloatArray

    @classmethod
    def between(cls, template: Volume, image: Volume, around: Volume) -> _PoseSearch:
        """Search space of a template, within a mask, and an image."""
        small = smooth_and_resample(template, coarse_grid(template, 8.0))
        counted = smooth_and_resample(around, small).data > 0.3
        points = apply_affine(small.affine, np.argwhere(counted).astype(float))
        values = small.data[counted]
        moving = smooth_and_resample(image, coarse_grid(image, 5.0))
        head = _head(moving)
        bright = np.percentile(moving.data[head], 98)
        return cls(
            points_mm=points,
            template_bins=_binned(values / np.percentile(values, 99.5)),
            image=moving.with_data(np.clip(moving.data / bright, 0, 1)),
            template_centre_mm=points[values > 0].mean(axis=0),
            image_centre_mm=_centre_below_top(moving, head),
        )

    def best(self) -> FloatArray:
        """Best pose as a matrix (4, 4), template to image."""
        starts = [np.array(pose, float) for pose in product(*_POSES)]
        ranked = sorted(starts, key=self._disagreement)[:_REFINED_POSES]
        steps = np.diag([8.0] * 7)
        refined = [
            optimize.minimize(
                self._disagreement,
                start,
                method="Nelder-Mead",
                options={
                    "initial_simplex": np.vstack([start, start + steps]),
                    "maxfev": 400,
                    "xatol": 0.3,
                    "fatol": 1e-5,
                },
            )
            for start in ranked
        ]
        return self.matrix(min(refined, key=lambda result: float(result.fun)).x)

    def matrix(self, pose: FloatArray) -> FloatArray:
        """Matrix (4, 4) of a pose, template to image."""
        turned = rigid_matrix(np.zeros(3), np.radians(pose[:3]))
        turned[:3, :3] *= np.exp(pose[6] / 100)
        turned[:3, 3] = self.image_centre_mm + pose[3:6] - turned[:3, :3] @ self.template_centre_mm
        return turned

    def _disagreement(self, pose: FloatArray) -> float:
        to_voxel = np.linalg.inv(self.image.affine) @ self.matrix(pose)
        voxels = apply_affine(to_voxel, self.points_mm)
        bins = _binned(ndimage.map_coordinates(self.image.data, voxels.T, order=1))
        joint = np.bincount(self.template_bins * _BINS + bins, minlength=_BINS**2)
        table = joint.reshape(_BINS, _BINS) / joint.sum()
        marginal = _entropy(table.sum(axis=0)) + _entropy(table.sum(axis=1))
        return -marginal / _entropy(table.ravel())


_BINS = 24
_SHELL_MM = 4.0
"""Fluid and skull. A wider shell, dark in the template, is matched by the air around the scalp:
the brain then takes the outline of the head. Poses of ten heads were right with 0, 3 and 5 mm."""
_POSES = (
    (-30, -20, -10, 0, 10, 20, 30),
    (-12, 0, 12),
    (-12, 0, 12),
    (0,),
    (-12, 0, 12),
    (-24, -12, 0, 12, 24),
    (-20, -10, 0),
)
_REFINED_POSES = 6


def _binned(values: FloatArray) -> NDArray[np.intp]:
    return np.clip((values * _BINS).astype(np.intp), 0, _BINS - 1)


def _entropy(p: FloatArray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _head(image: Volume) -> BoolArray:
    """Largest solid piece that stands out from the air."""
    positive = image.data[image.data > 0]
    if positive.size == 0:
        raise DataError("the T1w image holds no positive voxel")
    bright = np.percentile(positive, 98)
    # a stripped or noise-free image has no air: the percentile then lies in the brain itself
    head = largest_piece(ndimage.binary_opening(image.data > 0.12 * bright))
    if np.count_nonzero(head) * image.voxel_volume_mm3 < 1e3 * _BRAIN_ML[0] / 2:
        raise DataError("the T1w image shows no head: what stands out is smaller than a brain")
    return head


def _centre_below_top(image: Volume, head: BoolArray) -> FloatArray:
    """Centre (3,), mm, of the uppermost 150 mm of a head: neck and shoulders stay out."""
    points = apply_affine(image.affine, np.argwhere(head).astype(float))
    top = np.percentile(points[:, 2], 99.9)
    return np.asarray(points[points[:, 2] > top - _HEAD_TOP_MM].mean(axis=0))


@dataclass(frozen=True)
class Missing:
    """Share of the brain that an image does not show: cut off, or black."""

    brain: float
    """Of the whole brain, 0 to 1."""
    lower: float
    """Of what lies below `LOWER_BRAIN_MM` in MNI space: cerebellum, pons, temporal poles."""


LOWER_BRAIN_MM = -30.0
_LACKING = 0.015
_LACKING_LOWER = 0.03
"""Of the lower brain; the reference region lies in it. A slice of 20 mm cut off a brain takes 1.2
to 5 % of it, or 3.6 to 23 % of the lower brain where it is cut there; one of 10 mm at most 1 and
1.8 %. Of ten whole heads nothing is missing."""
_DARK = 0.1
"""Of the brain's median: darker than fluid. What fills a cut is rarely zero: noise, or an edge
that a resampling smeared."""


def missing_brain(image: Volume, template: Volume, template2image: FloatArray) -> Missing:
    """What of a brain lies outside its image or where the image is all but black.

    Measured by the affine of the search: a deformation would squeeze the brain into what is there.

    Parameters
    ----------
    image : Volume
        T1w image, dark where it shows nothing.
    template : Volume
        Skull-stripped template.
    template2image : (4, 4) array
        From `locate_brain`.

    Raises
    ------
    DataError
        If more than 1.5 % of the brain or 3 % of the lower brain is missing.
    """
    grid = coarse_grid(template, _COVERAGE_MM)
    inner = smooth_and_resample(_brain_of(template), grid).data > 0.9
    points = apply_affine(grid.affine, np.argwhere(inner).astype(float))
    smooth = smooth_and_resample(image, coarse_grid(image, _COVERAGE_MM))
    voxels = apply_affine(np.linalg.inv(smooth.affine) @ template2image, points)
    values = ndimage.map_coordinates(smooth.data, voxels.T, order=1)
    lit = np.zeros(grid.shape, bool)
    lit[inner] = values > _DARK * np.median(values[values > 0]) if (values > 0).any() else False
    # ventricles may be as black as air, but the brain is around them
    shown = ndimage.binary_fill_holes(lit)[inner]
    below = points[:, 2] < LOWER_BRAIN_MM
    missing = Missing(float(1 - shown.mean()), float(1 - shown[below].mean()))
    if missing.brain > _LACKING or missing.lower > _LACKING_LOWER:
        raise DataError(
            f"the T1w image lacks {100 * missing.brain:.0f} % of the brain"
            f" ({100 * missing.lower:.0f} % of its lower part): cut off, or black; use an image of"
            " the whole brain"
        )
    return missing


_COVERAGE_MM = 4.0


def filled_holes(image: Volume) -> tuple[Volume, BoolArray]:
    """An image whose voxels without a finite value have one, and where those were.

    Small holes take the value of the nearest voxel; larger ones, as the surroundings that other
    programs set to NaN, become zero.
    """
    holes = ~np.isfinite(image.data)
    if not holes.any() or holes.all():
        return image.with_data(np.where(holes, 0, image.data).astype(np.float32)), holes
    pieces, _ = ndimage.label(holes)
    small = np.bincount(pieces.ravel()) * image.voxel_volume_mm3 < _SMALL_HOLE_MM3
    nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
    values = np.where(holes & ~small[pieces], 0, image.data[tuple(nearest)])
    return image.with_data(values.astype(np.float32)), holes


_SMALL_HOLE_MM3 = 100.0


def rough_brain_mask(image: Volume, template: Volume, template2image: FloatArray) -> Volume:
    """Brain mask by a deformable registration of the template at 4 mm, bool.

    Parameters
    ----------
    image : Volume
        T1w image, whole head or stripped.
    template : Volume
        Skull-stripped template.
    template2image : (4, 4) array
        From `locate_brain`.

    Raises
    ------
    ToolError
        If the registration fails.
    """
    fixed = smooth_and_resample(template, coarse_grid(template, 2.0))
    moving = smooth_and_resample(image, coarse_grid(image, 2.0))
    brain = smooth_and_resample(_brain_of(template), fixed)
    near = fixed.with_data(_within(brain.data > 0.5, 4.0, fixed))
    field = register_deformable(
        fixed, moving, template2image, fixed_mask=near, iterations="100x50x0"
    )
    inverse = invert_field(field, moving, np.linalg.inv(template2image))
    soft = resample_through_field(brain, inverse)
    mask = resample(soft, image).data > 0.5
    return image.with_data(largest_piece(mask & (image.data > 0)))


def refine_brain_mask(corrected: Volume, rough: Volume) -> Volume:
    """Brain mask that follows the edge of the tissue, bool.

    From the core of the rough mask, tissue is followed outwards for up to 8 mm, thin sheets and
    strands (dura, vessels, nerves) being cut off; narrow fluid-filled sulci are closed.

    Parameters
    ----------
    corrected : Volume
        Bias-corrected T1w image.
    rough : Volume
        From `rough_brain_mask`.

    Raises
    ------
    DataError
        If the volume of the brain lies outside 800 to 2200 mL.
    """
    box = bounding_box(rough, margin_mm=14.0)
    image, mask = crop(corrected, box), crop(rough, box)
    inside, size = mask.data > 0, mask.voxel_size_mm
    fluid, bright = tissue_levels(image.data[inside])
    tissue = (image.data > fluid) & (image.data < bright)
    to_edge = distance_mm(~inside, size) - distance_mm(inside, size)
    reach = tissue & (to_edge < _GROW_MM)
    core = largest_piece(distance_mm(reach, size) > _SHEET_MM)
    opened = reach & (distance_mm(~core, size) < _SHEET_MM + 0.5)
    closed = distance_mm(distance_mm(~opened, size) < _SULCUS_MM, size) > _SULCUS_MM - 1.0
    filled = ndimage.binary_fill_holes(closed | (to_edge < -_SURE_MM)) & (image.data > 0)
    result = np.zeros(rough.shape, bool)
    result[box] = largest_piece(filled)
    volume_ml = np.count_nonzero(result) * rough.voxel_volume_mm3 / 1e3
    if not _BRAIN_ML[0] <= volume_ml <= _BRAIN_ML[1]:
        raise DataError(
            f"brain mask of {volume_ml:.0f} mL (800 to 2200 expected): the brain was not found;"
            " check the T1w image's contrast and the orientation in its header"
        )
    return rough.with_data(result)


_GROW_MM = 8.0
_SHEET_MM = 1.8
_SULCUS_MM = 6.0
_SURE_MM = 6.0


def is_stripped(image: Volume, brain: Volume) -> bool:
    """Whether an image came without its skull: nothing stands out around the brain.

    Parameters
    ----------
    image : Volume
        T1w image.
    brain : Volume
        Brain mask on the same grid.
    """
    box = bounding_box(brain, margin_mm=_AROUND_MM[1])
    part, inside = crop(image, box).data, crop(brain, box).data > 0
    outside_mm = distance_mm(~inside, brain.voxel_size_mm)
    around = (outside_mm > _AROUND_MM[0]) & (outside_mm < _AROUND_MM[1])
    if not around.any():
        return False
    bright = part[around] > _SCALP_LEVEL * np.median(part[inside])
    return bool(bright.mean() < _SCALP_SHARE)


_AROUND_MM = (6.0, 22.0)
_SCALP_LEVEL = 0.3
_SCALP_SHARE = 0.03


def tissue_levels(values: FloatArray) -> tuple[float, float]:
    """Intensities between which T1w brain tissue lies: from mostly fluid to above white.

    Parameters
    ----------
    values : (N,) array
        Voxels of a brain with its fluid.
    """
    median, white = np.percentile(values, (50, 90))
    low = float(np.percentile(values, 2))
    return low + _TISSUE * (float(median) - low), float(white + 0.35 * (white - low))


_TISSUE = 0.42
"""Where tissue begins, from fluid (0) to the middle of the brain's intensities (1). At 0.5 six
heads of young people lost 0.3 to 6 % of their cortex, with 0.42 and 8 mm of growth
0 to 2.6 %."""


def bounding_box(mask: Volume, margin_mm: float) -> tuple[slice, slice, slice]:
    """Slices of the box around a mask, widened by a margin within the grid.

    Raises
    ------
    DataError
        If the mask is empty.
    """
    found = ndimage.find_objects(mask.data.astype(np.uint8))
    if not found:
        raise DataError("the brain mask is empty; check the T1w image")
    margin = np.ceil(margin_mm / mask.voxel_size_mm).astype(int)
    x, y, z = (
        slice(max(0, part.start - int(m)), min(n, part.stop + int(m)))
        for part, m, n in zip(found[0], margin, mask.shape, strict=True)
    )
    return x, y, z


def crop(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The part of a volume in a box, its voxels where they were in the world."""
    affine = volume.affine.copy()
    affine[:3, 3] = apply_affine(volume.affine, np.array([part.start for part in box], float))
    return Volume(np.ascontiguousarray(volume.data[box]), affine)


def distance_mm(mask: BoolArray, size_mm: FloatArray) -> NDArray[np.float32]:
    """Distance of every true voxel to the nearest false one, mm; zero where false.

    By Maurer's algorithm of ITK, four times as fast as SciPy's; without a false voxel the distance
    is the length of the grid's diagonal.
    """
    if mask.all():
        return np.full(mask.shape, np.linalg.norm(size_mm * mask.shape), np.float32)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    outside = sitk.GetImageFromArray((~mask).view(np.uint8).T)
    outside.SetSpacing([float(size) for size in size_mm])
    signed = sitk.SignedMaurerDistanceMap(
        outside, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return np.asarray(np.maximum(sitk.GetArrayFromImage(signed).T, 0), np.float32)


def distance_to_others_mm(mask: BoolArray, size_mm: FloatArray, reach_mm: float) -> FloatArray:
    """Distance of the centre of every true voxel to the nearest face of a false one, mm.

    Zero where false, infinite beyond `reach_mm`. Squares add up axis by axis, so that the smallest
    sum over neighbours along one axis after the other is the smallest of all.
    """
    squared = np.where(mask, np.inf, 0.0)
    for axis, size in enumerate(size_mm):
        along = np.moveaxis(squared, axis, 0)
        before = along.copy()
        for step in range(1, min(int(reach_mm / size + 0.5), len(along) - 1) + 1):
            gap = ((step - 0.5) * size) ** 2
            np.minimum(along[step:], before[:-step] + gap, out=along[step:])
            np.minimum(along[:-step], before[step:] + gap, out=along[:-step])
    squared[squared > reach_mm**2] = np.inf
    return np.asarray(np.sqrt(squared))


def largest_piece(mask: BoolArray) -> BoolArray:
    """Largest face-connected component; all false where `mask` is."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros_like(mask, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _brain_of(template: Volume) -> Volume:
    brain = ndimage.binary_fill_holes(template.data > 0)
    return template.with_data(brain.astype(np.float32))


def _within(mask: BoolArray, margin_mm: float, grid: Volume) -> NDArray[np.float32]:
    near: BoolArray = distance_mm(~mask, grid.voxel_size_mm) <= margin_mm
    return near.astype(np.float32)
