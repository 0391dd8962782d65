"""Settings of PET-MR coregistration, a class per backend."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Section, check_pattern


class _Coregistration(Section):
    """What every backend asks."""

    least_score: float = Field(default=0.5, ge=0, le=1)
    """A session whose tissues explain less of its PET (0 to 1) is flagged; 0.84 to 0.91 is usual,
    noise and half a head stay below 0.5."""

    @property
    def init_file(self) -> str | None:
        """Pattern of given transforms, or None."""
        return None


class EmbeddedCoregistration(_Coregistration):
    """Rigid alignment of PET and T1w by mutual information."""

    backend: Literal["embedded"] = "embedded"
    smoothing_fwhm_mm: float = Field(default=4, ge=0, le=20)
    """Gaussian smoothing of the T1w for the estimation only, FWHM."""
    init: str = "header"
    """Where the search starts: `header` (where the headers put the images, their centres of mass
    together, and small turns about these), `identity` (they arrive aligned: no other start), or
    the only start in a file: a transform `from-petref_to-T1w` of ITK, or an `.lta` of
    FreeSurfer from the PET to the T1w, with `{subject}` and `{session}` of the PET."""

    @field_validator("init")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in ("header", "identity"):
            check_pattern(value, "must be 'header', 'identity' or a file with {subject}")
        return value

    @property
    def init_file(self) -> str | None:
        """Pattern of the given transforms, or None."""
        return None if self.init in ("header", "identity") else self.init


class SpmCoregistration(_Coregistration):
    """Coregister of SPM12: normalised mutual information of the mean PET and the whole T1w."""

    backend: Literal["spm"] = "spm"
    init: Literal["header", "centres"] = "centres"
    """Where the search starts: where the headers put the images, or with the centres of mass of
    both heads in one place. SPM finds no way from a start that is off by much more than 20 mm."""
    moved: Literal["pet", "t1w"] = "pet"
    """Which image is moved onto the other; the transform is turned round where it is the T1w."""
    separation_mm: tuple[Annotated[float, Field(gt=0, le=20)], ...] = Field((4, 2), min_length=1)
    """Distances of the points that are compared, one search after the other."""


class FreeSurferCoregistration(_Coregistration):
    """mri_coreg of FreeSurfer: normalised mutual information of the mean PET and the brain."""

    backend: Literal["freesurfer"] = "freesurfer"
    init: Literal["header", "centres"] = "centres"
    """Where the search starts: where the headers put the images, or with the centres of mass of
    both heads in one place. From there, shifts and turns of up to 30 mm and degrees are tried."""


class FslCoregistration(_Coregistration):
    """FLIRT of FSL: the mean PET to the brain in the T1w."""

    backend: Literal["fsl"] = "fsl"
    cost: Literal["normmi", "mutualinfo", "corratio"] = "normmi"
    """What is made best, in the coarse search and after it; those of FLIRT that are meant for
    images of two kinds."""


class NoCoregistration(_Coregistration):
    """PET and T1w lie as told: nothing is searched, and the alignment is only measured."""

    backend: Literal["none"] = "none"
    init: str = "identity"
    """How they lie: `identity` (they share one world) or a file: a transform
    `from-petref_to-T1w` of ITK, or an `.lta` of FreeSurfer from the PET to the T1w, with
    `{subject}` and `{session}` of the PET."""

    @field_validator("init")
    @classmethod
    def _known_place(cls, value: str) -> str:
        if value != "identity":
            check_pattern(value, "must be 'identity' or a file with {subject}")
        return value

    @property
    def init_file(self) -> str | None:
        """Pattern of the given transforms, or None."""
        return None if self.init == "identity" else self.init


CoregistrationOptions = Annotated[
    EmbeddedCoregistration
    | FreeSurferCoregistration
    | FslCoregistration
    | SpmCoregistration
    | NoCoregistration,
    Field(discriminator="backend"),
]
