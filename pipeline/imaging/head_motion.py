"""What is known of the motion of a head in a dynamic scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Literal

import numpy as np

from pipeline.core.transforms import displacement_mm, rigid_parameters
from pipeline.core.volume import BoolArray, FloatArray, IntArray
from pipeline.imaging.groupwise import recentred

CorrectionMode = Literal["always", "auto", "never", "listed"]

_CERTAIN = 3.0  # standard errors
_RISE = 2.0


class Source(StrEnum):
    """Where the transform of a frame comes from."""

    ESTIMATED = "estimated"
    """From its own counts, or those of its group."""
    INTERPOLATED = "interpolated"
    """From the groups before and after."""
    COPIED = "copied"
    """From the group next in time."""
    GUESSED = "guessed"
    """From the other side of a break in the scan, where the head may have lain elsewhere."""
    NONE = "none"
    """Nobody looked."""


@dataclass(frozen=True, eq=False)
class HeadMotion:
    """Where the head was in every frame."""

    frame2petref_xfms: FloatArray
    """(F, 4, 4); world points of a frame to the same place in the reference."""
    head_points_mm: FloatArray
    """(N, 3) world points of the reference inside the head."""
    group: IntArray
    """(F,); frames of one number share a transform."""
    source: tuple[Source, ...]
    """Of every frame's transform."""
    counts: FloatArray
    """(F,); decays in the head."""
    standard_error: FloatArray
    """(F, 6); of the parameters, mm and rad; NaN where they are not estimated."""
    error_mm: FloatArray
    """(F,); root mean square shift of the head that these errors stand for."""
    misfit: FloatArray
    """(F,); mean squared residual times counts, relative to the median of the scan; NaN where
    nothing was estimated."""

    @classmethod
    def still(cls, frames: int, head_points_mm: FloatArray) -> HeadMotion:
        """Frames that nobody aligned."""
        return cls(
            np.tile(np.eye(4), (frames, 1, 1)),
            head_points_mm,
            np.arange(frames),
            (Source.NONE,) * frames,
            np.full(frames, np.nan),
            np.full((frames, 6), np.nan),
            np.full(frames, np.nan),
            np.full(frames, np.nan),
        )

    @classmethod
    def placed_alone(
        cls,
        frame2petref_xfms: FloatArray,
        first: int,
        duration_s: FloatArray,
        head_points_mm: FloatArray,
    ) -> HeadMotion:
        """Frames that another program placed one by one; nobody knows its errors.

        Parameters
        ----------
        frame2petref_xfms : (P, 4, 4) array
            Of the frames from number `first` on; those before take the first of them.
        first : int
            The first frame that was placed.
        duration_s : (F,) array
            Of all frames. The reference is put to the mean pose over the time that was placed, so
            that correction moves the frames as little as it can.
        head_points_mm : (N, 3) array
            World points inside the head.
        """
        frames, centre_mm = len(duration_s), head_points_mm.mean(axis=0)
        placed = np.linalg.inv(
            recentred(np.linalg.inv(frame2petref_xfms), duration_s[first:], centre_mm)
        )
        number = np.maximum(np.arange(frames), first)
        unknown = np.full(frames, np.nan)
        return cls(
            placed[number - first],
            head_points_mm,
            number,
            (Source.COPIED,) * first + (Source.ESTIMATED,) * (frames - first),
            unknown,
            np.full((frames, 6), np.nan),
            unknown,
            unknown,
        )

    @property
    def estimated(self) -> BoolArray:
        """Frames with a transform from their own counts, (F,)."""
        return np.array([source is Source.ESTIMATED for source in self.source])

    def framewise_displacement_mm(self) -> FloatArray:
        """Mean shift of the head against the frame before, (F,), mm; 0 for the first.

        NaN from or to a frame whose pose is guessed: nobody knows.
        """
        xfms = self.frame2petref_xfms
        steps = [displacement_mm(a, b, self.head_points_mm).mean() for a, b in pairwise(xfms)]
        guessed = np.array([source is Source.GUESSED for source in self.source])
        return np.where(np.append(False, guessed[1:] != guessed[:-1]), np.nan, [0.0, *steps])

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

    def steps_mm(self) -> FloatArray:
        """Mean shift of the head from every estimated group to the next, mm; may be empty.

        Frames that share a transform make one step, so that many short frames do not make a
        restless head look still.
        """
        first = self._first_of_estimated()
        xfms = self.frame2petref_xfms[first]
        return np.array(
            [displacement_mm(a, b, self.head_points_mm).mean() for a, b in pairwise(xfms)]
        )

    def within_frames_mm(self) -> FloatArray:
        """How far the head moved within every frame or its group, at least, (F,), mm.

        A group in which the head jumps gets a pose between those before and after, and lies off
        both; one at whose border it jumps has the pose of one of them. So the smaller of both
        steps is a lower bound, and half the jump where it comes in the middle. NaN for groups
        without an estimate on either side.
        """
        first, steps = self._first_of_estimated(), self.steps_mm()
        within = np.full(len(self.group), np.nan)
        for place in range(1, len(first) - 1):
            members = self.group == self.group[first[place]]
            within[members & self.estimated] = min(steps[place - 1], steps[place])
        return within

    def moved_within(self, limit_mm: float) -> BoolArray:
        """Frames, (F,), within which the head moved by `limit_mm` or more, and certainly so.

        Where nobody knows the errors, the limit alone decides.
        """
        return np.asarray(self.within_frames_mm() > np.fmax(limit_mm, _CERTAIN * self.error_mm))

    def residual_rises(self) -> BoolArray:
        """Frames, (F,), that fit the mean worse than their neighbours and their counts explain.

        So do frames in which the head moved, and frames whose attenuation no longer fits.
        """
        first = self._first_of_estimated()
        counts = np.array([self.counts[self.group == self.group[f]].sum() for f in first])
        # noise falls with the counts, what the model lacks does not: a rise is one of both
        kinds = (self.misfit[first], self.misfit[first] / counts)
        rises = np.zeros(len(self.group), bool)
        for place, frame in enumerate(first):
            around = [p for p in range(place - 2, place + 3) if p != place and 0 <= p < len(first)]
            if around and all(kind[place] > _RISE * np.median(kind[around]) for kind in kinds):
                rises[(self.group == self.group[frame]) & self.estimated] = True
        return rises

    def _first_of_estimated(self) -> IntArray:
        """The first frame of every estimated group, in order of time."""
        frames = np.flatnonzero(self.estimated)
        return np.asarray(frames[np.unique(self.group[frames], return_index=True)[1]])


