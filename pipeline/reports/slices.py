"""Slices of volumes along the world's axes, whatever way their voxels are stored.

Left is shown on the left (neurological convention), anterior of sagittal slices on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume

SAGITTAL, CORONAL, AXIAL = 0, 1, 2
_IN_PLANE = {SAGITTAL: (1, 2), CORONAL: (0, 2), AXIAL: (0, 1)}


@dataclass(frozen=True, eq=False)
class Box:
    """A part of the world, edges along its axes, mm."""

    low_mm: FloatArray
    high_mm: FloatArray


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice through a box.

    Parameters
    ----------
    axis : int
        World axis the slice is perpendicular to: `SAGITTAL`, `CORONAL` or `AXIAL`.
    position_mm : float
        Where on that axis.
    box : Box
        Limits within the slice.
    step_mm : float
        Distance of the points sampled.
    """

    axis: int
    position_mm: float
    box: Box
    step_mm: float = 1.0

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge."""
        u, v = _IN_PLANE[self.axis]
        low, high = self.box.low_mm, self.box.high_mm
        return float(low[u]), float(high[u]), float(low[v]), float(high[v])

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        left, right, bottom, top = self.extent_mm
        return right - left, top - bottom

    @property
    def grid_mm(self) -> tuple[FloatArray, FloatArray]:
        """Centres of the sampled pixels along the width and the height."""
        left, right, bottom, top = self.extent_mm
        return _centres(left, right, self.step_mm), _centres(bottom, top, self.step_mm)

    def sample(self, volume: Volume, order: int = 1) -> FloatArray:
        """Values on the slice, (rows from bottom, columns); NaN outside the field of view."""
        world2voxel = np.linalg.inv(volume.affine)
        columns, rows = self.grid_mm
        u, v = _IN_PLANE[self.axis]
        across = world2voxel[:3, u, None, None] * columns
        along = world2voxel[:3, v, None, None] * rows[:, None]
        start = world2voxel[:3, self.axis] * self.position_mm + world2voxel[:3, 3]
        voxels = start[:, None, None] + across + along
        data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
        return np.asarray(
            ndimage.map_coordinates(
                data, voxels, output=np.float64, order=order, mode="constant", cval=np.nan
            )
        )


def _centres(low: float, high: float, step: float) -> FloatArray:
    count = max(round((high - low) / step), 1)
    return low + (np.arange(count) + 0.5) * (high - low) / count


def bounding_box(mask: Volume, margin_mm: float = 6.0) -> Box:
    """Edges of the part of the world a mask lies in, and a margin.

    The box holds the mask's box of voxels, so it is a little wide where voxels lie oblique. An
    empty mask gives the whole field of view.
    """
    inside: BoolArray = mask.data > 0
    ends = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(inside.any(axis=others))
        ends.append(occupied[[0, -1]] if occupied.size else (0, mask.shape[axis] - 1))
    corners = np.array(list(product(*ends)), float)
    points = apply_affine(mask.affine, corners)
    return Box(points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm)


def spread_planes(box: Box, axis: int, count: int) -> list[Plane]:
    """Slices at even distances, leaving out the outer sixth on both sides."""
    low, high = box.low_mm[axis], box.high_mm[axis]
    margin = (high - low) / 6
    return [Plane(axis, float(x), box) for x in np.linspace(low + margin, high - margin, count)]


def region_planes(labels: Volume, box: Box, axis: int, count: int) -> list[Plane]:
    """Slices where the regions are: every region counts the same, however small it is."""
    voxels = np.argwhere(labels.data > 0)
    if voxels.size == 0:
        return spread_planes(box, axis, count)
    values = labels.data[tuple(voxels.T)]
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    position = apply_affine(labels.affine, voxels.astype(float))[:, axis]
    order = np.argsort(position, kind="stable")
    cumulated = np.cumsum((1.0 / sizes[place])[order])
    wanted = (np.arange(count) + 0.5) / count * cumulated[-1]
    chosen = position[order][np.searchsorted(cumulated, wanted)]
    return [Plane(axis, float(x), box) for x in chosen]


def values_inside(volume: Volume, mask: Volume, step_mm: float = 4.0) -> FloatArray:
    """Values at points of a coarse grid that lie in a mask of any other grid, (N,), finite."""
    box = bounding_box(mask, margin_mm=0)
    planes: Sequence[Plane] = [
        Plane(AXIAL, float(z), box, step_mm)
        for z in np.arange(box.low_mm[2], box.high_mm[2] + step_mm, step_mm)
    ]
    kept = [p.sample(volume)[np.nan_to_num(p.sample(mask, order=0)) > 0] for p in planes]
    values = np.concatenate(kept)
    return np.asarray(values[np.isfinite(values)])
