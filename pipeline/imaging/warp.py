"""Resampling through displacement fields, and what can be said about a field: inverse, folding."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.itk import Field


def resample_through_field(
    moving: Volume,
    field: Field,
    order: int = 1,
    *,
    onto: Volume | None = None,
    after: FloatArray | None = None,
    outside: float = 0.0,
) -> Volume:
    """Pull an image through a displacement field.

    Parameters
    ----------
    moving : Volume
        Image in the space the field leads to.
    field : Field
        Displacements on the space to resample onto.
    order : {0, 1}
        0 takes the nearest voxel (labels keep their type), 1 interpolates linearly.
    onto : Volume, optional
        Grid of the result; the field's own grid by default. Displacements between the field's
        grid points are interpolated linearly, beyond its border the last one is kept.
    after : (4, 4) array, optional
        Applied to points behind the field, RAS+ mm: where `moving` lies in a third space,
        ``field's target -> moving``.
    outside : float
        Value where a point falls outside `moving`.
    """
    shape = field.shape if onto is None else onto.shape
    affine = field.affine if onto is None else onto.affine
    to_voxel = np.linalg.inv(moving.affine)
    if after is not None:
        to_voxel = to_voxel @ after
    dtype = moving.data.dtype if order == 0 else np.dtype(np.float32)
    result = np.empty(shape, dtype)
    source = moving.data
    if order == 0 and np.issubdtype(dtype, np.bool_):
        source = source.astype(np.uint8)
    # slab by slab, so that coordinates never weigh more than a few megabytes
    for start in range(0, shape[0], _SLAB):
        slab = slice(start, min(start + _SLAB, shape[0]))
        points = field_targets_mm(field, shape, affine, slab)
        voxels = _apply(to_voxel, points)
        result[slab] = ndimage.map_coordinates(
            source,
            voxels,
            order=order,
            mode="constant",
            cval=outside,
            output=None if order == 0 else np.float32,
        )
    return Volume(result, affine)


_SLAB = 16


def grid_points_mm(
    shape: tuple[int, int, int], affine: FloatArray, slab: slice = slice(None)
) -> NDArray[np.float32]:
    """World coordinates of voxel centres, (3, x, Y, Z) float32, RAS+ mm.

    `slab` picks along the first axis.
    """
    i = np.arange(shape[0], dtype=float)[slab, None, None]
    j = np.arange(shape[1], dtype=float)[None, :, None]
    k = np.arange(shape[2], dtype=float)[None, None, :]
    rows = [a[0] * i + a[1] * j + a[2] * k + a[3] for a in affine[:3]]
    return np.stack(rows).astype(np.float32)


def field_targets_mm(
    field: Field,
    shape: tuple[int, int, int],
    affine: FloatArray,
    slab: slice = slice(None),
) -> NDArray[np.float32]:
    """Where the voxel centres of a grid go under a field, (3, x, Y, Z) float32, RAS+ mm."""
    points = grid_points_mm(shape, affine, slab)
    if shape == field.shape and np.allclose(affine, field.affine):
        return points + np.moveaxis(field.displacement_mm[slab], 3, 0)
    return points + displacement_at(field, points)


def displacement_at(field: Field, points_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Displacements (3, ...) of points (3, ...), RAS+ mm, by linear interpolation."""
    voxels = _apply(np.linalg.inv(field.affine), points_mm)
    return np.stack(
        [
            ndimage.map_coordinates(
                field.displacement_mm[..., axis],
                voxels,
                order=1,
                mode="nearest",
                output=np.float32,
            )
            for axis in range(3)
        ]
    )


def compose_fields(first: Field, second: Field, onto: Volume) -> Field:
    """Field on the grid of `onto` that goes where `first` leads and then where `second` does."""
    start = grid_points_mm(onto.shape, onto.affine)
    between = start + displacement_at(first, start)
    end = between + displacement_at(second, between)
    return Field(np.ascontiguousarray(np.moveaxis(end - start, 0, 3)), onto.affine)


