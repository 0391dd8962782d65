"""Regions drawn in MNI152 space: ellipsoids, and labels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.warp import bounding_corners_mm


@dataclass(frozen=True)
class MniShape:
    """An ellipsoid in MNI152 space."""

    name: str
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]


@dataclass(frozen=True)
class MniMask:
    """Labels of an image in MNI152 space."""

    name: str
    image: str
    """File of the image."""
    labels: tuple[int, ...]
    """Its numbers that make up the region."""


MniRegion = MniShape | MniMask


class Body(Protocol):
    """A region that points can be asked for."""

    @property
    def centre_mm(self) -> FloatArray:
        """Centre (3,) of the box around it."""

    @property
    def half_mm(self) -> FloatArray:
        """Half edges (3,) of that box, along x, y and z."""

    def contains(self, points_mm: FloatArray) -> BoolArray:
        """Whether points (N, 3) lie in it, (N,)."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """Axes along x, y and z."""

    centre_mm: FloatArray
    half_mm: FloatArray

    def contains(self, points_mm: FloatArray) -> BoolArray:
        """Whether points (N, 3) lie in it, (N,)."""
        return np.asarray(np.sum(((points_mm - self.centre_mm) / self.half_mm) ** 2, axis=-1) <= 1)


@dataclass(frozen=True, eq=False)
class LabelledBody:
    """Voxels of an image that carry given labels."""

    mask: Volume
    centre_mm: FloatArray
    half_mm: FloatArray

    @classmethod
    def of(cls, image: Volume, labels: Sequence[int], source: str) -> LabelledBody:
        """Cut a region out of a label image; `source` is the name of its file.

        Raises
        ------
        ValueError
            If the image has no voxel with these labels.
        """
        mask = image.with_data(np.isin(image.data, labels))
        if not mask.data.any():
            raise ValueError(
                f"{source} holds no voxel with the labels {', '.join(map(str, labels))}"
            )
        corners = bounding_corners_mm(mask)
        low, high = corners.min(axis=0), corners.max(axis=0)
        return cls(mask, (low + high) / 2, (high - low) / 2)

    def contains(self, points_mm: FloatArray) -> BoolArray:
        """Whether points (N, 3) fall into one of its voxels, (N,)."""
        voxel = apply_affine(np.linalg.inv(self.mask.affine), points_mm).T
        inside = ndimage.map_coordinates(
            self.mask.data.astype(np.uint8), voxel, order=0, mode="constant"
        )
        return np.asarray(inside > 0)


def share_inside(body: Body, sample_points_mm: Sequence[FloatArray]) -> FloatArray:
    """Share of N voxels inside a body, (N,), from their sample points, (N, 3) each."""
    return np.asarray(np.mean([body.contains(points) for points in sample_points_mm], axis=0))
