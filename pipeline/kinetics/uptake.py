"""Uptake of a region over a stretch of the scan, and by the dose that was given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.suvr import window_shares

_BQ_PER_KBQ = 1e3
_BQ_PER_MBQ = 1e6
_ML_PER_L = 1e3


@dataclass(frozen=True)
class WindowMean:
    """Mean of a curve over the frames of a window; NaN where there are none."""

    mean: float
    """By duration, unit of the curve."""
    start_s: float
    """Start of its first frame, after injection."""
    end_s: float
    """End of its last frame."""


def window_mean(
    tac: FloatArray, timing: FrameTiming, start_min: float, end_min: float
) -> WindowMean:
    """Mean of a curve (F,) over the frames wholly inside a window, by duration.

    A frame without a value leaves the window without one.

    Examples
    --------
    >>> timing = FrameTiming(np.array([0.0, 60.0, 120.0]), np.array([60.0, 60.0, 120.0]))
    >>> window_mean(np.array([9.0, 3.0, 6.0]), timing, 1, 4)
    WindowMean(mean=5.0, start_s=60.0, end_s=240.0)
    """
    try:
        shares = window_shares(timing, np.ones(len(timing)), start_min, end_min)
    except ValueError:
        return WindowMean(np.nan, np.nan, np.nan)
    used = shares > 0
    mean = float(shares[used] @ np.asarray(tac, float)[used])
    return WindowMean(mean, float(timing.start_s[used][0]), float(timing.end_s[used][-1]))


def suv_per_bqml(injected_mbq: float | None, body_weight_kg: float | None) -> float:
    """SUV, g/mL, of 1 Bq/mL; NaN where activity or weight are not known.

    Examples
    --------
    >>> 4000 * suv_per_bqml(400, 80)
    0.8
    """
    if not injected_mbq or body_weight_kg is None:
        return float("nan")
    return body_weight_kg / injected_mbq / _BQ_PER_KBQ


def percent_per_litre(injected_mbq: float | None) -> float:
    """Per cent of the injected activity in a litre, of 1 Bq/mL; NaN where it is not known.

    Examples
    --------
    >>> round(4000 * percent_per_litre(400), 12)
    1.0
    """
    if not injected_mbq:
        return float("nan")
    return 100 * _ML_PER_L / (injected_mbq * _BQ_PER_MBQ)
