"""What is known of the motion of a head, as a table and as findings for its sidecar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.imaging.head_motion import HeadMotion, Source


def motion_table(timing: FrameTiming, motion: HeadMotion) -> pd.DataFrame:
    """A row per frame; parameters nobody looked for are missing, not zero."""
    unknown = np.where([source is Source.NONE for source in motion.source], np.nan, 0.0)
    values = _in_degrees(motion.parameters()) + unknown[:, None]
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    errors = dict(zip(names, _in_degrees(motion.standard_error).T, strict=True))
    return pd.DataFrame(
        {"frame_start": timing.start_s, "frame_end": timing.end_s}
        | dict(zip(names, values.T, strict=True))
        | {f"{name}_se": error for name, error in errors.items()}
        | {
            "pose_error": motion.error_mm,
            "framewise_displacement": motion.framewise_displacement_mm() + unknown,
            "displacement": motion.displacement_mm() + unknown,
            "moved_within": motion.within_frames_mm(),
            "misfit": motion.misfit,
            "counts": motion.counts,
            "group": motion.group,
            "source": [str(source) for source in motion.source],
        }
    )


def motion_findings(motion: HeadMotion, within_frame_mm: float) -> dict[str, Any]:
    """What a reader of the results should know; frames are counted from zero, as in BIDS."""
    steps, within = motion.steps_mm(), motion.within_frames_mm()
    moved = np.flatnonzero(motion.moved_within(within_frame_mm))
    errors = motion.error_mm[motion.estimated]
    return {
        "MedianStep_mm": float(np.median(steps)) if steps.size else np.nan,
        "LargestStep_mm": float(steps.max()) if steps.size else np.nan,
        "MedianPoseError_mm": float(np.median(errors)) if errors.size else np.nan,
        "FramesEstimated": int(motion.estimated.sum()),
        "FramesMovedWithin": moved.tolist(),
        "FramesMovedWithin_mm": np.round(within[moved], 2).tolist(),
        "FramesResidualRise": np.flatnonzero(motion.residual_rises()).tolist(),
        "FramesGuessed": [i for i, s in enumerate(motion.source) if s is Source.GUESSED],
    }


def _in_degrees(parameters: FloatArray) -> FloatArray:
    """Shifts and turns (F, 6), mm and rad, as mm and degrees."""
    return np.hstack([parameters[:, :3], np.rad2deg(parameters[:, 3:])])
