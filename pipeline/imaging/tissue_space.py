"""The space of a segmentation's own tissue priors, and the way from it to the template.

Every segmentation has an MNI space of its own. SPM12's tissue probability maps lie 2 mm from the
template on average, 5 mm at the 99th percentile, so its deformations lead to the template only
with this piece of way added. The priors have no T1w image: one is made of them, each tissue as
bright as it is on the template, and registered like a brain, but stiffly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.volume import Volume
from pipeline.imaging.greedy import register_affine, register_deformable
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import coarse_grid, invert_field, smooth_and_resample

_SPACING_MM = 2.0
_GREY, _WHITE, _FLUID = 0.74, 1.0, 0.24
"""Brightness on a T1w template, relative to white matter."""
_STIFF = "4mm 2mm"


@dataclass(frozen=True, eq=False)
class TissueSpace:
    """Where the space of tissue priors lies; displacements, RAS+ mm."""

    template2priors: Field
    """On the template's space; leads to that of the priors."""
    priors2template: Field
    """On the space of the priors; leads to the template's."""


def align_tissue_space(
    grey: Volume, white: Volume, fluid: Volume, template: Volume
) -> TissueSpace:
    """Register tissue priors, on one grid, 0 to 1, to a skull-stripped template.

    Raises
    ------
    ToolError
        If the registration fails.
    """
    image = _GREY * grey.data + _WHITE * white.data + _FLUID * fluid.data
    priors = grey.with_data(image.astype(np.float32))
    fixed = smooth_and_resample(template, coarse_grid(template, _SPACING_MM))
    moving = smooth_and_resample(priors, coarse_grid(priors, _SPACING_MM))
    brain = fixed.with_data((fixed.data > 0).astype(np.float32))
    affine = register_affine(fixed, moving, np.eye(4), fixed_mask=brain)
    there = register_deformable(fixed, moving, affine, fixed_mask=brain, smoothing=_STIFF)
    return TissueSpace(there, invert_field(there, moving, np.linalg.inv(affine)))
