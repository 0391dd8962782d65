"""Frames of a dynamic scan; the only place where seconds become minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.volume import BoolArray, FloatArray

_OVERLAP_TOLERANCE_S = 0.01


@dataclass(frozen=True, eq=False)
class FrameTiming:
    """Start and duration of every frame, seconds after injection.

    Gaps between frames and a late first frame are allowed. Ends that pass the next start by no
    more than a hundredth of a second are rounding of the file and accepted.

    Parameters
    ----------
    start_s, duration_s : (F,) arrays
        Frame starts, seconds after injection (negative before it), and durations.

    Raises
    ------
    ValueError
        If the arrays differ in length, are not finite, a duration is not positive, or frames
        overlap or are out of order.
    """

    start_s: FloatArray
    duration_s: FloatArray

    def __post_init__(self) -> None:
        start, duration = np.asarray(self.start_s, float), np.asarray(self.duration_s, float)
        if start.ndim != 1 or start.shape != duration.shape or start.size == 0:
            raise ValueError(f"{start.size} frame starts but {duration.size} durations")
        if not (np.isfinite(start).all() and np.isfinite(duration).all()):
            raise ValueError("frame starts and durations must be finite numbers")
        if (duration <= 0).any():
            frame = int(np.flatnonzero(duration <= 0)[0])
            raise ValueError(f"frame {frame} lasts {duration[frame]:g} s")
        overlap = start[:-1] + duration[:-1] - start[1:]
        if (overlap > _OVERLAP_TOLERANCE_S).any():
            frame = int(np.flatnonzero(overlap > _OVERLAP_TOLERANCE_S)[0])
            raise ValueError(
                f"frame {frame} ends {overlap[frame]:g} s after frame {frame + 1} starts"
            )
        for name, values in (("start_s", start), ("duration_s", duration)):
            values = values.copy()
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return int(self.start_s.size)

    def after_gap(self, longer_than_s: float) -> BoolArray:
        """Frames, (F,), that start later than that after the end of the frame before."""
        gap_s = self.start_s[1:] - self.end_s[:-1]
        return np.concatenate([[False], gap_s > longer_than_s])

    @property
    def end_s(self) -> FloatArray:
        """Frame ends, (F,), seconds."""
        return self.start_s + self.duration_s

    @property
    def mid_s(self) -> FloatArray:
        """Middle of every frame, (F,), seconds."""
        return self.start_s + self.duration_s / 2

    @property
    def start_min(self) -> FloatArray:
        """Frame starts, (F,), minutes."""
        return self.start_s / 60

    @property
    def duration_min(self) -> FloatArray:
        """Frame durations, (F,), minutes."""
        return self.duration_s / 60

    @property
    def end_min(self) -> FloatArray:
        """Frame ends, (F,), minutes."""
        return self.end_s / 60

    @property
    def mid_min(self) -> FloatArray:
        """Middle of every frame, (F,), minutes."""
        return self.mid_s / 60
