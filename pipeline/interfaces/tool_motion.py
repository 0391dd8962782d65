"""Nodes that hand frames to other programs and take back where these found the head."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.frame_means import mean_over_frames
from pipeline.imaging.head_motion import HeadMotion
from pipeline.imaging.motion import head_mask
from pipeline.imaging.resampling import smooth
from pipeline.interfaces.motion import (
    CorrectionInputSpec,
    FramesInputSpec,
    FramesOutputSpec,
    corrected,
    frames_of,
)
from pipeline.io.images import read_grid, write_series, write_volume
from pipeline.io.tool_transforms import read_rigid_transform


class _HandFramesInputSpec(FramesInputSpec):
    first_frame_s = traits.Float(mandatory=True, desc="frames with an earlier middle stay out")
    smoothing_fwhm_mm = traits.Float(0, usedefault=True, desc="of what is handed over")
    joined = traits.Bool(False, usedefault=True, desc="one 4-D file, not a file per frame")


class _HandFramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    frames = OutputMultiObject(File(exists=True), desc="frames that show a head")
    middle = traits.Int(desc="number of the one in the middle, counted from one")


class HandFrames(SimpleInterface):  # type: ignore[misc]
    """Frames as other programs read them: Bq/mL, finite, on one grid, uncompressed NIfTI."""

    input_spec, output_spec = _HandFramesInputSpec, _HandFramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        frames, scan = frames_of(self.inputs)
        first = first_placed(scan.timing, self.inputs.first_frame_s)
        folder, count = Path(runtime.cwd), len(frames) - first
        late = (
            smooth(
                frame.with_data(np.nan_to_num(frame.data, posinf=0, neginf=0)),
                self.inputs.smoothing_fwhm_mm,
            )
            for frame in islice(frames.placed(), first, None)
        )
        if self.inputs.joined:
            paths = [write_series(folder / "frames.nii", late, count)]
        else:
            paths = [write_volume(folder / f"frame{i:03d}.nii", f) for i, f in enumerate(late)]
        self._results.update(frames=[str(path) for path in paths], middle=count // 2 + 1)
        return runtime


class _TakeMotionInputSpec(CorrectionInputSpec):
    first_frame_s = traits.Float(mandatory=True, desc="frames with an earlier middle stayed out")
    handed = InputMultiObject(File(exists=True), mandatory=True, desc="frames as handed over")
    moved = InputMultiObject(File(exists=True), mandatory=True, desc="a file per frame, in order")
    form = traits.Enum("spm", "fsl", "lta", mandatory=True, desc="what kind of files")


class TakeMotion(SimpleInterface):  # type: ignore[misc]
    """Frames corrected by what another program found, as by what we find ourselves."""

    input_spec, output_spec = _TakeMotionInputSpec, FramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        frames, scan = frames_of(self.inputs)
        first = first_placed(scan.timing, self.inputs.first_frame_s)
        handed, moved = self.inputs.handed, self.inputs.moved
        if len(moved) != len(frames) - first:
            raise DataError(
                f"{scan.pet.name}: {len(frames) - first} frames were to be aligned, the program "
                f"left {len(moved)}; see the folder of the node before this one"
            )
        grids = [read_grid(path) for path in handed] * (len(moved) if len(handed) == 1 else 1)
        poses = np.array(
            [
                read_rigid_transform(self.inputs.form, path, grid, grids[0])
                for path, grid in zip(moved, grids, strict=True)
            ]
        )
        mean = mean_over_frames(frames.placed(), scan.timing.duration_s)[0]
        motion = HeadMotion.placed_alone(poses, first, scan.timing.duration_s, _head_points(mean))
        self._results.update(corrected(Path(runtime.cwd), motion, frames, scan, self.inputs))
        return runtime


def first_placed(timing: FrameTiming, first_frame_s: float) -> int:
    """Number of the first frame whose middle is late enough to be aligned.

    Raises
    ------
    DataError
        If fewer than two frames are.
    """
    late = np.flatnonzero(timing.mid_s >= first_frame_s)
    if late.size < 2:
        raise DataError(
            f"{late.size} frames have their middle at or after {first_frame_s:g} s, two are "
            "needed to align them: lower motion.first_frame_s, or set motion.backend = 'none'"
        )
    return int(late[0])


def _head_points(mean: Volume) -> FloatArray:
    return apply_affine(mean.affine, np.argwhere(head_mask(mean)).astype(float))
