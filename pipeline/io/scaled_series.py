"""Dynamic images as scanners store them: 16-bit integers and one scale factor."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray

_LARGEST = 32767


def write_scaled_series(
    path: str | Path, frames: list[NDArray[np.float32]], affine: FloatArray
) -> Path:
    """Write frames as one 4-D int16 NIfTI; equal frames give equal bytes.

    Parameters
    ----------
    path : path
        ``.nii.gz`` file.
    frames : list of (X, Y, Z) arrays
        Emptied while it is written, so that a scan is not held twice.
    affine : (4, 4) array
        Voxels to world, RAS+, millimetres.

    Raises
    ------
    ValueError
        If there are no frames or a value is not finite.
    """
    if not frames:
        raise ValueError("no frames to write")
    largest = max(float(np.abs(frame).max()) for frame in frames)
    if not np.isfinite(largest):
        raise ValueError("frames hold values that are not finite")
    slope = largest / _LARGEST or 1.0
    stored = np.empty((*frames[0].shape, len(frames)), np.int16, order="F")
    for number in range(len(frames)):
        stored[..., number] = np.rint(frames.pop(0) / np.float32(slope))
    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(slope, 0.0)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return Path(path)
