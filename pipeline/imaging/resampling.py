"""Volumes on other grids and at other smoothness."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.core.volume import FloatArray, Volume

_SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


def resample_rigid(
    moving: Volume, grid: Volume, grid2moving_xfm: FloatArray, order: int = 3
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

    Returns
    -------
    (X, Y, Z) float32 array
        Outside the field of view of `moving` the nearest value on its border is repeated within
        half a voxel, and zero beyond.
    """
    voxel = np.linalg.inv(moving.affine) @ grid2moving_xfm @ grid.affine
    data = np.ascontiguousarray(moving.data, dtype=np.float32)
    sampled = ndimage.affine_transform(
        data,
        voxel[:3, :3],
        voxel[:3, 3],
        output_shape=grid.shape,
        output=np.float32,
        order=order,
        mode="grid-constant" if order == 0 else "constant",
    )
    return np.asarray(sampled)


def smooth(volume: Volume, fwhm_mm: float | FloatArray) -> Volume:
    """The volume after a Gaussian, float32; full width at half maximum, one or per axis (3,)."""
    width = np.maximum(fwhm_mm, 0.0)
    if not width.any():
        return volume
    sigma = width * _SIGMA_PER_FWHM / volume.voxel_size_mm
    data = ndimage.gaussian_filter(volume.data, sigma, output=np.float32, mode="nearest")
    return volume.with_data(data)


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
