"""The anatomical axes of a head: origin in the anterior commissure, y along AC-PC, x to the right.

Measured on the template, carried to the head by the deformation: the commissures over a few
millimetres around each, the direction from left to right over the whole brain.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import bounding_corners_mm, displacement_at, resample

ANTERIOR_COMMISSURE_MM = (0.0, 3.0, -5.0)
"""In MNI152NLin2009cAsym, as seen on its T1w template."""
POSTERIOR_COMMISSURE_MM = (0.0, -26.0, -2.0)
_AROUND_MM = (-2.0, 0.0, 2.0)
_SIDE_MM = tuple(range(20, 61, 10))
_BODY_MM = tuple(product(range(-80, 51, 10), range(-20, 51, 10)))
_MARGIN_MM = 30.0


def acpc_alignment(template2image: Field) -> FloatArray:
    """Rigid transform of an image to its anatomical axes, (4, 4), RAS+ mm.

    Parameters
    ----------
    template2image : Field
        Displacements on MNI152NLin2009cAsym that lead to the image.

    Returns
    -------
    (4, 4) array
        Points of the image to millimetres right of, in front of and above the anterior commissure.
    """
    anterior, posterior = (
        _carried(template2image, np.array(list(product(_AROUND_MM, repeat=3))) + place).mean(
            axis=0
        )
        for place in (ANTERIOR_COMMISSURE_MM, POSTERIOR_COMMISSURE_MM)
    )
    right = np.array([(x, y, z) for x in _SIDE_MM for y, z in _BODY_MM], float)
    across = _carried(template2image, right) - _carried(template2image, right * (-1, 1, 1))
    y = _unit(anterior - posterior)
    x = across.mean(axis=0)
    x = _unit(x - (x @ y) * y)
    matrix = np.eye(4)
    matrix[:3, :3] = x, y, np.cross(x, y)
    matrix[:3, 3] = -matrix[:3, :3] @ anterior
    return matrix


def realigned(image: Volume, brain: Volume, image2acpc_xfm: FloatArray) -> Volume:
    """The image on cubic voxels along its anatomical axes, by cubic splines, float32.

    The voxels are as large as the image's; the box holds the brain and 30 mm around.

    Parameters
    ----------
    image, brain : Volume
        Image and its brain mask on one grid.
    image2acpc_xfm : (4, 4) array
        From `acpc_alignment`.
    """
    edge = float(image.voxel_volume_mm3 ** (1 / 3))
    corners = apply_affine(image2acpc_xfm, bounding_corners_mm(brain))
    low, high = corners.min(axis=0) - _MARGIN_MM, corners.max(axis=0) + _MARGIN_MM
    affine = np.diag([edge, edge, edge, 1.0])
    # the commissure lies on a voxel's centre
    affine[:3, 3] = np.floor(low / edge) * edge
    shape = tuple(int(n) for n in np.ceil((high - affine[:3, 3]) / edge) + 1)
    grid = Volume(np.zeros(shape, np.uint8), affine)
    pulled = resample(image, grid, np.linalg.inv(image2acpc_xfm), order=3)
    return pulled.with_data(np.maximum(pulled.data, 0))


def _carried(field: Field, points_mm: FloatArray) -> FloatArray:
    shift = displacement_at(field, points_mm.T.astype(np.float32))
    return np.asarray(points_mm + shift.T, float)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))
