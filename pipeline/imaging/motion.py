"""Where the head was in every frame of a dynamic scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation, Slerp

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, displacement_mm
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.imaging.frame_groups import (
    Grouping,
    ReferenceFrames,
    decays,
    group_frames,
    reference_groups,
    segments,
    split_at_jumps,
)
from pipeline.imaging.groupwise import FrameGroup, Poses, recentred
from pipeline.imaging.head_motion import HeadMotion, Source
from pipeline.imaging.resampling import coarsen, smooth

_REGISTRATION_VOXEL_MM = 4.0
_HEAD_SHARE = 0.2
_MASK_FWHM_MM = 6.0
_ROUGH_FWHM_MM, _ROUGH_VOXEL_MM, _ROUGH_STEPS, _ROUGH_TOLERANCE_MM = 12.0, 8.0, 15, 0.1
_FINE_STEPS, _TOLERANCE_MM = 15, 0.02


@dataclass(frozen=True, kw_only=True)
class MotionSearch:
    """How the head is looked for."""

    grouping: Grouping = field(default_factory=Grouping)
    smoothing_fwhm_mm: float = 2.0
    """Gaussian smoothing before the estimation, FWHM; 0 for none."""
    reference: ReferenceFrames = "all"
    """Groups that make the mean all are aligned to."""
    largest_error_mm: float = 1.0
    """A group whose pose has a larger standard error is not estimated."""


def estimate_motion(
    frame: Callable[[int], Volume],
    timing: FrameTiming,
    decay_constant_per_s: float,
    search: MotionSearch,
) -> HeadMotion:
    """Rigid transform of every frame to the mean of the scan.

    Frames are coarsened, joined to groups that hold enough counts, and smoothed. Groups are then
    aligned to their common mean: first roughly, at low resolution, then closely; the mean is made
    anew from the aligned groups at every step. The reference lies at the duration-weighted mean
    pose, so that correction moves the frames as little as it can.

    Parameters
    ----------
    frame : callable
        Frame number to its volume, Bq/mL, decay-corrected to injection. Called once per frame,
        in order.
    timing : FrameTiming
        The F frames.
    decay_constant_per_s : float
        Of the radionuclide, for the counts; zero if it is not known.
    search : MotionSearch
        Groups, reference and limits.

    Returns
    -------
    HeadMotion
        A group with too few counts, without a head or too uncertain a pose gets one between those
        of its neighbours in time; frames before the first and after the last estimate take that.
        Breaks of the scan are not crossed, unless nothing is known of a whole stretch.

    Raises
    ------
    ValueError
        If no frame is late enough, or none shows a head.
    """
    scan = _Scan.of(frame, timing, decay_constant_per_s, search)
    groups = group_frames(scan.counts, timing, search.grouping)
    aligned = scan.aligned(groups)
    if aligned.placed.any():
        aligned = _with_jumps_apart(scan, aligned)
    if not aligned.placed.any():
        raise ValueError("no frame shows a head clearly enough to place it")
    return _by_frame(aligned, _Counted(timing, scan.counts), scan.head_points_mm)


def _with_jumps_apart(scan: _Scan, whole: _Aligned) -> _Aligned:
    """Frames beside a jump on their own: the mean of both its sides lies at neither place.

    A group of which a frame cannot be placed alone stays whole.
    """
    steps_mm = whole.steps_mm(scan.head_points_mm)
    least = scan.search.grouping.minimum_counts
    divisible = np.array([bool((scan.counts[g] >= least).all()) for g in whole.groups])
    for _ in range(2):
        parts = split_at_jumps(whole.groups, steps_mm, divisible)
        if len(parts) == len(whole.groups):
            return whole
        apart = scan.aligned(parts)
        lost = [part.start for part, placed in zip(parts, apart.placed, strict=True) if not placed]
        failed = np.array([any(f in lost for f in range(g.start, g.stop)) for g in whole.groups])
        if not (failed & whole.placed & divisible).any():
            return apart
        divisible &= ~failed
    return whole


@dataclass(frozen=True, eq=False)
class _Aligned:
    """Groups of frames and where each lies."""

    groups: Sequence[slice]
    poses: Poses
    placed: BoolArray
    """(G,); with enough counts and a pose that is certain enough."""

    def steps_mm(self, head_points_mm: FloatArray) -> FloatArray:
        """Mean shift of the head from every group to the next, (G - 1,); NaN beside no pose."""
        xfms = np.linalg.inv(self.poses.reference2frame_xfms)
        steps = [displacement_mm(a, b, head_points_mm).mean() for a, b in pairwise(xfms)]
        both = self.placed[1:] & self.placed[:-1]
        return np.where(both, np.array(steps), np.nan) if steps else np.empty(0)


@dataclass(frozen=True, eq=False)
class _Scan:
    """Coarse frames, the head in them, and their counts."""

    frames: list[Volume]
    timing: FrameTiming
    mask: BoolArray
    """The head in the stretch of the scan that shows it best."""
    start_mm: FloatArray
    """Shift (F, 3) of the head from there to every frame, by centres of mass."""
    counts: FloatArray
    fwhm_mm: FloatArray
    search: MotionSearch

    @classmethod
    def of(
        cls,
        frame: Callable[[int], Volume],
        timing: FrameTiming,
        decay_constant_per_s: float,
        search: MotionSearch,
    ) -> _Scan:
        frames, averaged_mm = _read(frame, len(timing))
        masks, stretch = _heads(frames, timing)
        inside_bq = [
            v.data[masks[k]].sum(dtype=np.float64) * v.voxel_volume_mm3 / 1000
            for v, k in zip(frames, stretch, strict=True)
        ]
        counts = decays(np.array(inside_bq), timing, decay_constant_per_s)
        best = int(np.argmax(np.bincount(stretch, counts)))
        centres = [apply_affine(frames[0].affine, np.argwhere(m).mean(axis=0)) for m in masks]
        start_mm = np.array([centres[k] - centres[best] for k in stretch])
        fwhm_mm = np.sqrt(np.maximum(search.smoothing_fwhm_mm**2 - averaged_mm**2, 0))
        return cls(frames, timing, masks[best], start_mm, counts, fwhm_mm, search)

    @property
    def head_points_mm(self) -> FloatArray:
        """Points (N, 3) of the head."""
        return apply_affine(self.frames[0].affine, np.argwhere(self.mask).astype(float))

    def aligned(self, groups: Sequence[slice]) -> _Aligned:
        """Poses of groups of frames."""
        joined = [
            smooth(_mean(self.frames[g], self.timing.duration_s[g]), self.fwhm_mm) for g in groups
        ]
        of_group = np.array([self.counts[g].sum() for g in groups])
        chosen = reference_groups(self.search.reference, groups, self.counts, self.timing)
        lit = np.array([_shows_a_head(v.data[self.mask]) for v in joined])
        precision = of_group * chosen * lit
        starts = np.tile(np.eye(4), (len(groups), 1, 1))
        starts[:, :3, 3] = [self.start_mm[g.start] for g in groups]
        rough = _roughly_aligned(joined, self.mask, precision, starts)
        poses = FrameGroup(joined, self.mask, precision).align(rough, _FINE_STEPS, _TOLERANCE_MM)
        enough = lit & (of_group >= self.search.grouping.minimum_counts)
        placed = enough & (poses.standard_error_mm < self.search.largest_error_mm)
        return _Aligned(groups, poses, placed)


@dataclass(frozen=True, eq=False)
class _Counted:
    """The frames and their decays."""

    timing: FrameTiming
    counts: FloatArray

    def middle_s(self, group: slice) -> float:
        return float(self.timing.start_s[group.start] + self.timing.end_s[group.stop - 1]) / 2


def _by_frame(aligned: _Aligned, frames: _Counted, head_points_mm: FloatArray) -> HeadMotion:
    """What is known of groups, for every frame; what is not, from the neighbours in time."""
    groups, poses, placed = aligned.groups, aligned.poses, aligned.placed
    centre_mm = head_points_mm.mean(axis=0)
    length_s = np.array([frames.timing.duration_s[g].sum() for g in groups])
    found = np.tile(np.eye(4), (len(groups), 1, 1))
    found[placed] = np.linalg.inv(
        recentred(poses.reference2frame_xfms[placed], length_s[placed], centre_mm)
    )
    scaled = np.where(placed, poses.misfit * [frames.counts[g].sum() for g in groups], np.nan)
    scaled /= np.nanmedian(scaled)
    stretch = segments(frames.timing)
    of_group = np.array([stretch[g.start] for g in groups])
    middle_s = np.array([frames.middle_s(g) for g in groups])
    xfms, source_of_group = _filled(found, placed, middle_s, of_group, centre_mm)
    group, source = np.empty(len(stretch), int), np.empty(len(stretch), object)
    for frame, number in enumerate(stretch):
        # frames before the first group take the pose of the first that has one
        known = np.flatnonzero(placed & (of_group == number))
        group[frame] = known[0] if known.size else np.flatnonzero(placed)[0]
        source[frame] = Source.COPIED if known.size else Source.GUESSED
    for number, members in enumerate(groups):
        group[members], source[members] = number, source_of_group[number]
    estimated = (source == Source.ESTIMATED)[:, None]
    variance = np.diagonal(poses.covariance, axis1=1, axis2=2)[group]
    return HeadMotion(
        xfms[group],
        head_points_mm,
        group,
        tuple(source),
        frames.counts,
        np.where(estimated, np.sqrt(variance), np.nan),
        np.where(estimated[:, 0], poses.standard_error_mm[group], np.nan),
        np.where(estimated[:, 0], scaled[group], np.nan),
    )


def _filled(
    xfms: FloatArray,
    placed: BoolArray,
    middle_s: FloatArray,
    stretch: IntArray,
    centre_mm: FloatArray,
) -> tuple[FloatArray, NDArray[np.object_]]:
    """Poses (G, 4, 4) of all groups from those of the placed ones, and their sources (G,)."""
    filled, source = xfms.copy(), np.empty(len(xfms), object)
    # `np.full` would make plain text of an enum of strings
    source[placed] = Source.ESTIMATED
    for number in np.unique(stretch):
        own = stretch == number
        known = np.flatnonzero(own & placed)
        if known.size == 0:
            late_s = np.where(placed, np.abs(middle_s - middle_s[own].mean()), np.inf)
            filled[own], source[own] = xfms[np.argmin(late_s)], Source.GUESSED
            continue
        filled[own] = _interpolated(xfms[known], middle_s[known], middle_s[own], centre_mm)
        between = (middle_s > middle_s[known[0]]) & (middle_s < middle_s[known[-1]])
        source[own & ~placed] = Source.COPIED
        source[own & ~placed & between] = Source.INTERPOLATED
    return filled, source


def _interpolated(
    xfms: FloatArray, known_s: FloatArray, wanted_s: FloatArray, centre_mm: FloatArray
) -> FloatArray:
    """Poses (W, 4, 4) between known ones in time; beyond the first and the last, those.

    The centre of the head goes straight, and the head turns about one axis.
    """
    if len(known_s) == 1:
        return np.tile(xfms, (len(wanted_s), 1, 1))
    when_s = np.clip(wanted_s, known_s[0], known_s[-1])
    result = np.tile(np.eye(4), (len(wanted_s), 1, 1))
    result[:, :3, :3] = Slerp(known_s, Rotation.from_matrix(xfms[:, :3, :3]))(when_s).as_matrix()
    centres = xfms[:, :3, :3] @ centre_mm + xfms[:, :3, 3]
    moved = np.stack([np.interp(when_s, known_s, c) for c in centres.T], axis=1)
    result[:, :3, 3] = moved - result[:, :3, :3] @ centre_mm
    exact = np.isin(when_s, known_s)
    result[exact] = xfms[np.searchsorted(known_s, when_s[exact])]
    return result


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


def _heads(frames: list[Volume], timing: FrameTiming) -> tuple[list[BoolArray], IntArray]:
    """Where the head is in every stretch of the scan (X, Y, Z), and the stretch of each frame.

    Stretches in which it hardly lies elsewhere share one mask, that of the whole scan.
    """
    whole = _head_in(frames, timing.duration_s)
    stretch = segments(timing)
    masks = []
    for number in range(int(stretch[-1]) + 1):
        own = np.flatnonzero(stretch == number)
        part = [frames[i] for i in own]
        lit = any(v.data.any() for v in part)
        mask = _head_in(part, timing.duration_s[own]) if lit else whole
        # a stretch of noise alone has a mask of any size
        like_a_head = 0.5 < np.count_nonzero(mask) / np.count_nonzero(whole) < 2
        masks.append(mask if like_a_head else whole)
    centres = [apply_affine(frames[0].affine, np.argwhere(m).mean(axis=0)) for m in masks]
    apart_mm = np.linalg.norm(np.array(centres) - centres[0], axis=1).max()
    if apart_mm < _REPOSITIONED_MM:
        return [whole], np.zeros_like(stretch)
    return masks, stretch


_REPOSITIONED_MM = 15.0
"""The alignment finds a head this far away by itself; centres of mass are off by some of it."""


def _shows_a_head(values: NDArray[np.floating]) -> bool:
    """Whether voxels (N,) of the head are more than noise around zero.

    Noise of the frames that are aligned is below their mean, and so is contrast; what is not would
    rule the mean of all, to which a frame adds by its counts over its level.
    """
    return bool(values.std(dtype=np.float64) < _NOISE_TO_MEAN * values.mean(dtype=np.float64))


_NOISE_TO_MEAN = 5.0


def _head_in(frames: list[Volume], duration_s: FloatArray) -> BoolArray:
    mean = _mean(frames, duration_s)
    if not mean.data.any():
        raise ValueError("no frame shows a head: all are empty")
    return head_mask(smooth(mean, _MASK_FWHM_MM))


def _read(frame: Callable[[int], Volume], count: int) -> tuple[list[Volume], FloatArray]:
    """Frames for estimation, finite and coarse, and the FWHM their averaging amounts to, (3,)."""
    frames, fwhm_mm = [], np.zeros(3)
    for i in range(count):
        fine = frame(i)
        coarse = coarsen(fine, _REGISTRATION_VOXEL_MM)
        finite = np.nan_to_num(coarse.data, nan=0.0, posinf=0.0, neginf=0.0)
        frames.append(coarse.with_data(finite.astype(np.float32)))
        averaged = coarse.voxel_size_mm > fine.voxel_size_mm * 1.01
        # a box of width w has the variance w^2 / 12
        fwhm_mm = np.where(averaged, coarse.voxel_size_mm, 0.0) * np.sqrt(8 * np.log(2) / 12)
    return frames, fwhm_mm


def _mean(frames: list[Volume], weights: FloatArray) -> Volume:
    total = np.zeros(frames[0].shape)
    for volume, weight in zip(frames, weights, strict=True):
        total += weight * volume.data
    return frames[0].with_data((total / weights.sum()).astype(np.float32))


def _roughly_aligned(
    frames: list[Volume], mask: BoolArray, precision: FloatArray, starts: FloatArray
) -> FloatArray:
    """Transforms (F, 4, 4) from the reference to the frames, good to a few millimetres."""
    coarse = [coarsen(smooth(v, _ROUGH_FWHM_MM), _ROUGH_VOXEL_MM) for v in frames]
    share = coarsen(frames[0].with_data(mask.astype(np.float32)), _ROUGH_VOXEL_MM)
    group = FrameGroup(coarse, share.data > 0.5, precision)
    return group.align(starts, _ROUGH_STEPS, _ROUGH_TOLERANCE_MM).reference2frame_xfms
