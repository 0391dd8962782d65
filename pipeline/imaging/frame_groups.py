"""Frames joined until they hold enough counts to show where the head is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import BoolArray, FloatArray, IntArray

_ROUNDING_S = 0.02  # frames may overlap by half of it, as rounding of the file
_GAP_S = 5.0  # a longer time without frames is a break

ReferenceFrames = Literal["all", "late", "counts"]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """How frames are joined."""

    first_frame_s: float = 120.0
    """Frames with an earlier middle belong to no group; seconds after injection."""
    group_counts: float = 5e8
    """Decays in the head that close a group."""
    minimum_counts: float = 5e7
    """A group with fewer decays in the head is not estimated."""
    longest_group_s: float = 120.0
    """No group of several frames is longer: a head that drifts would smear it."""


def decays(
    activity_bq: FloatArray, timing: FrameTiming, decay_constant_per_s: float
) -> FloatArray:
    r"""Decays in the head during every frame, (F,).

    .. math::
        n = A \int_{t_s}^{t_e} e^{-\lambda t} \, dt

    Parameters
    ----------
    activity_bq : (F,) array
        Activity in the head, decay-corrected to injection, Bq; noise below zero counts as none.
    timing : FrameTiming
        The frames.
    decay_constant_per_s : float
        Of the radionuclide; zero for none.
    """
    survival = np.ones(len(timing))
    if decay_constant_per_s > 0:
        x = decay_constant_per_s * timing.duration_s
        survival = np.exp(-decay_constant_per_s * timing.start_s) * -np.expm1(-x) / x
    return np.asarray(np.maximum(activity_bq, 0) * timing.duration_s * survival)


def group_frames(counts: FloatArray, timing: FrameTiming, grouping: Grouping) -> list[slice]:
    """Runs of neighbouring frames, in order.

    Every group takes frames until it holds `group_counts`, until one more would make it longer
    than `longest_group_s`, or until a break in the scan. What is left at the end joins the group
    before it, if that stays short enough and no break lies between.

    Parameters
    ----------
    counts : (F,) array
        Decays of every frame.
    timing : FrameTiming
        The frames.
    grouping : Grouping
        Limits.

    Raises
    ------
    ValueError
        If no frame is late enough.
    """
    late = np.flatnonzero(timing.mid_s >= grouping.first_frame_s)
    if late.size == 0:
        raise ValueError(
            f"no frame has its middle at or after {grouping.first_frame_s:g} s; the last one is at"
            f" {timing.mid_s[-1]:g} s: lower the start of motion estimation or switch it off"
        )
    groups, first = [], int(late[0])
    for frame in range(first, len(timing)):
        following = min(frame + 1, len(timing) - 1)
        full = counts[first : frame + 1].sum() >= grouping.group_counts
        if full or frame == following or _apart(timing, first, following, grouping):
            groups.append(slice(first, frame + 1))
            first = frame + 1
    few = counts[groups[-1]].sum() < grouping.group_counts
    if few and len(groups) > 1 and not _apart(timing, groups[-2].start, -1, grouping):
        groups[-2:] = [slice(groups[-2].start, len(timing))]
    return groups


def segments(timing: FrameTiming) -> IntArray:
    """Number of the stretch without a break that every frame belongs to, (F,).

    In a break the head may be taken out of the scanner, and nothing leads from one side of it to
    the other.
    """
    return np.cumsum(timing.after_gap(_GAP_S))


def _apart(timing: FrameTiming, first: int, last: int, grouping: Grouping) -> bool:
    """Whether frames from the first to the last are too long, or have a break between them."""
    length_s = timing.end_s[last] - timing.start_s[first]
    inner = timing.after_gap(_GAP_S)[first + 1 :]
    broken = bool(inner[: None if last == -1 else last - first].any())
    return broken or bool(length_s > grouping.longest_group_s + _ROUNDING_S)


def split_at_jumps(
    groups: Sequence[slice], steps_mm: FloatArray, divisible: BoolArray
) -> list[slice]:
    """The groups, those beside a large step (G - 1,) taken apart into their frames.

    The head may have jumped between two frames of one of them. Only those that are `divisible`,
    (G,), are taken apart: their frames can be placed alone.
    """
    large = np.concatenate([[False], steps_mm > _JUMP_MM, [False]])
    beside = (large[1:] | large[:-1]) & divisible
    return [
        part
        for group, apart in zip(groups, beside, strict=True)
        for part in (
            [slice(f, f + 1) for f in range(group.start, group.stop)] if apart else [group]
        )
    ]


_JUMP_MM = 1.0


def reference_groups(
    choice: ReferenceFrames, groups: Sequence[slice], counts: FloatArray, timing: FrameTiming
) -> BoolArray:
    """Which groups (G,) make the mean that all are compared with.

    `late` are those in the second half of the scan, `counts` those of the most decays that hold
    half of all decays between them.
    """
    of_group = np.array([counts[group].sum() for group in groups])
    if choice == "counts":
        order = np.argsort(-of_group, kind="stable")
        before = np.cumsum(of_group[order]) - of_group[order]
        chosen = np.zeros(len(groups), bool)
        chosen[order[before < of_group.sum() / 2]] = True
        return chosen
    half_s = (timing.start_s[groups[0].start] + timing.end_s[-1]) / 2
    middle_s = np.array([timing.end_s[g.stop - 1] + timing.start_s[g.start] for g in groups]) / 2
    return np.ones(len(groups), bool) if choice == "all" else middle_s >= half_s
