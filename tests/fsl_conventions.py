"""What FSL means by its coordinates, matrices and warps, with no part of the code under test.

Written out from FSL's documentation, ``fsl.fmrib.ox.ac.uk/fsl/docs``: FLIRT FAQ, "What is the
format of the matrix used by FLIRT", for coordinates and matrices; the guide of FNIRT and
``fsl.transform.fnirt`` of FSL's own fslpy for warps.
"""

from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume

DISPLACEMENTS = 2006
"""NIfTI intent of a displacement field of FSL."""


def fsl_points(volume, points_mm):
    """World points (..., 3) in FSL's coordinates: scaled voxels, the first axis turned round."""
    voxels = apply_affine(np.linalg.inv(volume.affine), points_mm)
    if np.linalg.det(volume.affine) > 0:
        voxels[..., 0] = volume.shape[0] - 1 - voxels[..., 0]
    return voxels * volume.voxel_size_mm


def world_of_voxels(volume):
    """World points of all voxels, (X, Y, Z, 3)."""
    return apply_affine(volume.affine, np.moveaxis(np.indices(volume.shape), 0, -1).astype(float))


def write_fsl_matrix(path, moving, reference, moving2reference):
    """Matrix that FLIRT would leave: FSL's points of the input to those of the reference."""
    corners = world_of_voxels(Volume(np.zeros((2, 2, 2)), np.diag([90.0, 90, 90, 1]))).reshape(
        -1, 3
    )
    before = fsl_points(moving, corners)
    after = fsl_points(reference, apply_affine(moving2reference, corners))
    rows = np.linalg.lstsq(np.c_[before, np.ones(len(before))], after, rcond=None)[0].T
    text = [" ".join(f"{value:.10g}" for value in row) + "  " for row in [*rows, [0, 0, 0, 1]]]
    Path(path).write_text("\n".join(text) + "\n")
    return Path(path)


def write_fsl_warp(path, reference, moving, reference2moving):
    """Relative warp, affine part included: at every voxel of the reference the way to go.

    `reference2moving` takes world points (..., 3) of the reference to those of the moving image.
    """
    here = world_of_voxels(reference)
    ways = fsl_points(moving, reference2moving(here)) - fsl_points(reference, here)
    image = nib.Nifti1Image(ways.astype(np.float32), reference.affine)
    image.header["intent_code"] = DISPLACEMENTS
    nib.save(image, path)
    return Path(path)
