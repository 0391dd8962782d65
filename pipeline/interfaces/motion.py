"""Nodes that put the frames of a scan into one space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.bids.scan import ScanInputs
from pipeline.bids.sidecar import frame_metadata
from pipeline.core.decay import HALF_LIFE_S, decay_constant_per_s, nuclide_name
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.frame_means import mean_over_frames
from pipeline.imaging.head_motion import CorrectionRule, HeadMotion
from pipeline.imaging.motion import MotionSearch, estimate_motion, head_mask
from pipeline.io.frames import FramesOnDemand, RawFrames, write_frames_on_demand
from pipeline.io.images import write_array, write_volume
from pipeline.io.motion_table import motion_findings, motion_table
from pipeline.io.tables import write_json, write_table
from pipeline.io.transforms import write_itk_transforms


class FramesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    """A scan as it lies in the data set."""

    pet = InputMultiObject(File(exists=True), mandatory=True, desc="dynamic PET, or its runs")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing and scale")
    drop_empty = traits.Bool(False, usedefault=True, desc="leave out frames without counts")
    save_frames = traits.Bool(True, usedefault=True, desc="write frames, or how to make them")


class CorrectionInputSpec(FramesInputSpec):
    """What it takes to correct a scan whose motion is known."""

    rule = traits.Instance(CorrectionRule, mandatory=True, desc="which sessions are corrected")
    within_frame_mm = traits.Float(mandatory=True, desc="movement within a frame to tell of")


class _MotionInputSpec(CorrectionInputSpec):
    search = traits.Instance(MotionSearch, mandatory=True, desc="how the head is looked for")


class FramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    """A scan in one space, and what is known of its motion."""

    scan = traits.Instance(ScanInputs, desc="the scan with the frames that are left")
    pet_preproc = File(exists=True, desc="frames in one space, Bq/mL, or how to make them")
    petref = File(exists=True, desc="their mean")
    motion_xfms = File(exists=True, desc="transform of every frame")
    confounds = File(exists=True, desc="motion parameters, a row per frame")
    quality = File(exists=True, desc="what was decided and found, JSON")


class CorrectMotion(SimpleInterface):  # type: ignore[misc]
    """Find the head in every frame and, where the rule says so, resample each frame once."""

    input_spec, output_spec = _MotionInputSpec, FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        frames, scan = frames_of(self.inputs)
        rule = self.inputs.rule
        lying = frames.placed()
        try:
            motion = estimate_motion(
                lambda _: next(lying),
                scan.timing,
                _decay_constant_per_s(scan),
                self.inputs.search,
            )
        except ValueError as error:
            if rule.mode != "never":
                raise DataError(f"{scan.pet.name}: motion correction: {error}") from error
            motion = _still(_mean(frames.placed(), scan.timing), len(frames))
        self._results.update(corrected(Path(runtime.cwd), motion, frames, scan, self.inputs))
        return runtime


def corrected(
    folder: Path, motion: HeadMotion, frames: RawFrames, scan: ScanInputs, inputs: Any
) -> dict[str, Any]:
    """Outputs of a scan whose motion is known: frames resampled once, if the rule says so."""
    decision = inputs.rule.decide(scan.entities, motion)
    xfms = motion.frame2petref_xfms if decision.corrected else None
    written, _ = (_write_frames if inputs.save_frames else _describe_frames)(
        folder, frames, xfms, scan
    )
    still = np.tile(np.eye(4), (len(frames), 1, 1))
    quality = {
        "MotionCorrected": decision.corrected,
        "MotionCorrectionReason": decision.reason,
        **motion_findings(motion, inputs.within_frame_mm),
        **_left(scan, inputs.scan),
    }
    xfms_file = write_itk_transforms(folder / "motion.txt", still if xfms is None else xfms)
    return {
        **written,
        "scan": scan,
        "motion_xfms": str(xfms_file),
        **_write_motion(folder, scan.timing, motion, quality),
    }


class KeepFrames(SimpleInterface):  # type: ignore[misc]
    """Take the frames as they lie; only units and decay are made right."""

    input_spec, output_spec = FramesInputSpec, FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        frames, scan = frames_of(self.inputs)
        folder, save = Path(runtime.cwd), self.inputs.save_frames
        written, petref = (_write_frames if save else _describe_frames)(folder, frames, None, scan)
        still = _still(petref, len(frames))
        xfms = write_itk_transforms(folder / "motion.txt", still.frame2petref_xfms)
        quality = {
            "MotionCorrected": False,
            "MotionCorrectionReason": "motion was not looked for",
            **motion_findings(still, np.inf),
            **_left(scan, self.inputs.scan),
        }
        self._results.update(
            written,
            scan=scan,
            motion_xfms=str(xfms),
            **_write_motion(folder, scan.timing, still, quality),
        )
        return runtime


def frames_of(inputs: Any) -> tuple[RawFrames, ScanInputs]:
    """Frames on disk, and the scan they make; without empty ones where these are not wanted."""
    paths, scan = tuple(Path(path) for path in inputs.pet), inputs.scan
    if inputs.drop_empty:
        empty = RawFrames(paths, scan.frames, scan.frame_scale).empty()
        if len(scan.timing) - len(empty) < _LEAST_FRAMES:
            raise DataError(
                f"{paths[0].name}: {len(empty)} of {len(scan.timing)} frames hold no counts, too "
                "few are left; see whether the file is damaged"
            )
        scan = scan.without(empty)
    return RawFrames(paths, scan.frames, scan.frame_scale), scan


_LEAST_FRAMES = 2


def _left(scan: ScanInputs, given: ScanInputs) -> dict[str, Any]:
    """Which frames make the scan, as sidecars and the page tell it."""
    empty = sorted(set(scan.dropped) - set(given.dropped))
    dropped = {"FramesDropped": list(scan.dropped), "FramesEmpty": empty}
    return {**frame_metadata(scan.timing), **dropped}


def _decay_constant_per_s(scan: ScanInputs) -> float:
    known = nuclide_name(scan.radionuclide) in HALF_LIFE_S
    return decay_constant_per_s(scan.radionuclide) if known else 0.0


def _still(petref: Volume, frames: int) -> HeadMotion:
    """Frames that nobody aligned."""
    head = np.argwhere(head_mask(petref)).astype(float)
    return HeadMotion.still(frames, apply_affine(petref.affine, head))


def _mean(frames: Iterator[Volume], timing: FrameTiming) -> Volume:
    return mean_over_frames(frames, timing.duration_s)[0]


def _write_frames(
    folder: Path, frames: RawFrames, xfms: FloatArray | None, scan: ScanInputs
) -> tuple[dict[str, str], Volume]:
    """Write frames and their mean; returns the files and the mean."""
    series = np.empty((*frames.grid.shape, len(frames)), np.float32, order="F")

    def kept() -> Iterator[Volume]:
        for i, frame in enumerate(frames.placed(xfms)):
            series[..., i] = frame.data
            yield frame

    petref, covered = mean_over_frames(kept(), scan.timing.duration_s)
    _require_common(covered, scan)
    series[~covered] = np.nan
    path = write_array(folder / "pet_preproc.nii.gz", series, petref.affine)
    return _with_mean(folder, path, petref), petref


def _describe_frames(
    folder: Path, frames: RawFrames, xfms: FloatArray | None, scan: ScanInputs
) -> tuple[dict[str, str], Volume]:
    """Write how frames are made, and their mean; one frame is held at a time."""
    petref, covered = mean_over_frames(frames.placed(xfms), scan.timing.duration_s)
    _require_common(covered, scan)
    on_demand = FramesOnDemand(frames, xfms, covered)
    path = write_frames_on_demand(folder / "pet_preproc.npz", on_demand)
    return _with_mean(folder, path, petref), petref


def _require_common(covered: BoolArray, scan: ScanInputs) -> None:
    """Frames that hardly overlap make no mean, and regions have no value in all of them."""
    share = float(covered.mean())
    if share < _LEAST_COMMON:
        raise DataError(
            f"{scan.pet.name}: all frames see {100 * share:.0f} % of the field of view in common"
            f" ({100 * _LEAST_COMMON:.0f} % is the least): the runs lie apart by their headers, or"
            " frames hold hardly a finite value; see whether they are of one scan, or set"
            " scan.join_runs = false"
        )


_LEAST_COMMON = 0.5


def _with_mean(folder: Path, frames: Path, petref: Volume) -> dict[str, str]:
    mean = write_volume(folder / "petref.nii.gz", petref)
    return {"pet_preproc": str(frames), "petref": str(mean)}


def _write_motion(
    folder: Path, timing: FrameTiming, motion: HeadMotion, quality: Mapping[str, Any]
) -> dict[str, str]:
    table = motion_table(timing, motion)
    return {
        "confounds": str(write_table(folder / "confounds.tsv", table)),
        "quality": str(write_json(folder / "motion.json", quality)),
    }
