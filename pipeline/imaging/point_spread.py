"""What a scanner with a Gaussian point spread makes of a body, as exact means over its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline.core.volume import BoolArray, FloatArray
from pipeline.imaging.resampling import SIGMA_PER_FWHM

_REACH_SIGMA = 4.0
"""Beyond it a Gaussian has 6 in 100000 of its area."""


def reach_voxels(fwhm_mm: float, voxel_mm: float) -> int:
    """How many voxels away a body can still be seen."""
    return int(np.ceil(_REACH_SIGMA * fwhm_mm * SIGMA_PER_FWHM / voxel_mm))


def axis_spread(
    voxels: int, cell_edges: FloatArray, fwhm_mm: float, voxel_mm: float
) -> NDArray[np.float32]:
    """How much of every cell along an axis arrives in every voxel.

    Parameters
    ----------
    voxels : int
        V voxels of the axis; voxel i reaches from i - 1/2 to i + 1/2.
    cell_edges : (C + 1,) array
        Where C neighbouring cells begin and end, in voxels, inside or outside the axis.
    fwhm_mm : float
        Full width at half maximum of the Gaussian; 0 for none.
    voxel_mm : float
        Length of a voxel.

    Returns
    -------
    (V, C) float32 array
        Mean over the voxel of a cell of one after the Gaussian: the Gaussian is integrated over
        both, so that neither need be small against it.

    Examples
    --------
    Without a Gaussian, the shares of halves of voxels:

    >>> axis_spread(2, np.array([-0.5, 0.0, 0.5, 1.0]), 0.0, 2.0)
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0.5]], dtype=float32)
    """
    sigma = fwhm_mm * SIGMA_PER_FWHM / voxel_mm
    faces = np.arange(voxels + 1)[:, None] - 0.5
    arrived = np.diff(_integral(faces - cell_edges, sigma), axis=0)
    return np.asarray(arrived[:, :-1] - arrived[:, 1:], np.float32)


def _integral(x: FloatArray, sigma: float) -> FloatArray:
    """Integral of the Gaussian's distribution function up to x."""
    if sigma == 0:
        return np.asarray(np.maximum(x, 0.0))
    density = np.exp(-0.5 * (x / sigma) ** 2) / np.sqrt(2 * np.pi)
    return np.asarray(x * ndtr(x / sigma) + sigma * density)


def spread_body(
    cells: BoolArray, spreads: Sequence[NDArray[np.float32]]
) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """A body of activity one as the scanner shows it.

    Parameters
    ----------
    cells : (X', Y', Z') array
        Cells that belong to the body.
    spreads : three (V, C) arrays
        Of `axis_spread`, for the cells along each axis.

    Returns
    -------
    box : three slices
        Voxels of the image in which it can be seen.
    seen : array
        Activity in the box.
    """
    box, seen = [], cells.astype(np.float32)
    for spread in spreads:
        rows = np.flatnonzero(spread.max(axis=1) > _NOTHING)
        side = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
        # the axis just done goes to the end, so that the next one comes to the front
        seen = np.tensordot(seen, spread[side], axes=([0], [1]))
        box.append(side)
    return (box[0], box[1], box[2]), seen


_NOTHING = 1e-6
