"""What every backend of motion correction takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionInputs:
    """Ports of `inputnode`."""

    pet: str
    """List of the PET files of the scan as in the data set, (X, Y, Z, F) each; later ones may have
    other grids."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`: which frames of the files, their timing, and each frame's
    factor to Bq/mL."""
    drop_empty: str
    """Whether frames without counts are left out."""
    save_frames: str
    """Whether `pet_preproc` is to be an image."""


@dataclass(frozen=True)
class MotionOutputs:
    """Ports of `outputnode`."""

    scan: str
    """`pipeline.bids.scan.ScanInputs` of the frames that are left, for all that follows."""
    pet_preproc: str
    """Frames where the head lies as in `petref`, (X, Y, Z, F) float32, Bq/mL, decay-corrected to
    injection; or the `pipeline.io.frames.FramesOnDemand` that makes them one at a time. Whoever
    takes them reads either by `frames_in_petref`."""
    petref: str
    """Duration-weighted mean of `pet_preproc`, (X, Y, Z), Bq/mL; its world is PET space."""
    motion_xfms: str
    """One rigid transform per frame, frame to `petref`, ITK text."""
    confounds: str
    """Table with a row per frame: parameters with their errors, framewise displacement, counts,
    and where the transform comes from."""
    quality: str
    """JSON: whether the run was corrected and why, steps of the head, and frames within which it
    moved; keys as in the sidecars."""
