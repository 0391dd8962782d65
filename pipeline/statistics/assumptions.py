"""Checks of normality and of equal variances."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.result import Assumption

_MIN_SHAPIRO = 3


def does_not_vary(values: FloatArray) -> bool:
    """Whether the spread of values is nothing but rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0.0))


def shapiro_wilk(values: FloatArray, of: str = "differences") -> Assumption:
    """Shapiro-Wilk test that values come from a normal distribution.

    Parameters
    ----------
    values : (N,) array
        Finite differences or residuals.
    of : str
        What they are, for the name.

    Returns
    -------
    Assumption
        NaN with fewer than three values, or where they do not vary.

    References
    ----------
    .. [1] Shapiro SS, Wilk MB (1965). Biometrika 52:591-611.
    """
    name = f"Shapiro-Wilk of the {of}"
    values = np.asarray(values, float)
    if values.size < _MIN_SHAPIRO or does_not_vary(values):
        return Assumption(name=name)
    found = stats.shapiro(values)
    return Assumption(name=name, statistic=float(found.statistic), p=float(found.pvalue))


def brown_forsythe(*groups: FloatArray) -> Assumption:
    """Levene's test about medians that groups have the same variance.

    Parameters
    ----------
    *groups : (N,) arrays
        Finite values of each group.

    Returns
    -------
    Assumption
        NaN with fewer than two groups, two values in one, or where none varies.

    References
    ----------
    .. [1] Brown MB, Forsythe AB (1974). J Am Stat Assoc 69:364-367.
    """
    name = "Brown-Forsythe of the variances"
    few = len(groups) < 2 or min(len(group) for group in groups) < 2
    if few or all(does_not_vary(np.asarray(group, float)) for group in groups):
        return Assumption(name=name)
    distances = [np.abs(group - np.median(group)) for group in groups]
    # groups of two, or evenly spread, lie at one distance from their median: F is not defined
    if all(does_not_vary(distance) for distance in distances):
        return Assumption(name=name)
    found = stats.levene(*groups, center="median")
    return Assumption(name=name, statistic=float(found.statistic), p=float(found.pvalue))
