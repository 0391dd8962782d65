"""Settings of motion correction, a class per backend."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section, check_sessions
from pipeline.imaging.frame_groups import ReferenceFrames
from pipeline.imaging.head_motion import CorrectionMode, CorrectionRule


class _CorrectedMotion(Section):
    """What every backend asks that looks for the head."""

    mode: CorrectionMode = "always"
    """Which sessions are corrected: `always` all; `auto` those with excessive movement; `listed`
    those of `sessions`; `never` none. Motion is estimated, shown and judged in any case."""
    sessions: tuple[str, ...] = ()
    """With mode `listed`: sessions to correct, as `sub-01_ses-pre`, or `sub-01` for all of its."""
    auto_median_mm: float = Field(default=1, gt=0)
    """With mode `auto`: the median step of the head, from one group of frames to the next, above
    which a session is corrected."""
    auto_jump_mm: float = Field(default=3, gt=0)
    """With mode `auto`: the single step of the head above which it is."""
    first_frame_s: float = Field(default=120, ge=0)
    """Frames whose middle comes earlier show tracer in too few places to be aligned: they take
    the transform of the first group that is; seconds after injection."""
    within_frame_mm: float = Field(default=1.5, gt=0)
    """Movement within a frame, which cannot be corrected, is told of from this size on."""

    @field_validator("sessions")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_sessions(value)
        return value

    @model_validator(mode="after")
    def _list_and_mode(self) -> Self:
        if (self.mode == "listed") != bool(self.sessions):
            raise ValueError("mode 'listed' and a list of sessions belong together")
        return self

    @property
    def rule(self) -> CorrectionRule:
        """Which sessions are corrected, as nodes take it."""
        return CorrectionRule(
            mode=self.mode,
            median_mm=self.auto_median_mm,
            jump_mm=self.auto_jump_mm,
            sessions=self.sessions,
        )


class EmbeddedMotion(_CorrectedMotion):
    """Rigid alignment of frames, in groups of enough counts, to the mean of the scan."""

    backend: Literal["embedded"] = "embedded"
    group_counts: float = Field(default=5e8, ge=0)
    """Neighbouring frames are aligned as one until they hold so many decays in the head; 0 aligns
    every frame alone."""
    longest_group_s: float = Field(default=120, gt=0)
    """Several frames are not aligned as one if they last longer together."""
    minimum_counts: float = Field(default=5e7, ge=0)
    """A group with fewer decays in the head gets a transform between those of its neighbours."""
    largest_error_mm: float = Field(default=1, gt=0)
    """So does a group whose estimate has a larger standard error, as a mean over the head."""
    reference: ReferenceFrames = "all"
    """Groups that make the mean all are aligned to, each by its counts: `all`; `late`, the second
    half of the scan; `counts`, those of the most counts that hold half of all."""
    smoothing_fwhm_mm: float = Field(default=2, ge=0, le=20)
    """Smoothing for the estimation only, FWHM. It includes the averaging to voxels of 4 mm that
    comes before, 2.7 mm for voxels of 2 mm: a smaller number adds nothing there."""


class SpmMotion(_CorrectedMotion):
    """Realign of SPM12: every frame by itself, by least squares, to the mean of the frames."""

    backend: Literal["spm"] = "spm"
    fwhm_mm: float = Field(default=7, ge=0, le=20)
    """Smoothing for the estimation only, FWHM; 7 mm is what SPM advises for PET."""
    separation_mm: float = Field(default=4, gt=0, le=20)
    """Distance of the points that are compared."""


class FreeSurferMotion(_CorrectedMotion):
    """mri_robust_template of FreeSurfer: every frame by itself, robustly, to the mean of all."""

    backend: Literal["freesurfer"] = "freesurfer"
    fwhm_mm: float = Field(default=10, ge=0, le=20)
    """Smoothing for the estimation only, FWHM; 10 mm is what PETPrep takes for this program."""


class FslMotion(_CorrectedMotion):
    """MCFLIRT of FSL: every frame by itself to the mean of the frames."""

    backend: Literal["fsl"] = "fsl"
    cost: Literal["normcorr", "mutualinfo", "normmi", "corratio", "leastsquares"] = "normcorr"
    """What is made best. Normalised correlation, MCFLIRT's own choice, does not mind how hot a
    frame is; `mutualinfo` and `normmi` do not mind either where the tracer is."""


class NoMotion(Section):
    """Frames are taken as they are, and motion is not looked for."""

    backend: Literal["none"] = "none"


MotionOptions = Annotated[
    EmbeddedMotion | FreeSurferMotion | FslMotion | SpmMotion | NoMotion,
    Field(discriminator="backend"),
]
