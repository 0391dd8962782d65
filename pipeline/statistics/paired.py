"""Paired comparison of two sessions: Student's t on differences, with its effect size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.assumptions import does_not_vary, shapiro_wilk
from pipeline.statistics.effect_size import noncentral_t_interval
from pipeline.statistics.result import CONFIDENCE, Assumption, TestResult

METHODS = (
    "Sessions were compared by the two-sided paired t test over subjects with both sessions; "
    "effects are Cohen's dz, intervals from the noncentral t; normality of the differences was "
    "checked by the Shapiro-Wilk test."
)

_MIN_PAIRS = 2


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Paired t test of second minus first; NaN where it cannot be computed, and then why."""

    n: int
    """Complete pairs."""
    n_missing: int
    """Pairs left out because one value or both are missing."""
    mean_first: float = math.nan
    mean_second: float = math.nan
    mean_difference: float = math.nan
    """Mean of second minus first, in the unit of the data."""
    sd_difference: float = math.nan
    """Standard deviation of the differences (n - 1)."""
    ci_low: float = math.nan
    """Lower end of the 95 % confidence interval of the mean difference."""
    ci_high: float = math.nan
    percent_change: float = math.nan
    """Mean difference in per cent of the first mean."""
    t: float = math.nan
    df: int = 0
    p: float = math.nan
    """Two-sided, not corrected for the number of regions."""
    dz: float = math.nan
    """Cohen's dz: mean difference over the standard deviation of the differences."""
    dz_low: float = math.nan
    """Lower end of the 95 % confidence interval of dz, from the noncentral t."""
    dz_high: float = math.nan
    shapiro_w: float = math.nan
    """Shapiro-Wilk W of the differences; needs three pairs."""
    shapiro_p: float = math.nan
    reason: str = ""
    """Why the test is missing; empty where it is there."""

    def as_result(self) -> TestResult:
        """The same in the words that all tests share."""
        normality = Assumption(
            name="Shapiro-Wilk of the differences", statistic=self.shapiro_w, p=self.shapiro_p
        )
        return TestResult(
            name="paired t",
            n=(self.n,),
            n_missing=self.n_missing,
            statistic_name="t",
            statistic=self.t,
            df1=math.nan if self.reason else float(self.df),
            p=self.p,
            estimate_name="mean of second minus first",
            estimate=self.mean_difference,
            ci_low=self.ci_low,
            ci_high=self.ci_high,
            effect_name="dz",
            effect=self.dz,
            effect_low=self.dz_low,
            effect_high=self.dz_high,
            assumptions=() if self.reason else (normality,),
            reason=self.reason,
        )


def paired_t(first: FloatArray, second: FloatArray) -> PairedTest:
    r"""Student's t test that paired values do not differ.

    .. math::
        t = \frac{\bar d}{s_d / \sqrt{n}}, \qquad d = second - first, \qquad df = n - 1

    Parameters
    ----------
    first, second : (N,) arrays
        One value per subject and session, same order; NaN where missing.

    Returns
    -------
    PairedTest
        Over complete pairs. With fewer than two, or with differences that do not vary, what
        cannot be computed is NaN and `reason` says why.

    Raises
    ------
    ValueError
        If the arrays differ in shape or are not one-dimensional.

    Examples
    --------
    >>> test = paired_t(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0]))
    >>> test.n, test.df, round(test.t, 4)
    (3, 2, 1.7321)
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"pairs expected, not shapes {first.shape} and {second.shape}")
    complete = np.isfinite(first) & np.isfinite(second)
    n, n_missing = int(complete.sum()), int((~complete).sum())
    if n == 0:
        return PairedTest(n=0, n_missing=n_missing, reason="no complete pair")
    mean_first, mean_second = float(first[complete].mean()), float(second[complete].mean())
    difference = second[complete] - first[complete]
    mean = float(difference.mean())
    described = PairedTest(
        n=n,
        n_missing=n_missing,
        mean_first=mean_first,
        mean_second=mean_second,
        mean_difference=mean,
        percent_change=100 * mean / mean_first if mean_first else math.nan,
    )
    if n < _MIN_PAIRS:
        return replace(described, reason="one complete pair; two are needed")
    if does_not_vary(difference):
        return replace(described, reason="the differences do not vary")
    return _with_test(described, difference)


def _with_test(described: PairedTest, difference: FloatArray) -> PairedTest:
    n, mean, sd = described.n, described.mean_difference, float(difference.std(ddof=1))
    t = mean / (sd / math.sqrt(n))
    margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * sd / math.sqrt(n)
    dz_low, dz_high = (end / math.sqrt(n) for end in noncentral_t_interval(t, n - 1))
    normality = shapiro_wilk(difference)
    return replace(
        described,
        sd_difference=sd,
        ci_low=mean - margin,
        ci_high=mean + margin,
        t=t,
        df=n - 1,
        p=two_sided_p(t, n - 1),
        dz=mean / sd,
        dz_low=dz_low,
        dz_high=dz_high,
        shapiro_w=normality.statistic,
        shapiro_p=normality.p,
    )


def two_sided_p(t: float, df: float) -> float:
    """Probability of a Student t at least as far from zero.

    Examples
    --------
    The hippocampus of Tiger et al. (2020), Table 2:

    >>> round(two_sided_p(-2.263, 19), 4)
    0.0355
    """
    return float(2 * stats.t.sf(abs(t), df))
