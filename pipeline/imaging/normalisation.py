"""Deformable registration of a stripped brain to the template, both ways, with its quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.greedy import register_affine, register_deformable
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import (
    affine_part,
    coarse_grid,
    inverse_error_mm,
    invert_field,
    jacobian_determinant,
    mend_inverse,
    resample_field,
    resample_through_field,
    smooth_and_resample,
)

FIELD_SPACING_MM = 2.0
"""Grid spacing of the displacement fields; they are smooth, and pulled linearly in between."""

_LEAST_CORRELATION = 0.65
"""Whole T1w heads reach 0.85 and more, one with its contrast inverted 0.47."""
_LEAST_OF_OTHERS = 0.5
"""Of warps that were not made to correlate: SPM12's led a head to the template with 0.71."""
_VOLUME_RATIOS = (0.3, 2.5)
_MOST_INVERSE_ERROR_MM = 1.0
_THICK_MM = 2.0


@dataclass(frozen=True)
class NormalisationQuality:
    """What can be told of a normalisation without another opinion."""

    correlation: float
    """Pearson's, warped brain against template, within the template's brain."""
    affine_volume_ratio: float
    """Volume of the brain over that of the template, by the affine part."""
    jacobian_smallest: float
    """Smallest local volume ratio within the brain, relative to the affine part."""
    jacobian_largest: float
    """Largest one."""
    inverse_error_mm_median: float
    """Distance of a point in the brain to its image there and back, median."""
    inverse_error_mm_p99: float
    """The 99th percentile of that distance."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A brain's way to the template and back.

    Parameters
    ----------
    template2image : Field
        On a 2 mm grid of the template; resamples images of the brain onto the template.
    image2template : Field
        On a 2 mm grid over the image; resamples template images onto the brain.
    quality : NormalisationQuality
        Figures for the report.
    """

    template2image: Field
    image2template: Field
    quality: NormalisationQuality


def normalise(
    image: Volume, brain: Volume, template: Volume, initial: FloatArray
) -> Normalisation:
    """Affine (mutual information) and deformable (local correlation, 2 mm) registration.

    Parameters
    ----------
    image : Volume
        Bias-corrected T1w image.
    brain : Volume
        Brain mask on the same grid.
    template : Volume
        Skull-stripped template.
    initial : (4, 4) array
        Where the affine starts: points of the template to points of the image, RAS+ mm.

    Raises
    ------
    ToolError
        If the registration fails.
    DataError
        If its result folds, cannot be inverted, or does not resemble the template.
    """
    fixed, moving = coarse_template(template), _coarse_brain(image, brain)
    affine = register_affine(fixed, moving, initial)
    forward = register_deformable(fixed, moving, affine)
    backward = invert_field(forward, moving, np.linalg.inv(affine))
    quality = _quality(fixed, moving, forward, backward, affine)
    _require_sound(quality, float(image.voxel_size_mm.max()), _LEAST_CORRELATION)
    return Normalisation(forward, backward, quality)


def coarse_template(template: Volume) -> Volume:
    """The template on the grid that registrations work on."""
    return smooth_and_resample(template, coarse_grid(template, FIELD_SPACING_MM))


def _coarse_brain(image: Volume, brain: Volume) -> Volume:
    stripped = image.with_data(np.where(brain.data > 0, image.data, 0).astype(np.float32))
    return smooth_and_resample(stripped, coarse_grid(image, FIELD_SPACING_MM))


def around_brain(template: Volume) -> Volume:
    """Mask of the brain of a stripped template, and of a rim around it."""
    rim = int(np.ceil(_RIM_MM / template.voxel_size_mm.min()))
    return template.with_data(ndimage.binary_dilation(_in_brain(template), iterations=rim))


_RIM_MM = 6.0


def judge_normalisation(
    image: Volume, brain: Volume, template: Volume, fields: tuple[Field, Field]
) -> Normalisation:
    """A way that was found elsewhere, measured as one of our own.

    Parameters
    ----------
    image, brain, template : Volume
        As `normalise` takes them.
    fields : tuple of Field
        From the template to the image and from the image to the template, on any grids; the
        second comes back on a grid of 2 mm. Where it is no inverse of the first, as where the
        image reaches beyond the template, it gives way to the inverse of an affine.

    Raises
    ------
    DataError
        If the way folds, is not undone by its inverse, or does not lead to the template.
    """
    template2image, image2template = fields
    fixed = smooth_and_resample(
        template, Volume(np.zeros(template2image.shape, np.uint8), template2image.affine)
    )
    moving = _coarse_brain(image, brain)
    backward = resample_field(image2template, moving)
    affine = affine_part(template2image, fixed.with_data(_in_brain(fixed)))
    quality = _quality(fixed, moving, template2image, backward, affine)
    _require_sound(quality, float(image.voxel_size_mm.max()), _LEAST_OF_OTHERS)
    mended = mend_inverse(backward, template2image, affine, _MOST_INVERSE_ERROR_MM)
    return Normalisation(template2image, mended, quality)


def _in_brain(template: Volume) -> BoolArray:
    return np.asarray(template.data > 0.2 * template.data.max())


def _quality(
    fixed: Volume, moving: Volume, forward: Field, backward: Field, affine: FloatArray
) -> NormalisationQuality:
    brain = _in_brain(fixed)
    warped = resample_through_field(moving, forward).data
    ratio = float(np.linalg.det(affine[:3, :3]))
    jacobian = jacobian_determinant(forward)[brain] / ratio
    errors = inverse_error_mm(forward, backward, fixed.with_data(brain))
    return NormalisationQuality(
        correlation=float(np.corrcoef(warped[brain], fixed.data[brain])[0, 1]),
        affine_volume_ratio=ratio,
        jacobian_smallest=float(jacobian.min()),
        jacobian_largest=float(jacobian.max()),
        inverse_error_mm_median=float(np.median(errors)),
        inverse_error_mm_p99=float(np.percentile(errors, 99)),
    )


def _require_sound(
    quality: NormalisationQuality, thickest_mm: float, least_correlation: float
) -> None:
    advice = "look at the T1w image: contrast, orientation in its header, artefacts"
    if thickest_mm > _THICK_MM:
        advice += f", voxels {thickest_mm:.1f} mm thick"
    smallest, largest = _VOLUME_RATIOS
    if not smallest < quality.affine_volume_ratio < largest:
        raise DataError(
            f"the affine to the template changes volumes by {quality.affine_volume_ratio:.2f}"
            f" ({smallest} to {largest} expected); {advice}"
        )
    if quality.jacobian_smallest <= 0:
        raise DataError(f"the deformation to the template folds; {advice}")
    if not quality.correlation >= least_correlation:
        raise DataError(
            f"the brain on the template correlates with it by {quality.correlation:.2f} only"
            f" ({least_correlation} is the least accepted); {advice}"
        )
    if not quality.inverse_error_mm_p99 <= _MOST_INVERSE_ERROR_MM:
        raise DataError(
            "the deformation to the template and its inverse disagree by"
            f" {quality.inverse_error_mm_p99:.1f} mm (99th percentile); {advice}"
        )
