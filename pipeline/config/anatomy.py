"""Settings of the anatomy, a class per backend."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Section


class _Anatomy(Section):
    """What every backend asks."""

    t1w: str = "session"
    """Whose T1w a session takes: `session` (its own, else the subject's only one, else the
    first), `first`, or `ses-<label>`."""

    @field_validator("t1w")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value not in ("session", "first") and not re.fullmatch(r"ses-[A-Za-z0-9]+", value):
            raise ValueError("must be 'session', 'first' or 'ses-<label>'")
        return value


class EmbeddedAnatomy(_Anatomy):
    """Tissues and MNI transform by the packages that come with petbind."""

    backend: Literal["embedded"] = "embedded"
    brain: Literal["registration", "deepbet"] = "registration"
    """What finds the brain in the head: registration of the template, or the neural network
    deepbet (`pip install petbind[deepbet]`, needs torch); either mask then follows the tissue."""


class SpmAnatomy(_Anatomy):
    """Segment of SPM12 (unified segmentation): tissues, bias and deformation in one fit."""

    backend: Literal["spm"] = "spm"
    sampling_mm: float = Field(default=3, ge=1, le=8)
    """Distance of the points that the fit looks at."""
    bias_fwhm_mm: float = Field(default=60, ge=30, le=150)
    """Smoothness of the bias field, FWHM."""
    bias_regularisation: float = Field(default=0.001, ge=0, le=10)
    """How little bias is expected; 0.001 is light."""
    population: Literal["mni", "eastern"] = "mni"
    """Size of brain the affine registration expects: European or East Asian."""


class DerivativesAnatomy(_Anatomy):
    """Anatomy that sMRIPrep has found already, alone or within fMRIPrep or PETPrep."""

    backend: Literal["derivatives"] = "derivatives"
    folder: str = ""
    """Top folder of the derivatives, relative to the folder of the settings file; by default the
    only ones of these pipelines in the folder `derivatives` of the data set."""


AnatomyOptions = Annotated[
    EmbeddedAnatomy | SpmAnatomy | DerivativesAnatomy, Field(discriminator="backend")
]
