"""Whether two T1w images of a head lie in one world: how alike they are, how far apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, displacement_mm
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.rigid import RigidSearch, centre_of_mass_mm, register_rigid
from pipeline.imaging.warp import coarse_grid, resample, smooth_and_resample

_WORKING_MM = 4.0
_SEARCH = RigidSearch("correlation", shrink=(2, 1), smoothing_mm=(4.0, 2.0), last_step_mm=0.01)
_SURROUNDINGS_MM = 15.0
_DARK, _TINY = 0.1, 1e-6
ALIKE = 0.7
"""Correlation of two images of one head, once aligned, at the least. Of four simulated heads each
resembles itself by 0.999 (0.93 in heavy noise), any other by at most 0.57."""


@dataclass(frozen=True)
class SharedWorld:
    """How one T1w lies on another."""

    correlation: float
    """Pearson's within the brain as the headers put the images, each over its surroundings; NaN
    where one of them is flat."""
    aligned_correlation: float
    """The same after the best rigid move; NaN where none was found."""
    apart_mm: float
    """Mean shift of the brain by that move; NaN where none was found."""
    brain_in_picture: float
    """Share of the brain that lies in the other picture, as the headers put it, 0 to 1."""


def compare_worlds(image: Volume, brain: Volume, other: Volume) -> SharedWorld:
    """How far apart two T1w images of a head lie.

    Parameters
    ----------
    image : Volume
        T1w image.
    brain : Volume
        Its brain mask, on the same grid.
    other : Volume
        Another T1w, of the same head.

    Raises
    ------
    DataError
        If no voxel of the brain lies in the picture of the other image.
    """
    grid = coarse_grid(image, _WORKING_MM)
    fixed = _evened(smooth_and_resample(image, grid))
    inside = smooth_and_resample(brain.with_data((brain.data > 0).astype(np.float32)), grid)
    within = inside.data > 0.5
    coarse = smooth_and_resample(other, coarse_grid(other, _WORKING_MM))
    moving = _evened(coarse)
    points = apply_affine(grid.affine, np.argwhere(within).astype(float))
    shown = _in_picture(other, points)
    if not shown.any():
        raise DataError(
            "no part of the brain lies in the picture of the raw T1w; are both of one head, and "
            "are their headers as they were?"
        )
    move, alike = None, np.nan
    for start in (np.eye(4), _between_centres(image, coarse)):
        try:
            found = register_rigid(fixed, moving, within, start, _SEARCH).fixed2moving_xfm
        except ValueError:
            continue
        there = _correlation(fixed, moving, within, found)
        if not alike >= there:
            move, alike = found, there
        if alike >= ALIKE:
            break
    return SharedWorld(
        correlation=_correlation(fixed, moving, within, np.eye(4)),
        aligned_correlation=alike,
        apart_mm=np.nan if move is None else _mean_shift_mm(move, points),
        brain_in_picture=float(shown.mean()),
    )


def _evened(image: Volume) -> Volume:
    """An image over its surroundings, so that no coil sensitivity pulls at the alignment."""
    data = np.maximum(image.data, 0)
    around = ndimage.gaussian_filter(data, _SURROUNDINGS_MM / image.voxel_size_mm)
    return image.with_data(data / np.maximum(around, _DARK * around.max() + _TINY))


def _between_centres(image: Volume, other: Volume) -> FloatArray:
    """Shift from one centre of mass to the other; none where one of the images is black."""
    shift = np.eye(4)
    if (image.data > 0).any() and (other.data > 0).any():
        shift[:3, 3] = centre_of_mass_mm(other) - centre_of_mass_mm(image)
    return shift


def _mean_shift_mm(move: FloatArray, points_mm: FloatArray) -> float:
    return float(displacement_mm(move, np.eye(4), points_mm).mean())


def _in_picture(image: Volume, points_mm: FloatArray) -> BoolArray:
    """Which points (N, 3) lie in an image."""
    voxels = apply_affine(np.linalg.inv(image.affine), points_mm)
    return np.asarray(((voxels > -0.5) & (voxels < np.array(image.shape) - 0.5)).all(axis=1))


def _correlation(fixed: Volume, moving: Volume, within: BoolArray, xfm: FloatArray) -> float:
    values = resample(moving, fixed, xfm).data[within]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(values, fixed.data[within])[0, 1])
