"""Rigid and affine transforms: 4x4 matrices on world points, RAS+, millimetres.

A matrix called ``<from>2<to>_xfm`` maps a point of *from* to the same place in *to*:
``point_to = xfm @ point_from``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.core.volume import FloatArray


def rigid_matrix(
    translation_mm: FloatArray, rotation_rad: FloatArray, centre_mm: FloatArray | None = None
) -> FloatArray:
    """Rigid transform from six parameters.

    Parameters
    ----------
    translation_mm : (3,) array
        Shift along x, y and z.
    rotation_rad : (3,) array
        Rotations about the fixed x, y and z axes, in this order.
    centre_mm : (3,) array, optional
        Point the rotation leaves in place; the origin by default.

    Returns
    -------
    (4, 4) array

    Examples
    --------
    >>> shift = rigid_matrix(np.array([1.0, 0, 0]), np.zeros(3))
    >>> shift @ np.array([0.0, 0, 0, 1])
    array([1., 0., 0., 1.])
    """
    centre = np.zeros(3) if centre_mm is None else np.asarray(centre_mm, float)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rotation_rad).as_matrix()
    matrix[:3, 3] = np.asarray(translation_mm) + centre - matrix[:3, :3] @ centre
    return matrix


def rigid_parameters(
    matrix: FloatArray, centre_mm: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Translation (3,), mm, and rotation (3,), rad, that `rigid_matrix` takes."""
    centre = np.zeros(3) if centre_mm is None else np.asarray(centre_mm, float)
    rotation = np.asarray(matrix[:3, :3])
    translation = matrix[:3, 3] - centre + rotation @ centre
    return translation, Rotation.from_matrix(rotation).as_euler("xyz")


def nearest_rigid(matrix: FloatArray) -> FloatArray:
    """The rigid transform (4, 4) that turns as an affine does and takes the origin where it does.

    Its rotation is the orthogonal factor of the polar decomposition.
    """
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    rigid[:3, 3] = matrix[:3, 3]
    return rigid


def apply_affine(matrix: FloatArray, points_mm: FloatArray) -> FloatArray:
    """Images of points (..., 3) under a 4x4 matrix."""
    return np.asarray(points_mm @ matrix[:3, :3].T + matrix[:3, 3])


def same_grid(shape: tuple[int, ...], first: FloatArray, second: FloatArray) -> bool:
    """Whether two affines put the voxels of a grid (X, Y, Z) within 0.01 mm of one place."""
    corners = np.array(list(product(*((0.0, n - 1.0) for n in shape))))
    return bool(displacement_mm(first, second, corners).max() < _SAME_PLACE_MM)


_SAME_PLACE_MM = 0.01


def displacement_mm(first: FloatArray, second: FloatArray, points_mm: FloatArray) -> FloatArray:
    """Distance between the images of points (N, 3) under two transforms, (N,), mm."""
    difference = apply_affine(first, points_mm) - apply_affine(second, points_mm)
    return np.asarray(np.linalg.norm(difference, axis=-1))
