"""Nodes that put the frames of a scan into one space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from numpy.typing import NDArray

from pipeline.bids.scan import ScanInputs
from pipeline.core.decay import HALF_LIFE_S, decay_constant_per_s, nuclide_name
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.head_motion import CorrectionRule, HeadMotion, Source
from pipeline.imaging.motion import MotionSearch, estimate_motion, head_mask
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.images import read_series, write_array, write_volume
from pipeline.io.tables import write_json, write_table
from pipeline.io.transforms import write_itk_transforms


class _FramesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    pet = File(exists=True, mandatory=True, desc="dynamic PET")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing and scale")


class _MotionInputSpec(_FramesInputSpec):
    search = traits.Instance(MotionSearch, mandatory=True, desc="how the head is looked for")
    rule = traits.Instance(CorrectionRule, mandatory=True, desc="which sessions are corrected")
    within_frame_mm = traits.Float(mandatory=True, desc="movement within a frame to tell of")


class _FramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    pet_preproc = File(exists=True, desc="frames in one space, Bq/mL")
    petref = File(exists=True, desc="their mean")
    motion_xfms = File(exists=True, desc="transform of every frame")
    confounds = File(exists=True, desc="motion parameters, a row per frame")
    quality = File(exists=True, desc="what was decided and found, JSON")


class CorrectMotion(SimpleInterface):  # type: ignore[misc]
    """Find the head in every frame and, where the rule says so, resample each frame once."""

    input_spec, output_spec = _MotionInputSpec, _FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        scan, rule = self.inputs.scan, self.inputs.rule
        series, affine = _read_bqml(self.inputs.pet, scan)
        try:
            motion = estimate_motion(
                lambda i: Volume(series[..., i], affine),
                scan.timing,
                _decay_constant_per_s(scan),
                self.inputs.search,
            )
        except ValueError as error:
            if rule.mode != "never":
                name = Path(self.inputs.pet).name
                raise DataError(f"{name}: motion correction: {error}") from error
            motion = _still(series, affine, scan.timing)
        decision = rule.decide(scan.entities, motion)
        xfms = motion.frame2petref_xfms
        if decision.corrected:
            for i, xfm in enumerate(xfms):
                frame = Volume(series[..., i], affine)
                series[..., i] = resample_rigid(frame, frame, np.linalg.inv(xfm), outside=np.nan)
        else:
            xfms = np.tile(np.eye(4), (len(xfms), 1, 1))
        folder = Path(runtime.cwd)
        self._results.update(_write_frames(folder, series, affine, scan.timing))
        self._results["motion_xfms"] = str(write_itk_transforms(folder / "motion.txt", xfms))
        quality = {
            "MotionCorrected": decision.corrected,
            "MotionCorrectionReason": decision.reason,
            **_found(motion, self.inputs.within_frame_mm),
        }
        self._results.update(_write_motion(folder, scan.timing, motion, quality))
        return runtime


class KeepFrames(SimpleInterface):  # type: ignore[misc]
    """Take the frames as they lie; only units and decay are made right."""

    input_spec, output_spec = _FramesInputSpec, _FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        scan, folder = self.inputs.scan, Path(runtime.cwd)
        series, affine = _read_bqml(self.inputs.pet, scan)
        still = _still(series, affine, scan.timing)
        self._results.update(_write_frames(folder, series, affine, scan.timing))
        xfms = write_itk_transforms(folder / "motion.txt", still.frame2petref_xfms)
        self._results["motion_xfms"] = str(xfms)
        quality = {
            "MotionCorrected": False,
            "MotionCorrectionReason": "motion was not looked for",
            **_found(still, np.inf),
        }
        self._results.update(_write_motion(folder, scan.timing, still, quality))
        return runtime


def _decay_constant_per_s(scan: ScanInputs) -> float:
    known = nuclide_name(scan.radionuclide) in HALF_LIFE_S
    return decay_constant_per_s(scan.radionuclide) if known else 0.0


def _still(series: NDArray[np.float32], affine: FloatArray, timing: FrameTiming) -> HeadMotion:
    """Frames that nobody aligned."""
    head = np.argwhere(head_mask(Volume(_mean(series, timing), affine))).astype(float)
    return HeadMotion.still(series.shape[3], apply_affine(affine, head))


def _found(motion: HeadMotion, within_frame_mm: float) -> dict[str, Any]:
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
    }


def _read_bqml(path: str, scan: ScanInputs) -> tuple[NDArray[np.float32], FloatArray]:
    """Frames in Bq/mL, decay-corrected to injection; scaled where they stand."""
    series, affine = read_series(path)
    if series.shape[3] != len(scan.frame_scale):
        raise DataError(
            f"{Path(path).name}: {series.shape[3]} frames, but the sidecar times "
            f"{len(scan.frame_scale)}"
        )
    if not np.isfinite(series).any(axis=(0, 1, 2)).all():
        raise DataError(f"{Path(path).name}: a frame holds no finite value")
    series *= np.asarray(scan.frame_scale, np.float32)
    return series, affine


def _keep_common(series: NDArray[np.float32]) -> None:
    """Set voxels to NaN in every frame that one of them does not cover.

    The mean of a region is so over the same voxels in all frames, and no frame counts what it
    never saw as zero.
    """
    known = np.ones(series.shape[:3], bool)
    for i in range(series.shape[3]):
        known &= np.isfinite(series[..., i])
    if not known.all():
        series[~known] = np.nan


def _mean(series: NDArray[np.float32], timing: FrameTiming) -> NDArray[np.float32]:
    """Duration-weighted mean over frames, (X, Y, Z), without a second copy of the series."""
    total = np.zeros(series.shape[:3])
    for i, duration_s in enumerate(timing.duration_s):
        total += duration_s * np.nan_to_num(series[..., i])
    return (total / timing.duration_s.sum()).astype(np.float32)


def _write_frames(
    folder: Path, series: NDArray[np.float32], affine: FloatArray, timing: FrameTiming
) -> dict[str, str]:
    _keep_common(series)
    petref = Volume(_mean(series, timing), affine)
    return {
        "pet_preproc": str(write_array(folder / "pet_preproc.nii.gz", series, affine)),
        "petref": str(write_volume(folder / "petref.nii.gz", petref)),
    }


def _write_motion(
    folder: Path, timing: FrameTiming, motion: HeadMotion, quality: Mapping[str, Any]
) -> dict[str, str]:
    """Table and findings; parameters nobody looked for are missing, not zero."""
    unknown = np.where([source is Source.NONE for source in motion.source], np.nan, 0.0)
    values = _in_degrees(motion.parameters()) + unknown[:, None]
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    errors = dict(zip(names, _in_degrees(motion.standard_error).T, strict=True))
    table = pd.DataFrame(
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
    return {
        "confounds": str(write_table(folder / "confounds.tsv", table)),
        "quality": str(write_json(folder / "motion.json", quality)),
    }


def _in_degrees(parameters: FloatArray) -> FloatArray:
    """Shifts and turns (F, 6), mm and rad, as mm and degrees."""
    return np.hstack([parameters[:, :3], np.rad2deg(parameters[:, 3:])])