def moved_places(field: Field, xfm: FloatArray) -> Field:
    """The field that leads where `field` does and then by `xfm` (4, 4), RAS+ mm."""
    start = grid_points_mm(field.shape, field.affine)
    end = _apply(xfm, start + np.moveaxis(field.displacement_mm, 3, 0))
    return Field(np.ascontiguousarray(np.moveaxis(end - start, 0, 3)), field.affine)


def moved_grid(field: Field, xfm: FloatArray) -> Field:
    """The field with its grid put elsewhere by `xfm` (4, 4); it leads to the same places."""
    affine = xfm @ field.affine
    end = grid_points_mm(field.shape, field.affine) + np.moveaxis(field.displacement_mm, 3, 0)
    start = grid_points_mm(field.shape, affine)
    return Field(np.ascontiguousarray(np.moveaxis(end - start, 0, 3)), affine)


def invert_field(field: Field, onto: Volume, start: FloatArray) -> Field:
    """Field on the grid of `onto` that undoes `field`, by fixed-point iteration.

    Parameters
    ----------
    field : Field
        Displacements that lead from space A to B.
    onto : Volume
        Grid in space B.
    start : (4, 4) array
        Affine approximation of B to A, RAS+ mm; the iteration corrects what it leaves.

    Returns
    -------
    Field
        Exact to a hundredth of a millimetre where forty rounds reach that; `inverse_error_mm`
        tells what is left.

    References
    ----------
    .. [1] Chen M et al. (2008). A simple fixed-point approach to invert a deformation field.
       Medical Physics 35:81-88.
    """
    target = grid_points_mm(onto.shape, onto.affine).reshape(3, -1)
    linear = start[:3, :3].astype(np.float32)
    found = _apply(start, target)
    open_points = np.arange(target.shape[1])
    for _ in range(_INVERSION_ROUNDS):
        here = found[:, open_points]
        missed = target[:, open_points] - (here + displacement_at(field, here))
        found[:, open_points] = here + linear @ missed
        open_points = open_points[np.einsum("ij,ij->j", missed, missed) > _INVERTED_MM**2]
        if not open_points.size:
            break
    displacement = (found - target).T.reshape(*onto.shape, 3)
    return Field(np.ascontiguousarray(displacement), onto.affine)


_INVERSION_ROUNDS = 40
_INVERTED_MM = 0.01


def inverse_error_mm(field: Field, inverse: Field, mask: Volume) -> NDArray[np.float32]:
    """Distance between points and their images there and back, (N,), mm.

    `mask` lies on the grid of `field`; only its voxels count.
    """
    inside = mask.data > 0
    points = grid_points_mm(field.shape, field.affine)[:, inside]
    there = points + np.moveaxis(field.displacement_mm, 3, 0)[:, inside]
    back = there + displacement_at(inverse, there)
    return np.asarray(np.linalg.norm(back - points, axis=0))


def mend_inverse(inverse: Field, field: Field, affine: FloatArray, most_mm: float) -> Field:
    """The inverse of a field, and that of its affine part where it is none.

    Parameters
    ----------
    inverse, field : Field
        From B to A, and from A to B.
    affine : (4, 4) array
        Affine part of `field`, RAS+ mm.
    most_mm : float
        Points that come back farther than this from where they set out take the affine.
    """
    points = grid_points_mm(inverse.shape, inverse.affine)
    there = points + np.moveaxis(inverse.displacement_mm, 3, 0)
    missed = np.linalg.norm(there + displacement_at(field, there) - points, axis=0)
    straight = _apply(np.linalg.inv(affine), points) - points
    mended = np.where(missed <= most_mm, there - points, straight)
    return Field(np.ascontiguousarray(np.moveaxis(mended, 0, 3)), inverse.affine)


