"""Settings of the scan: which frames make it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section, check_sessions

FrameNumbers = tuple[Annotated[int, Field(ge=0)], ...]


class Scan(Section):
    """Which frames make a scan, and whether they are kept."""

    join_runs: bool = False
    """Whether runs that differ in `run-` only are one scan, as after a break: they must be of one
    injection. Outputs then have no `run-` in their names."""
    drop_frames: FrameNumbers = ()
    """Frames to leave out of every scan, counted from zero, after runs were joined and before
    anything is left out."""
    drop_frames_of: dict[str, FrameNumbers] = Field(default={})
    """The same for single sessions: `sub-01_ses-pre`, or `sub-01` for all of its."""
    start_s: float | None = None
    """Frames that start earlier are left out; seconds after injection."""
    end_s: float | None = None
    """So are frames that end later."""
    drop_empty: bool = False
    """Whether frames without any counts, zero or not finite all over, are left out. Only the run
    itself looks at voxels: the page tells of them, `petbind check` does not."""
    save_frames: bool = True
    """Whether the frames in one space are written as an image, `*_desc-preproc_pet.nii.gz`.
    Without, no 4-D image is written anywhere: whoever needs frames makes them from the raw ones,
    one at a time. Results are the same, to the bit. Where motion is corrected this saves the space
    of the frames, but not time: coregistration and curves put each frame in its place again."""

    @field_validator("drop_frames_of")
    @classmethod
    def _labels(cls, value: dict[str, FrameNumbers]) -> dict[str, FrameNumbers]:
        check_sessions(value)
        return value

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start_s is not None and self.end_s is not None and self.start_s >= self.end_s:
            raise ValueError("start_s must come before end_s")
        return self
