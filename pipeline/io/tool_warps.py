"""Displacement fields as FSL writes them.

The one place where they become a `Field`: points of the grid to points of the other image, RAS+
millimetres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import grid_points_mm
from pipeline.io.images import read_series


def read_fsl_warp(path: str | Path, reference: Volume, moving: Volume) -> Field:
    """Field on the grid of `reference` that leads to `moving`.

    A relative warp with its affine part in it, as ``convertwarp --relout`` and ``invwarp --rel``
    leave it: at every voxel of the reference the way from its place to the same place in the
    moving image, both in FSL's coordinates of their own image. Those are voxel numbers times voxel
    sizes, the first axis turned round where the image is stored right-handed, so that the numbers
    mean nothing without both images.

    Parameters
    ----------
    path : path
        4-D image, three numbers a voxel, millimetres.
    reference, moving : Volume
        Image that ``--ref`` named, and the one the warp pulls onto it; only their grids count.
        The warp's own header does not: not every version of FSL fills it in.

    Raises
    ------
    DataError
        If the file is missing, does not fit the reference, or holds values that are not finite.
    """
    ways, _ = read_series(path)
    if ways.shape != (*reference.shape, 3):
        raise DataError(
            f"{path}: a warp of FSL {(*reference.shape, 3)} expected, this one is {ways.shape}"
        )
    if not np.isfinite(ways).all():
        raise DataError(f"{path}: the warp holds values that are not finite; compute it again")
    fsl2world = moving.affine @ np.linalg.inv(voxel2fsl(moving))
    # target = fsl2world (place + way); what the places alone make is affine in the voxel numbers
    still = fsl2world @ voxel2fsl(reference) - reference.affine
    turn = fsl2world[:3, :3].T.astype(np.float32)
    displacement = np.empty(ways.shape, np.float32)
    for i in range(reference.shape[0]):
        placed = grid_points_mm(reference.shape, still, slice(i, i + 1))
        displacement[i] = ways[i] @ turn + np.moveaxis(placed, 0, -1)[0]
    return Field(displacement, reference.affine)


def voxel2fsl(grid: Volume) -> FloatArray:
    """Voxel numbers to FSL's coordinates, (4, 4), millimetres.

    Examples
    --------
    >>> voxel2fsl(Volume(np.zeros((5, 4, 3)), np.diag([2.0, 2, 2, 1]))) @ [0, 0, 0, 1]
    array([8., 0., 0., 1.])
    """
    matrix = np.diag([*grid.voxel_size_mm, 1.0])
    if np.linalg.det(grid.affine) > 0:
        matrix[0] *= -1
        matrix[0, 3] = (grid.shape[0] - 1) * grid.voxel_size_mm[0]
    return matrix