def affine_part(field: Field, mask: Volume) -> FloatArray:
    """Affine (4, 4), RAS+ mm, next to a field in the sense of least squares.

    `mask` lies on the grid of `field`; only its voxels count.
    """
    inside = mask.data > 0
    points = grid_points_mm(field.shape, field.affine)[:, inside].T.astype(float)
    there = points + field.displacement_mm[inside]
    centre = points.mean(axis=0)
    columns = np.column_stack([points - centre, np.ones(len(points))])
    rows = np.linalg.lstsq(columns, there, rcond=None)[0].T
    affine = np.eye(4)
    affine[:3, :3] = rows[:, :3]
    affine[:3, 3] = rows[:, 3] - rows[:, :3] @ centre
    return affine


def resample_field(field: Field, onto: Volume) -> Field:
    """The displacements of a field on another grid, by linear interpolation."""
    points = grid_points_mm(onto.shape, onto.affine)
    displacement = np.moveaxis(displacement_at(field, points), 0, 3)
    return Field(np.ascontiguousarray(displacement), onto.affine)


def jacobian_determinant(field: Field) -> NDArray[np.float32]:
    """Local volume ratio target to grid, (X, Y, Z); at or below zero the field folds."""
    to_grid = np.linalg.inv(field.affine[:3, :3]).astype(np.float32)
    jacobian = np.empty((*field.shape, 3, 3), np.float32)
    for axis in range(3):
        component = field.displacement_mm[..., axis]
        per_voxel = np.stack([np.gradient(component, axis=a) for a in range(3)], axis=-1)
        jacobian[..., axis, :] = per_voxel @ to_grid
        jacobian[..., axis, axis] += 1
    return np.asarray(np.linalg.det(jacobian))


def coarse_grid(volume: Volume, spacing_mm: float) -> Volume:
    """An empty grid of about `spacing_mm` that covers the box of `volume`, same orientation.

    The first voxel centre coincides; the last lies at or beyond the last one of `volume`.
    """
    step = np.maximum(1.0, spacing_mm / volume.voxel_size_mm)
    shape = np.ceil((np.array(volume.shape) - 1) / step).astype(int) + 1
    affine = volume.affine @ np.diag([*step, 1.0])
    return Volume(np.zeros(shape, np.uint8), affine)


def bounding_corners_mm(mask: Volume) -> FloatArray:
    """World coordinates of the corners of the box around a mask, (8, 3), RAS+ mm."""
    where = np.argwhere(mask.data > 0)
    low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
    corners = np.array(list(product(*zip(low, high, strict=True))))
    return apply_affine(mask.affine, corners)


def resample(
    moving: Volume, onto: Volume, transform: FloatArray | None = None, order: int = 1
) -> Volume:
    """Pull an image onto a grid; `transform` (4, 4) takes points of `onto` to `moving`."""
    matrix = np.linalg.inv(moving.affine)
    matrix = matrix @ (onto.affine if transform is None else transform @ onto.affine)
    data = moving.data.astype(np.float32 if order else moving.data.dtype, copy=False)
    pulled = ndimage.affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], output_shape=onto.shape, order=order
    )
    return Volume(pulled, onto.affine)


def smooth_and_resample(moving: Volume, onto: Volume) -> Volume:
    """Pull an image onto a coarser grid, smoothed first so that nothing aliases."""
    ratio = onto.voxel_size_mm / moving.voxel_size_mm
    sigma = np.where(ratio > 1, 0.42 * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0.0)
    data = ndimage.gaussian_filter(moving.data.astype(np.float32, copy=False), sigma)
    return resample(moving.with_data(data), onto)


def _apply(matrix: FloatArray, points: NDArray[Any]) -> NDArray[np.float32]:
    moved = np.tensordot(matrix[:3, :3].astype(np.float32), points, axes=1)
    moved += matrix[:3, 3].astype(np.float32).reshape(3, *([1] * (points.ndim - 1)))
    return np.asarray(moved, np.float32)
