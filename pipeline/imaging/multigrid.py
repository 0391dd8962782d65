"""Grids on which SPM12's segmentation loses its warp, and how to leave them.

The multigrid solver halves the grid of the warp, rounding up, until one point is left. SPM12 up to
r7771 takes the wrong axis for the end of it: a grid that passes through 1 x 2 x 1 points diverges.
"""

from __future__ import annotations

import math
from itertools import count, islice

import numpy as np

from pipeline.core.volume import Volume


def diverges(volume: Volume, sampling_mm: float) -> bool:
    """Whether the solver passes through 1 x 2 x 1 points for an image of this grid.

    Parameters
    ----------
    volume : Volume
        Only its grid counts.
    sampling_mm : float
        Distance of the points that the fit looks at.

    Examples
    --------
    >>> head = Volume(np.empty((181, 217, 181), np.uint8), np.eye(4))
    >>> diverges(head, 3), diverges(padded(head, 6), 3)
    (True, False)
    """
    # halves go up, as in MATLAB
    steps = [max(1, int(sampling_mm / edge + 0.5)) for edge in volume.voxel_size_mm.tolist()]
    grid = [math.ceil(n / step) for n, step in zip(volume.shape, steps, strict=True)]
    while max(grid) > 1:
        grid = [math.ceil(n / 2) for n in grid]
        if grid == [1, 2, 1]:
            return True
    return False


def pads_to_try(volume: Volume, sampling_mm: float) -> list[int]:
    """Voxels to add at both ends of the first axis: none, then two ways off such grids."""
    safe = (pad for pad in count(4, 4) if not diverges(padded(volume, pad), sampling_mm))
    return [0, *islice(safe, 2)]


def padded(volume: Volume, pad: int) -> Volume:
    """The image with `pad` empty planes more at both ends of its first axis."""
    affine = volume.affine.copy()
    affine[:3, 3] -= pad * affine[:3, 0]
    return Volume(np.pad(volume.data, ((pad, pad), (0, 0), (0, 0))), affine)


def unpadded(volume: Volume, pad: int) -> Volume:
    """The image without those planes."""
    affine = volume.affine.copy()
    affine[:3, 3] += pad * affine[:3, 0]
    return Volume(volume.data[pad : volume.shape[0] - pad], affine)
