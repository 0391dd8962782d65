"""Two independent groups: Student's and Welch's t, from values or from printed summaries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.assumptions import brown_forsythe, shapiro_wilk
from pipeline.statistics.effect_size import noncentral_t_interval, small_sample_factor
from pipeline.statistics.paired import two_sided_p
from pipeline.statistics.result import CONFIDENCE, TestResult

_EFFECTS = (
    "effects are Hedges' g, intervals from the noncentral t; normality of the residuals was "
    "checked by the Shapiro-Wilk test, equality of variances by the Brown-Forsythe test."
)
METHODS = {
    "student": f"Groups were compared by Student's two-sided t test (equal variances); {_EFFECTS}",
    "welch": f"Groups were compared by Welch's two-sided t test (unequal variances); {_EFFECTS}",
}
"""Test to its sentence."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean, standard deviation (n - 1) and size of a group."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """Summary of finite values, (N,)."""
        mean = float(np.mean(values)) if len(values) else math.nan
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(mean=mean, sd=sd, n=len(values))


def two_sample_t(
    first: FloatArray, second: FloatArray, *, equal_variances: bool = False
) -> TestResult:
    """t test that two independent groups have the same mean, from their values.

    Parameters
    ----------
    first, second : (NA,), (NB,) arrays
        Values of the groups; NaN where missing.
    equal_variances : bool
        Student's test; Welch's otherwise.

    Returns
    -------
    TestResult
        As of `two_sample_t_of_summaries`, with checks of normality of the residuals and of
        equal variances.

    Examples
    --------
    >>> test = two_sample_t(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    >>> round(test.statistic, 4), round(test.df1, 1), test.n
    (1.2247, 4.0, (3, 3))
    """
    groups = [np.asarray(values, float) for values in (first, second)]
    present = [values[np.isfinite(values)] for values in groups]
    test = two_sample_t_of_summaries(
        *(Summary.of(values) for values in present), equal_variances=equal_variances
    )
    missing = sum(values.size for values in groups) - sum(test.n)
    if test.reason:
        return replace(test, n_missing=missing)
    residuals = np.concatenate([values - values.mean() for values in present])
    checks = (shapiro_wilk(residuals, "residuals"), brown_forsythe(*present))
    return replace(test, n_missing=missing, assumptions=checks)


def two_sample_t_of_summaries(
    first: Summary, second: Summary, *, equal_variances: bool = False
) -> TestResult:
    r"""t test that two independent groups have the same mean, from mean, SD and n.

    .. math::
        t = \frac{\bar x_1 - \bar x_2}{SE}, \qquad
        SE^2 = \frac{s_1^2}{n_1} + \frac{s_2^2}{n_2}
        \quad\text{or}\quad s_p^2 \left(\frac{1}{n_1} + \frac{1}{n_2}\right), \qquad
        g = J(df) \, \frac{\bar x_1 - \bar x_2}{s}

    Parameters
    ----------
    first, second : Summary
        The groups.
    equal_variances : bool
        Student's test with the pooled SD; otherwise Welch's, with Satterthwaite's degrees of
        freedom.

    Returns
    -------
    TestResult
        `estimate` is first minus second, `effect` is Hedges' g. With fewer than two subjects in
        a group, or no variance, what cannot be computed is NaN and `reason` says why.

    Notes
    -----
    g divides by the pooled SD :math:`s_p` for Student's test, and for Welch's by
    :math:`\sqrt{(s_1^2 + s_2^2) / 2}`. Its interval is that of the noncentrality of t, in the
    unit of g; it is exact for Student's test.

    References
    ----------
    .. [1] Welch BL (1947). Biometrika 34:28-35.
    .. [2] Delacre M, et al. (2021). PsyArXiv, doi 10.31234/osf.io/tu6mp.

    Examples
    --------
    >>> sick, well = Summary(mean=30.0, sd=5.0, n=20), Summary(mean=26.0, sd=5.0, n=10)
    >>> test = two_sample_t_of_summaries(sick, well, equal_variances=True)
    >>> round(test.statistic, 3), test.df1
    (2.066, 28.0)
    """
    name = "Student's t" if equal_variances else "Welch's t"
    test = TestResult(
        name=f"{name} of two groups",
        n=(first.n, second.n),
        statistic_name="t",
        estimate_name="first minus second mean",
        estimate=first.mean - second.mean,
        effect_name="Hedges' g",
    )
    if min(test.n) < 2:
        return replace(
            test, reason=f"{first.n} and {second.n} subjects; two in each group are needed"
        )
    if not math.hypot(first.sd, second.sd) > 1e-12 * max(abs(first.mean), abs(second.mean)):
        return replace(test, reason="the values do not vary")
    return _with_figures(test, first, second, equal_variances)


def _with_figures(
    test: TestResult, first: Summary, second: Summary, equal_variances: bool
) -> TestResult:
    share_1, share_2 = first.sd**2 / first.n, second.sd**2 / second.n
    if equal_variances:
        df = float(first.n + second.n - 2)
        squares = (first.n - 1) * first.sd**2 + (second.n - 1) * second.sd**2
        sd = math.sqrt(squares / df)
        standard_error = sd * math.sqrt(1 / first.n + 1 / second.n)
    else:
        spread = share_1**2 / (first.n - 1) + share_2**2 / (second.n - 1)
        df = (share_1 + share_2) ** 2 / spread
        sd = math.sqrt((first.sd**2 + second.sd**2) / 2)
        standard_error = math.sqrt(share_1 + share_2)
    t = test.estimate / standard_error
    margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, df)) * standard_error
    low, high = noncentral_t_interval(t, df)
    g_of_t = small_sample_factor(df) * standard_error / sd
    return replace(
        test,
        statistic=t,
        df1=df,
        p=two_sided_p(t, df),
        ci_low=test.estimate - margin,
        ci_high=test.estimate + margin,
        effect=g_of_t * t,
        effect_low=g_of_t * low,
        effect_high=g_of_t * high,
    )
