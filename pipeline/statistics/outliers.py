"""Values far from the rest: listed for a person to look at, never removed."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pipeline.core.volume import BoolArray, FloatArray

THRESHOLD = 3.5
"""Modified z above which a value is listed (Iglewicz & Hoaglin 1993)."""

FEWEST = 5
"""Values that it takes to say that one of them lies far from the rest."""

METHODS = (
    f"Values whose modified z, from median and median absolute deviation, exceeds {THRESHOLD} "
    f"among {FEWEST} or more are listed; none was left out for it."
)


def modified_z(values: FloatArray) -> FloatArray:
    r"""Distance of every value from the median, in robust standard deviations.

    .. math::
        z_i = \frac{0.6745 \, (x_i - \tilde x)}{\operatorname{median} |x_j - \tilde x|}

    Parameters
    ----------
    values : (N,) array
        NaN where missing.

    Returns
    -------
    (N,) array
        NaN where the value is missing, and everywhere if more than half of them are equal.

    References
    ----------
    .. [1] Iglewicz B, Hoaglin DC (1993). How to Detect and Handle Outliers. ASQC, Milwaukee.

    Examples
    --------
    >>> modified_z(np.array([1.0, 2.0, 3.0, 4.0, 50.0])).round(2)
    array([-1.35, -0.67,  0.  ,  0.67, 31.7 ])
    """
    values = np.asarray(values, float)
    present = values[np.isfinite(values)]
    if not present.size:
        return np.full(values.shape, np.nan)
    median = np.median(present)
    spread = float(stats.median_abs_deviation(present, scale="normal"))
    if spread <= 1e-12 * np.abs(present).max():
        return np.full(values.shape, np.nan)
    return np.asarray((np.where(np.isfinite(values), values, np.nan) - median) / spread)


def is_outlier(values: FloatArray, threshold: float = THRESHOLD) -> BoolArray:
    """Whether the modified z of every value, (N,), exceeds a threshold.

    False where it is NaN, and everywhere if there are fewer values than `FEWEST`.
    """
    far = np.asarray(np.abs(modified_z(values)) > threshold)
    return far & bool(np.isfinite(np.asarray(values, float)).sum() >= FEWEST)
