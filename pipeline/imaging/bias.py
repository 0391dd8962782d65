"""Intensity non-uniformity of an MR image, and a common scale of intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from pipeline.core.errors import DataError, ToolError
from pipeline.core.volume import Volume
from pipeline.imaging.brain import bounding_box, crop
from pipeline.imaging.itk import from_itk, to_itk
from pipeline.imaging.warp import coarse_grid, resample, smooth_and_resample

_WORKING_MM = 4.0
_ITERATIONS = (30, 30, 20)
_CONTROL_POINT_MM = 180.0
_MARGIN_MM = 8.0
WHITE_MATTER_LEVEL = 100.0
"""Intensity that the 90th percentile within the mask at hand gets."""


@dataclass(frozen=True, eq=False)
class BiasCorrection:
    """A corrected image and how uneven it had been.

    Parameters
    ----------
    image : Volume
        Image divided by its bias field, scaled so that the 90th percentile within the mask is
        `WHITE_MATTER_LEVEL`; float32.
    range_percent : float
        Spread of the field within the brain, 5th to 95th percentile, percent of its median.
    """

    image: Volume
    range_percent: float


def correct_bias(image: Volume, mask: Volume) -> BiasCorrection:
    """Bias-corrected image by N4 on a 4 mm grid, one thread.

    Parameters
    ----------
    image : Volume
        T1w image.
    mask : Volume
        Brain on the same grid; only its voxels shape the field.

    Raises
    ------
    ToolError
        If the field is not finite.

    References
    ----------
    .. [1] Tustison NJ et al. (2010). N4ITK: improved N3 bias correction. IEEE Transactions on
       Medical Imaging 29:1310-1320.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    grid = coarse_grid(image, _WORKING_MM)
    small = smooth_and_resample(image, grid)
    inside = smooth_and_resample(mask.with_data(mask.data.astype(np.float32)), grid).data > 0.5
    inside &= small.data > 0
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(_ITERATIONS)
    n4.SetConvergenceThreshold(1e-3)
    # splines span the brain, however much of the neck or of the air the image shows
    box = bounding_box(grid.with_data(inside), _MARGIN_MM)
    part, part_inside = crop(small, box), crop(grid.with_data(inside.astype(np.uint8)), box)
    extent_mm = np.array(part.shape) * part.voxel_size_mm
    n4.SetNumberOfControlPoints(
        [int(n) for n in 3 + np.maximum(1, np.round(extent_mm / _CONTROL_POINT_MM))]
    )
    n4.Execute(to_itk(part), to_itk(part_inside))
    log_field = np.zeros(grid.shape, np.float32)
    log_field[box] = from_itk(n4.GetLogBiasFieldAsImage(to_itk(part))).data
    if not np.all(np.isfinite(log_field)):
        raise ToolError("N4 returned a bias field that is not finite; check the T1w image")
    # beyond the brain splines run wild: each voxel there takes the nearest value in the brain
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    log_field = ndimage.gaussian_filter(log_field[tuple(nearest)], 1.0)
    field = np.exp(resample(grid.with_data(log_field), image).data)
    corrected = image.data / field
    scale = WHITE_MATTER_LEVEL / np.percentile(corrected[mask.data > 0], 90)
    low, middle, high = np.percentile(np.exp(log_field[inside]), (5, 50, 95))
    data = np.maximum(corrected * scale, 0).astype(np.float32)
    return BiasCorrection(image.with_data(data), float(100 * (high - low) / middle))


def at_white_level(image: Volume, brain: Volume) -> Volume:
    """A bias-corrected image of others as bright as ours: white matter at `WHITE_MATTER_LEVEL`.

    Parameters
    ----------
    image : Volume
        What is not finite in it becomes zero.
    brain : Volume
        Brain mask on the same grid; the 90th percentile in it gets the level.

    Raises
    ------
    DataError
        If the image is dark there.
    """
    data = np.nan_to_num(image.data, nan=0, posinf=0, neginf=0)
    level = np.percentile(data[brain.data > 0], 90)
    if level <= 0:
        raise DataError("the bias-corrected T1w is dark where its brain should be")
    return image.with_data((data * (WHITE_MATTER_LEVEL / level)).astype(np.float32))