@dataclass(frozen=True, kw_only=True)
class CorrectionRule:
    """Which sessions are corrected."""

    mode: CorrectionMode = "always"
    median_mm: float = 1.0
    """`auto` corrects where the median step of the head is larger,"""
    jump_mm: float = 3.0
    """or one step."""
    sessions: tuple[str, ...] = ()
    """`listed` corrects these: `sub-01`, or `sub-01_ses-pre`, and so on."""

    def decide(self, entities: Mapping[str, str], motion: HeadMotion) -> Decision:
        """Whether a run is corrected.

        Parameters
        ----------
        entities : mapping
            Keys and labels of the run, such as sub and 01.
        motion : HeadMotion
            What was found.
        """
        if self.mode == "always":
            return Decision(True, "every session is corrected")
        if self.mode == "never":
            return Decision(False, "no session is corrected")
        if self.mode == "listed":
            run = {f"{key}-{label}" for key, label in entities.items()}
            named = any(set(name.split("_")) <= run for name in self.sessions)
            return Decision(named, f"the session is {'' if named else 'not '}on the list")
        steps = motion.steps_mm()
        if not steps.size:
            found = "fewer than two groups of frames show where the head is"
            return Decision(False, f"movement could not be judged: {found}")
        median, largest = np.median(steps), steps.max()
        excessive = bool(median > self.median_mm or largest > self.jump_mm)
        return Decision(
            excessive,
            f"movement is {'' if excessive else 'not '}excessive: median step {median:.2f} mm "
            f"(limit {self.median_mm:g}), largest {largest:.2f} mm (limit {self.jump_mm:g})",
        )


@dataclass(frozen=True)
class Decision:
    """Whether a run is corrected, and why."""

    corrected: bool
    reason: str
