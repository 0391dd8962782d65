"""Head motion of a dynamic scan, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, displacement_mm, rigid_parameters
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.groupwise import FrameGroup, recentred
from pipeline.imaging.resampling import coarsen, smooth

_REGISTRATION_VOXEL_MM = 4.0
_HEAD_SHARE = 0.2
_MASK_FWHM_MM = 6.0
_ROUGH_FWHM_MM, _ROUGH_VOXEL_MM, _ROUGH_STEPS, _ROUGH_TOLERANCE_MM = 12.0, 8.0, 15, 0.1
_FINE_STEPS, _TOLERANCE_MM = 8, 0.02
_LARGEST_ERROR_MM = 0.5  # noise is correlated: the true error is four to five times as large


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """Where the head was in every frame."""

    frame2petref_xfms: FloatArray
    """(F, 4, 4); world points of a frame to the same place in the reference."""
    estimated: BoolArray
    """(F,); False where a frame took the transform of another."""
    head_points_mm: FloatArray
    """(N, 3) world points of the reference inside the head."""

    def framewise_displacement_mm(self) -> FloatArray:
        """Mean shift of the head against the frame before, (F,), mm; 0 for the first."""
        xfms = self.frame2petref_xfms
        steps = [displacement_mm(a, b, self.head_points_mm).mean() for a, b in pairwise(xfms)]
        return np.array([0.0, *steps])

    def displacement_mm(self) -> FloatArray:
        """Mean shift of the head against the reference, (F,), mm."""
        return np.array(
            [
                displacement_mm(x, np.eye(4), self.head_points_mm).mean()
                for x in self.frame2petref_xfms
            ]
        )

    def parameters(self) -> FloatArray:
        """Translations, mm, then rotations, rad, about the centre of the head, (F, 6)."""
        centre = self.head_points_mm.mean(axis=0)
        return np.array(
            [np.concatenate(rigid_parameters(x, centre)) for x in self.frame2petref_xfms]
        )


def estimate_motion(
    frame: Callable[[int], Volume],
    timing: FrameTiming,
    first_frame_s: float,
    smoothing_fwhm_mm: float,
) -> HeadMotion:
    """Rigid transform of every frame to the mean of the scan.

    Frames are smoothed and coarsened for the estimation, then aligned to their common mean: first
    roughly, at low resolution and one after the other, then all together. The reference lies at
    the duration-weighted mean pose, so that correction moves the frames as little as it can.

    Parameters
    ----------
    frame : callable
        Frame number to its volume, in any activity unit. Called once per frame.
    timing : FrameTiming
        The F frames.
    first_frame_s : float
        Frames with an earlier middle take the transform of the first later one.
    smoothing_fwhm_mm : float
        Gaussian smoothing before the estimation, FWHM; 0 for none.

    Returns
    -------
    HeadMotion
        A frame that shows no head, or too little of one to place it, takes the transform of the
        frame next in time and is marked as not estimated.

    Raises
    ------
    ValueError
        If no frame is late enough, or none shows a head.
    """
    late = np.flatnonzero(timing.mid_s >= first_frame_s)
    if late.size == 0:
        raise ValueError(
            f"no frame has its middle at or after {first_frame_s:g} s; the last one is at"
            f" {timing.mid_s[-1]:g} s: lower the start of motion estimation or switch it off"
        )
    frames = [_prepared(frame(i), smoothing_fwhm_mm) for i in late.tolist()]
    lit = np.array([bool(v.data.any()) for v in frames])
    if not lit.any():
        raise ValueError("no frame shows a head: all are empty")
    weights = timing.duration_s[late] * lit
    mean = _mean(frames, weights)
    mask = head_mask(smooth(mean, _MASK_FWHM_MM))
    rough = _roughly_aligned(frames, mask)
    group = FrameGroup(frames, mask)
    poses = group.align(rough, _FINE_STEPS, _TOLERANCE_MM)
    placed = lit & (poses.standard_error_mm < _LARGEST_ERROR_MM)
    if not placed.any():
        raise ValueError("no frame shows a head clearly enough to place it")
    xfms = recentred(
        poses.reference2frame_xfms[placed], timing.duration_s[late[placed]], group.centre_mm
    )
    estimated = np.zeros(len(timing), bool)
    estimated[late[placed]] = True
    nearest = np.abs(timing.mid_s[:, None] - timing.mid_s[estimated]).argmin(axis=1)
    points = apply_affine(mean.affine, np.argwhere(mask).astype(float))
    return HeadMotion(np.linalg.inv(xfms)[nearest], estimated, points)


def head_mask(volume: Volume) -> BoolArray:
    """Where a PET image shows the head, (X, Y, Z): a fifth of its robust maximum, filled."""
    high = np.percentile(volume.data, 98)
    mask = volume.data > _HEAD_SHARE * high
    labels, count = ndimage.label(mask)
    if count == 0:
        raise ValueError("the image holds no head: no voxel stands out")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = labels == int(np.argmax(sizes))
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_dilation(largest)))


def _prepared(volume: Volume, fwhm_mm: float) -> Volume:
    """The frame for estimation: finite, coarse, of the smoothness asked for."""
    coarse = coarsen(volume, _REGISTRATION_VOXEL_MM)
    finite = np.nan_to_num(coarse.data, nan=0.0, posinf=0.0, neginf=0.0)
    averaged = coarse.voxel_size_mm > volume.voxel_size_mm * 1.01
    # block means have smoothed already; a box of width w has the variance w^2 / 12
    done = np.where(averaged, coarse.voxel_size_mm, 0.0) * np.sqrt(8 * np.log(2) / 12)
    return smooth(coarse.with_data(finite), np.sqrt(np.maximum(fwhm_mm**2 - done**2, 0)))


def _mean(frames: list[Volume], weights: FloatArray) -> Volume:
    total = np.zeros(frames[0].shape)
    for volume, weight in zip(frames, weights, strict=True):
        total += weight * volume.data
    return frames[0].with_data((total / weights.sum()).astype(np.float32))


def _roughly_aligned(frames: list[Volume], mask: BoolArray) -> FloatArray:
    """Transforms (F, 4, 4) from the reference to the frames, good to a few millimetres."""
    coarse = [coarsen(smooth(v, _ROUGH_FWHM_MM), _ROUGH_VOXEL_MM) for v in frames]
    share = coarsen(frames[0].with_data(mask.astype(np.float32)), _ROUGH_VOXEL_MM)
    group = FrameGroup(coarse, share.data > 0.5)
    still = np.tile(np.eye(4), (len(frames), 1, 1))
    return group.align(still, _ROUGH_STEPS, _ROUGH_TOLERANCE_MM).reference2frame_xfms
