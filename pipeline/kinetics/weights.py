"""Frame weights: inverse variances of squared residuals."""

from __future__ import annotations

import numpy as np

from pipeline.core.decay import frame_decay_factors
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray

_FLOOR_SHARE = 0.3
"""On published scans the error of BPND is least with this, and grows where it is small."""


def inverse_variance_weights(
    tac: FloatArray, timing: FrameTiming, decay_constant_per_s: float
) -> FloatArray:
    r"""Weights of the count model for decay-corrected frames, mean one.

    Counts in a frame are Poisson: with the mean activity :math:`C`, decay factor :math:`f` and
    duration :math:`D` the variance of the decay-corrected mean goes with :math:`f C / D`.

    Parameters
    ----------
    tac : (F,) array
        Decay-corrected curve of a large region of the same scan, for one set of weights per scan.
    timing : FrameTiming
        The F frames.
    decay_constant_per_s : float
        Of the radionuclide, 1/s.

    Returns
    -------
    (F,) array
        Weights; zero for frames that end before the injection.

    Notes
    -----
    Activities below a third of the largest are raised to it: the first frames hold next to no
    activity, not next to no variance, and their weight must not exceed that of full ones.
    """
    tac = np.asarray(tac, float)
    largest = np.nanmax(tac, initial=0.0)
    if not largest > 0:
        raise ValueError("weights need a curve with activity; this one has none")
    activity = np.maximum(np.nan_to_num(tac, nan=0.0), _FLOOR_SHARE * largest)
    weights = timing.duration_s / (activity * frame_decay_factors(timing, decay_constant_per_s))
    weights = np.where(timing.end_s > 0, weights, 0.0)
    return np.asarray(weights / weights[weights > 0].mean())
