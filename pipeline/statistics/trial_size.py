"""Size of a trial that would show a change within one group as a group x time interaction."""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.core.volume import FloatArray
from pipeline.statistics.paired import paired_t
from pipeline.statistics.power import Target, two_sample_size
from pipeline.statistics.result import TestResult

METHODS = (
    "Sample sizes are those of the two-sided t test (noncentral t) of the changes of two groups "
    "that differ by dz of the change within one: the change of the other is taken as zero, and "
    "its standard deviation as the same."
)


def trial_size(
    first: FloatArray, second: FloatArray, target: Target, allocation: tuple[float, float]
) -> TestResult:
    """Subjects of a trial of two groups for the interaction, from the change within one.

    Parameters
    ----------
    first, second : (N,) arrays
        One value per subject of the treated group and session; NaN where missing.
    target : Target
        Level and wanted power of the trial.
    allocation : tuple of float
        Treated subjects, and controls for them.

    Returns
    -------
    TestResult
        `estimate` is the number of subjects in all, not rounded, `statistic` and `effect` are dz.
        The interval of the estimate is that of dz: its upper end is infinite, for no number
        suffices, where dz may be zero.

    Notes
    -----
    An effect that was found in few subjects, or chosen among others, is on average too large, and
    a trial of this size then too small: look at the interval.

    Examples
    --------
    >>> import numpy as np
    >>> pre, post = np.zeros(4), np.array([0.0, 1.0, 2.0, 3.0])
    >>> test = trial_size(pre, post, Target(power=0.7), (1, 1))
    >>> round(test.effect, 3), round(test.estimate, 1)
    (1.162, 20.4)
    """
    paired = paired_t(first, second)
    ratio = allocation[0] / allocation[1]
    test = replace(
        paired.as_result(),
        name="sample size for group x time",
        statistic_name="dz",
        statistic=paired.dz,
        df1=math.nan,
        p=math.nan,
        estimate_name=f"subjects in all, {allocation[0]:g}:{allocation[1]:g}, "
        f"for a power of {target.power:g}",
        estimate=math.nan,
        ci_low=math.nan,
        ci_high=math.nan,
    )
    if test.reason:
        return test

    def total(dz: float) -> float:
        return two_sample_size(dz, target.power, ratio=ratio, alpha=target.alpha).total

    near, far = sorted((paired.dz_low, paired.dz_high), key=abs)
    spans_zero = paired.dz_low <= 0 <= paired.dz_high
    return replace(
        test,
        estimate=total(paired.dz),
        ci_low=total(far),
        ci_high=math.inf if spans_zero else total(near),
    )
