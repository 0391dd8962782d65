"""Volumes on other grids and at other smoothness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.volume import BoolArray, FloatArray, Volume

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
_ROUNDING = 1e-3
"""Of a voxel: float32 sums of places and shares are no better."""


def resample_rigid(
    moving: Volume,
    grid: Volume,
    grid2moving_xfm: FloatArray,
    order: int = 3,
    *,
    outside: float = 0.0,
) -> FloatArray:
    """Values of one image on the grid of another, through an affine transform.

    Parameters
    ----------
    moving : Volume
        Image to sample.
    grid : Volume
        Its shape and affine are the target grid.
    grid2moving_xfm : (4, 4) array
        World points of the grid to world points of `moving`, mm.
    order : int
        Degree of the spline; 0 for labels.
    outside : float
        Value of what `moving` does not cover: a voxel reaches half its width beyond its middle.

    Returns
    -------
    (X, Y, Z) float32 array
        NaN where a value that is not finite would take part; it touches no other voxel.
    """
    voxel = np.linalg.inv(moving.affine) @ grid2moving_xfm @ grid.affine
    data = np.ascontiguousarray(moving.data, dtype=np.float32)
    known = np.isfinite(data)
    lacking = not known.all()
    sampled = _sampled(np.where(known, data, 0) if lacking else data, voxel, grid.shape, order)
    if lacking:
        share = _sampled(known.astype(np.float32), voxel, grid.shape, min(order, 1))
        sampled[share < 1 - _ROUNDING] = np.nan
    sampled[_beyond(voxel, grid.shape, moving.shape)] = outside
    return sampled


def _sampled(
    data: NDArray[np.float32], voxel: FloatArray, shape: tuple[int, int, int], order: int
) -> NDArray[np.float32]:
    """Values at the places a (4, 4) matrix of voxel indices leads to; level beyond the border."""
    sampled = ndimage.affine_transform(
        data,
        voxel[:3, :3],
        voxel[:3, 3],
        output_shape=shape,
        output=np.float32,
        order=order,
        mode="nearest",
    )
    return np.asarray(sampled)


def _beyond(
    voxel: FloatArray, shape: tuple[int, int, int], source: tuple[int, int, int]
) -> BoolArray:
    """Places (X, Y, Z) that lie more than half a voxel outside a source grid."""
    beyond = np.zeros(shape, bool)
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for row, size in zip(voxel[:3], source, strict=True):
        place = row[0] * x + row[1] * y + (row[2] * z + row[3])
        beyond |= (place < -0.5 - _ROUNDING) | (place > size - 0.5 + _ROUNDING)
    return beyond


def smooth(volume: Volume, fwhm_mm: float | FloatArray) -> Volume:
    """The volume after a Gaussian, float32; full width at half maximum, one or per axis (3,).

    Voxels that are not finite stay NaN and take no part in others.
    """
    width = np.maximum(fwhm_mm, 0.0)
    if not width.any():
        return volume
    sigma = width * SIGMA_PER_FWHM / volume.voxel_size_mm
    known = np.isfinite(volume.data)
    if known.all():
        return volume.with_data(_blurred(volume.data, sigma))
    # what is not known takes no part: means over the known neighbours alone
    data = _blurred(np.where(known, volume.data, 0), sigma)
    share = _blurred(known.astype(np.float32), sigma)
    result = np.full(volume.shape, np.nan, np.float32)
    np.divide(data, share, out=result, where=known)
    return volume.with_data(result)


def _blurred(data: FloatArray, sigma: FloatArray) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(data, sigma, output=np.float32, mode="nearest"))


def coarsen(volume: Volume, voxel_mm: float) -> Volume:
    """Means over blocks of voxels, as large as fit into `voxel_mm` (at least one voxel).

    Edge voxels that do not fill a block are left out.
    """
    factor = np.maximum(np.floor(voxel_mm / volume.voxel_size_mm + 1e-6).astype(int), 1)
    if (factor == 1).all():
        return volume
    blocks = np.array(volume.shape) // factor
    x, y, z = blocks * factor
    split = volume.data[:x, :y, :z].reshape(
        blocks[0], factor[0], blocks[1], factor[1], blocks[2], factor[2]
    )
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * factor
    affine[:3, 3] += volume.affine[:3, :3] @ ((factor - 1) / 2)
    return Volume(split.mean(axis=(1, 3, 5), dtype=np.float32), affine)
