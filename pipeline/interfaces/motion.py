"""Nodes that put the frames of a scan into one space."""

from __future__ import annotations

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
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.motion import HeadMotion, estimate_motion, head_mask
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.images import read_series, write_array, write_volume
from pipeline.io.tables import write_table
from pipeline.io.transforms import write_itk_transforms


class _FramesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    pet = File(exists=True, mandatory=True, desc="dynamic PET")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing and scale")


class _MotionInputSpec(_FramesInputSpec):
    first_frame_s = traits.Float(
        mandatory=True, desc="frames with an earlier middle are not aligned"
    )
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="smoothing for the estimation")


class _FramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    pet_preproc = File(exists=True, desc="frames in one space, Bq/mL")
    petref = File(exists=True, desc="their mean")
    motion_xfms = File(exists=True, desc="transform of every frame")
    confounds = File(exists=True, desc="motion parameters, a row per frame")


class CorrectMotion(SimpleInterface):  # type: ignore[misc]
    """Align every frame to the mean of the scan and resample it once."""

    input_spec, output_spec = _MotionInputSpec, _FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        scan = self.inputs.scan
        series, affine = _read_bqml(self.inputs.pet, scan)
        try:
            motion = estimate_motion(
                lambda i: Volume(series[..., i], affine),
                scan.timing,
                self.inputs.first_frame_s,
                self.inputs.smoothing_fwhm_mm,
            )
        except ValueError as error:
            raise DataError(f"{Path(self.inputs.pet).name}: motion correction: {error}") from error
        for i, xfm in enumerate(motion.frame2petref_xfms):
            frame = Volume(series[..., i], affine)
            series[..., i] = resample_rigid(frame, frame, np.linalg.inv(xfm), outside=np.nan)
        self._results.update(_write(Path(runtime.cwd), series, affine, scan.timing, motion))
        return runtime


class KeepFrames(SimpleInterface):  # type: ignore[misc]
    """Take the frames as they lie; only units and decay are made right."""

    input_spec, output_spec = _FramesInputSpec, _FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        scan = self.inputs.scan
        series, affine = _read_bqml(self.inputs.pet, scan)
        mean = Volume(_mean(series, scan.timing), affine)
        frames = series.shape[3]
        still = HeadMotion(
            np.tile(np.eye(4), (frames, 1, 1)),
            np.zeros(frames, bool),
            apply_affine(affine, np.argwhere(head_mask(mean)).astype(float)),
        )
        self._results.update(_write(Path(runtime.cwd), series, affine, scan.timing, still))
        return runtime


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


def _write(
    folder: Path,
    series: NDArray[np.float32],
    affine: FloatArray,
    timing: FrameTiming,
    motion: HeadMotion,
) -> dict[str, str]:
    _keep_common(series)
    petref = Volume(_mean(series, timing), affine)
    names = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
    table = pd.DataFrame(
        {"frame_start": timing.start_s, "frame_end": timing.end_s}
        | dict(zip(names, motion.parameters().T, strict=True))
        | {
            "framewise_displacement": motion.framewise_displacement_mm(),
            "displacement": motion.displacement_mm(),
            "corrected": motion.estimated.astype(int),
        }
    )
    return {
        "pet_preproc": str(write_array(folder / "pet_preproc.nii.gz", series, affine)),
        "petref": str(write_volume(folder / "petref.nii.gz", petref)),
        "motion_xfms": str(write_itk_transforms(folder / "motion.txt", motion.frame2petref_xfms)),
        "confounds": str(write_table(folder / "confounds.tsv", table)),
    }
