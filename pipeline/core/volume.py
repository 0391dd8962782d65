"""A 3-D image as the numeric layers see it: an array and where it lies in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with their place in the world.

    Parameters
    ----------
    data : (X, Y, Z) array
        Voxel values, in any orientation of storage.
    affine : (4, 4) array
        Voxel indices to world coordinates, RAS+, millimetres.
    """

    data: NDArray[Any]
    affine: FloatArray

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"a Volume has three axes, not shape {self.data.shape}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"an affine is 4x4, not {self.affine.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis of storage."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def voxel_size_mm(self) -> FloatArray:
        """Edge lengths of a voxel, (3,), millimetres."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, cubic millimetres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def with_data(self, data: NDArray[Any]) -> Volume:
        """Other values on the same grid."""
        if data.shape != self.data.shape:
            raise ValueError(f"shape {data.shape} does not fit the grid {self.data.shape}")
        return Volume(data, self.affine)
