"""Settings of partial-volume correction, a class per backend."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Section


class NoPartialVolume(Section):
    """Curves are not corrected for partial volume."""

    backend: Literal["none"] = "none"

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables; empty where there are none."""
        return ""


def _along_axes(value: Any) -> Any:
    """One width as the same along all three axes."""
    single = isinstance(value, int | float) and not isinstance(value, bool)
    return (value, value, value) if single else value


PsfFwhm = Annotated[float, Field(ge=0, le=20)]


class EmbeddedPartialVolume(Section):
    """Areas of the head, blurred by the resolution of the scanner, explain the frames."""

    backend: Literal["embedded"] = "embedded"
    method: Literal["gtm", "rbv"] = "gtm"
    """`gtm`, the geometric transfer matrix (Rousset 1998): every area is level; `rbv`,
    region-based voxel-wise correction (Thomas 2011): voxels keep what differs within an area."""
    psf_fwhm_mm: tuple[PsfFwhm, PsfFwhm, PsfFwhm] = (2.4, 2.4, 2.4)
    """Resolution of the reconstructed frames, FWHM of a Gaussian; one number, or one along each
    axis of the image. An HRRT resolves 1.5 mm in its centre and 2.4 mm at 10 cm from it, about
    where the cortex lies; a filter after the reconstruction adds its square to the square."""

    _one_or_three = field_validator("psf_fwhm_mm", mode="before")(_along_axes)

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables."""
        return self.method.upper()


class PetpvcPartialVolume(Section):
    """The program PETPVC, which corrects every frame; it has to be on the PATH."""

    backend: Literal["petpvc"] = "petpvc"
    method: Literal["RBV", "LABBE+RBV", "MTC", "LABBE+MTC", "IY"] = "RBV"
    """As PETPVC calls it: region-based voxel-wise or multi-target correction, after GTM or after
    Labbé; iterative Yang."""
    psf_fwhm_mm: tuple[PsfFwhm, PsfFwhm, PsfFwhm] = (2.4, 2.4, 2.4)
    """Resolution of the reconstructed frames, FWHM of a Gaussian; one number, or one along each
    axis of the image."""

    _one_or_three = field_validator("psf_fwhm_mm", mode="before")(_along_axes)

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables."""
        return self.method


PartialVolumeOptions = Annotated[
    NoPartialVolume | EmbeddedPartialVolume | PetpvcPartialVolume, Field(discriminator="backend")
]
