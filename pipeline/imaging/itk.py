"""Volumes and displacement fields as SimpleITK knows them: LPS+ instead of RAS+."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray, Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Field:
    """Displacements on a grid: a point of the grid's space goes to point + displacement.

    To resample an image of space B onto space A, take the field that lives on A and leads to B.

    Parameters
    ----------
    displacement_mm : (X, Y, Z, 3) array
        Displacement at every voxel centre, RAS+ components, millimetres.
    affine : (4, 4) array
        Voxel indices of the grid to world coordinates, RAS+, millimetres.
    """

    displacement_mm: NDArray[np.float32]
    affine: FloatArray

    def __post_init__(self) -> None:
        if self.displacement_mm.ndim != 4 or self.displacement_mm.shape[3] != 3:
            raise ValueError(f"a Field is (X, Y, Z, 3), not {self.displacement_mm.shape}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"an affine is 4x4, not {self.affine.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of grid points along each axis."""
        x, y, z = self.displacement_mm.shape[:3]
        return x, y, z


def to_itk(volume: Volume) -> Any:
    """SimpleITK image of a volume, same voxels at the same places.

    Raises
    ------
    ValueError
        If the axes of the volume are sheared, which ITK images cannot be.
    """
    affine = _RAS_TO_LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # headers hold seven digits; ITK wants its directions orthonormal
    u, singular, vt = np.linalg.svd(affine[:3, :3] / spacing)
    if np.any(np.abs(singular - 1) > 1e-2):
        raise ValueError("the image axes are not at right angles (sheared affine)")
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((u @ vt).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def from_itk(image: Any) -> Volume:
    """Volume of a scalar SimpleITK image."""
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return Volume(np.ascontiguousarray(data), _affine_of(image))


def field_from_itk(image: Any) -> Field:
    """Field of a SimpleITK displacement image (three components, LPS mm)."""
    data = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3).astype(np.float32)
    return Field(data * np.array([-1, -1, 1], np.float32), _affine_of(image))


def sampled_transform(transform: Any, onto: Volume) -> Field:
    """Displacements of any SimpleITK transform on a grid.

    A transform that resamples images of space B onto space A takes points of A to B; sampled on a
    grid of A it is the field that does the same.

    Parameters
    ----------
    transform : SimpleITK transform
        Of 3-D points, LPS+ mm; a composite one is applied from its last part to its first.
    onto : Volume
        The grid.

    Raises
    ------
    ValueError
        If the axes of the grid are sheared.
    """
    grid = to_itk(onto.with_data(np.zeros(onto.shape, np.uint8)))
    sampled = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.GetSize(),
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    return field_from_itk(sampled)


def _affine_of(image: Any) -> FloatArray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.asarray(_RAS_TO_LPS @ affine)
