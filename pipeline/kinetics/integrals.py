"""Running integrals of curves that are known as frame means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import BoolArray, FloatArray
from pipeline.kinetics.convolution import ReferenceCurve

_ROUNDING_S = 0.01
"""Starts of frames are written with rounding errors."""


def running_integral(timing: FrameTiming, weights: FloatArray) -> FloatArray:
    r"""Operator from frame means to their integral from injection to every mid-frame.

    A frame adds its mean times its duration, which is exact; the frame itself adds half of
    that. What no frame with weight covers is bridged: between frames by a line from middle to
    middle, before the first one by a line from zero at the injection, after the last one level.

    Parameters
    ----------
    timing : FrameTiming
        The F frames. One that straddles the injection has all its activity after it.
    weights : (F,) array
        Frames with weight 0 are bridged: their columns are zero.

    Returns
    -------
    (F, F) array
        Integrals of (V, F) curves are ``curves @ operator.T``, in their unit times minutes.
        Values in frames without weight must be finite; they then do not matter.

    Examples
    --------
    >>> timing = FrameTiming(np.array([0.0, 60.0, 120.0]), np.array([60.0, 60.0, 60.0]))
    >>> running_integral(timing, np.ones(3)) @ np.array([2.0, 4.0, 6.0])
    array([1., 4., 9.])
    """
    start = np.maximum(timing.start_min, 0.0)
    end = np.maximum(timing.end_min, 0.0)
    mid = (start + end) / 2
    frames = np.flatnonzero((np.asarray(weights) > 0) & (timing.end_min > 0))
    operator = np.zeros((len(timing), len(timing)))
    if frames.size == 0:
        return operator
    covered = (mid[:, None] - start[frames]) / (end - start)[frames]
    operator[:, frames] = np.clip(covered, 0, 1) * timing.duration_min[frames]
    # gaps: before the first frame, between frames, after the last
    opens = np.append(0.0, end[frames])
    closes = np.maximum(np.append(start[frames], np.inf), opens)
    knots = np.append(0.0, mid[frames])
    upper = np.clip(mid[:, None], opens, closes)
    length = upper - opens
    # the mean of a line over an interval is its value in the middle
    share = ((opens + upper) / 2 - knots)[:, :-1] / np.diff(knots)
    operator[:, frames] += length[:, :-1] * share
    operator[:, frames[:-1]] += length[:, 1:-1] * (1 - share[:, 1:])
    operator[:, frames[-1]] += length[:, -1]
    return operator


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceIntegrals:
    """The reference side of the models that are linear in running integrals."""

    ref: FloatArray
    """(F,), frames without weight bridged."""
    integral: FloatArray
    """(F,) of the reference to mid-frame, in its unit times minutes."""
    operator: FloatArray
    """(F, F) of `running_integral`."""
    weights: FloatArray
    """(F,)"""
    start_min: FloatArray
    """(F,) starts of the frames, minutes, not before the injection."""

    @classmethod
    def of(cls, ref: FloatArray, timing: FrameTiming, weights: FloatArray) -> ReferenceIntegrals:
        """Integrals of a reference curve (F,).

        Raises
        ------
        ValueError
            If it is not finite in a frame with weight, or no frame after injection has weight.
        """
        ref = np.asarray(ref, float)
        weights = np.where(timing.end_min > 0, np.asarray(weights, float), 0.0)
        used = weights > 0
        if not np.isfinite(ref[used]).all():
            raise ValueError("the reference curve is not finite in a frame with weight")
        bridged = ReferenceCurve(np.where(used, ref, np.nan), timing).frame_means()
        ref = np.where(used, ref, bridged)
        operator = running_integral(timing, weights)
        return cls(
            ref=ref,
            integral=operator @ ref,
            operator=operator,
            weights=weights,
            start_min=np.maximum(timing.start_min, 0.0),
        )

    def of_curves(self, tacs: FloatArray) -> FloatArray:
        """Integrals of curves (V, F) to mid-frame, (V, F)."""
        return np.asarray(tacs @ self.operator.T)

    def from_start(self, tstar_min: float, free: int) -> FloatArray:
        """Weights (F,) with those of frames that start before a time set to zero.

        Parameters
        ----------
        tstar_min : float
            Minutes after injection.
        free : int
            Parameters of the model.

        Raises
        ------
        ValueError
            If this leaves no more frames than parameters of a scan that has more.
        """
        late = np.where(self.before(tstar_min), 0.0, self.weights)
        left = np.count_nonzero(late)
        if left <= free < np.count_nonzero(self.weights):
            raise ValueError(
                f"tstar_min = {tstar_min:g} min leaves {left} frames for {free} parameters; "
                "lower it"
            )
        return late

    def before(self, tstar_min: float) -> BoolArray:
        """Which frames (F,) start before a time, minutes after injection."""
        return np.asarray(self.start_min < tstar_min - _ROUNDING_S / 60)

    def with_delay(self, k2prime_per_min: float) -> FloatArray:
        """Integral of the reference plus reference by k2prime, (F,); 0 leaves the latter out."""
        if k2prime_per_min == 0:
            return self.integral
        return np.asarray(self.integral + self.ref / k2prime_per_min)
