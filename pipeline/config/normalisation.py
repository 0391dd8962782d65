"""Settings of the way to MNI152 space, a class per backend."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section


class AnatomyNormalisation(Section):
    """The way that the anatomy found, as it is."""

    backend: Literal["anatomy"] = "anatomy"


class FslNormalisation(Section):
    """FLIRT and FNIRT of FSL: the brain in the T1w to the template."""

    backend: Literal["fsl"] = "fsl"
    cost: Literal["corratio", "mutualinfo", "normmi", "normcorr"] = "corratio"
    """What the affine registration makes best."""
    warp_resolution_mm: int = Field(default=10, ge=2, le=50)
    """Distance of the knots of the splines that deform the brain; memory and time grow fast as it
    gets small."""


NormalisationOptions = Annotated[
    AnatomyNormalisation | FslNormalisation, Field(discriminator="backend")
]
