"""Intervals that figures draw: of a mean, and of a fitted line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.result import CONFIDENCE


def mean_interval(values: FloatArray) -> tuple[float, float]:
    r"""95 % confidence interval of a mean, from Student's t.

    .. math::
        \bar x \pm t_{.975,\,n-1}\, s / \sqrt{n}

    Parameters
    ----------
    values : (N,) array
        One value per subject; NaN where missing.

    Returns
    -------
    low, high : float
        NaN with fewer than two values.

    Examples
    --------
    >>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    present = values[np.isfinite(values)]
    if present.size < 2:
        return math.nan, math.nan
    mean = float(present.mean())
    margin = _t(present.size - 1) * float(present.std(ddof=1)) / math.sqrt(present.size)
    return mean - margin, mean + margin


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLine:
    """A least-squares line between the ends of its data, with its pointwise 95 % band."""

    x: FloatArray
    """(P,) places from the smallest x to the largest."""
    y: FloatArray
    """(P,) the line."""
    low: FloatArray
    high: FloatArray
    """(P,) confidence limits of the mean of y at every place."""


def fitted_line(x: FloatArray, y: FloatArray, places: int = 101) -> FittedLine | None:
    r"""Least-squares line of y on x with the confidence band of its mean.

    .. math::
        a + b x \pm t_{.975,\,n-2}\, s \sqrt{\frac{1}{n} + \frac{(x - \bar x)^2}{S_{xx}}}

    Parameters
    ----------
    x, y : (N,) arrays
        One value per subject, same order; NaN where missing.
    places : int
        How many the line is worked out at.

    Returns
    -------
    FittedLine or None
        None with fewer than three pairs, or where x does not vary.

    Examples
    --------
    >>> line = fitted_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), places=3)
    >>> line.y
    array([1., 3., 5.])
    """
    complete = np.isfinite(x) & np.isfinite(y)
    x, y = x[complete], y[complete]
    n = x.size
    if n < 3 or not np.ptp(x) > 0:
        return None
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    residuals = y - y.mean() - slope * centred
    sd = math.sqrt(float(residuals @ residuals) / (n - 2))
    at = np.linspace(x.min(), x.max(), places)
    line = y.mean() + slope * (at - x.mean())
    margin = _t(n - 2) * sd * np.sqrt(1 / n + (at - x.mean()) ** 2 / spread)
    return FittedLine(x=at, y=line, low=line - margin, high=line + margin)


def _t(df: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, df))
