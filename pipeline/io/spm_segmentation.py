"""What SPM12's segmentation leaves: deformations, and the fit that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import grid_points_mm
from pipeline.io.images import open_image


@dataclass(frozen=True)
class SegmentationFit:
    """``*_seg8.mat``, as far as it tells whether the fit worked."""

    finite: bool
    """Whether its likelihood and its warp are numbers. On some grids of the T1w, SPM12 up to r7771
    ends normally with neither, and writes tissues and deformations of an affine fit."""
    priors: Path
    """The tissue probability maps it used."""


def read_segmentation_fit(path: str | Path) -> SegmentationFit:
    """Read ``*_seg8.mat``.

    Raises
    ------
    DataError
        If the file is missing or is none of SPM12's.
    """
    try:
        content = loadmat(str(path), simplify_cells=True)
        likelihood, warp = np.asarray(content["ll"], float), np.asarray(content["Twarp"], float)
        priors = np.atleast_1d(content["tpm"])[0]["fname"]
    except _UNREADABLE as error:
        raise DataError(f"{path}: not the result of a segmentation by SPM12 ({error})") from error
    finite = warp.size > 0 and likelihood.size > 0
    finite = finite and bool(np.isfinite(likelihood).all() and np.isfinite(warp).all())
    return SegmentationFit(finite, Path(str(priors).split(",")[0]))


_UNREADABLE = (
    *(OSError, MatReadError, NotImplementedError),
    *(KeyError, IndexError, TypeError, ValueError),
)


def read_priors(path: str | Path) -> tuple[Volume, Volume, Volume]:
    """Grey matter, white matter and fluid of tissue probability maps.

    Raises
    ------
    DataError
        If the file cannot be read or holds fewer than three.
    """
    image = open_image(path)
    if len(image.shape) != 4 or image.shape[3] < 3:
        raise DataError(f"{path}: tissue probability maps expected, this one is {image.shape}")
    grey, white, fluid = (
        Volume(np.asarray(image.dataobj[..., i], np.float32), np.asarray(image.affine, float))
        for i in range(3)
    )
    return grey, white, fluid


def read_deformation(path: str | Path) -> Field:
    """A deformation ``y_*`` or ``iy_*`` of SPM12 as displacements.

    SPM keeps, for every voxel, the world coordinates of its place in the other space. Where it has
    none, at the edge of the field of view, the way of the nearest voxel is taken.

    Raises
    ------
    DataError
        If the file cannot be read or is no deformation.
    """
    image = open_image(path)
    if len(image.shape) != 5 or image.shape[3:] != (1, 3):
        raise DataError(
            f"{path}: a deformation (X, Y, Z, 1, 3) expected, this one is {image.shape}"
        )
    places = np.asarray(image.dataobj, np.float32)[:, :, :, 0, :]
    affine = np.asarray(image.affine, float)
    shape = places.shape[:3]
    displacement = places - np.moveaxis(grid_points_mm(shape, affine), 0, 3)
    unknown = ~np.isfinite(displacement).all(axis=3)
    if unknown.all():
        raise DataError(f"{path}: the deformation holds no number; segment the T1w again")
    if unknown.any():
        nearest = ndimage.distance_transform_edt(
            unknown, return_distances=False, return_indices=True
        )
        displacement = displacement[tuple(nearest)]
    return Field(displacement, affine)
