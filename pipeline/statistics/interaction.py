"""Group x time interaction of a 2x2 mixed design, from the change of every subject."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.volume import FloatArray
from pipeline.statistics.assumptions import does_not_vary
from pipeline.statistics.effect_size import partial_eta2_interval
from pipeline.statistics.result import Assumption, TestResult
from pipeline.statistics.two_sample import two_sample_t

METHODS = (
    "Group x time interaction was tested in a 2 x 2 mixed analysis of variance, whose F equals "
    "the squared equal-variance t of the change scores (Huck & McLean 1975); effects are partial "
    "eta squared, intervals from the noncentral F; normality of the residuals was checked by the "
    "Shapiro-Wilk test, equality of variances by the Brown-Forsythe test."
)

_MIN_PER_GROUP = 2


@dataclass(frozen=True, kw_only=True)
class InteractionTest:
    """Interaction of two groups and two sessions; NaN where it cannot be computed, and why."""

    n_a: int
    """Subjects of the first group with both sessions."""
    n_b: int
    n_missing: int
    """Subjects of either group left out because their change is missing."""
    mean_change_a: float = math.nan
    mean_change_b: float = math.nan
    difference: float = math.nan
    """Mean change of the first group minus that of the second."""
    ci_low: float = math.nan
    """Lower end of the 95 % confidence interval of the difference."""
    ci_high: float = math.nan
    f: float = math.nan
    df_effect: int = 0
    df_error: int = 0
    p: float = math.nan
    """Not corrected for the number of regions."""
    partial_eta2: float = math.nan
    """Share of the variance of change within reach that the groups explain."""
    partial_eta2_low: float = math.nan
    """Lower end of its 95 % confidence interval, from the noncentral F."""
    partial_eta2_high: float = math.nan
    hedges_g: float = math.nan
    """Standardised difference of the changes, corrected for small samples."""
    hedges_g_low: float = math.nan
    """Lower end of its 95 % confidence interval, from the noncentral t."""
    hedges_g_high: float = math.nan
    shapiro_w: float = math.nan
    """Shapiro-Wilk W of the changes about the mean of their group."""
    shapiro_p: float = math.nan
    brown_forsythe_f: float = math.nan
    """F of the distances of the changes from the median of their group."""
    brown_forsythe_p: float = math.nan
    reason: str = ""
    """Why the test is missing; empty where it is there."""

    def as_result(self) -> TestResult:
        """The same in the words that all tests share; the effect is partial eta squared."""
        checks = (
            Assumption(
                name="Shapiro-Wilk of the residuals", statistic=self.shapiro_w, p=self.shapiro_p
            ),
            Assumption(
                name="Brown-Forsythe of the variances",
                statistic=self.brown_forsythe_f,
                p=self.brown_forsythe_p,
            ),
        )
        return TestResult(
            name="group x time",
            n=(self.n_a, self.n_b),
            n_missing=self.n_missing,
            statistic_name="F",
            statistic=self.f,
            df1=math.nan if self.reason else float(self.df_effect),
            df2=math.nan if self.reason else float(self.df_error),
            p=self.p,
            estimate_name="change of the first group minus that of the second",
            estimate=self.difference,
            ci_low=self.ci_low,
            ci_high=self.ci_high,
            effect_name="partial eta squared",
            effect=self.partial_eta2,
            effect_low=self.partial_eta2_low,
            effect_high=self.partial_eta2_high,
            assumptions=() if self.reason else checks,
            reason=self.reason,
        )


def group_by_time(change_a: FloatArray, change_b: FloatArray) -> InteractionTest:
    r"""F test that two groups change alike between two sessions.

    With two sessions, the interaction of the mixed analysis of variance is the square of
    Student's two-sample t (equal variances) on the change scores [1]_:

    .. math::
        F_{1,\,n-2} = t^2, \qquad \eta_p^2 = \frac{F}{F + n - 2}

    Parameters
    ----------
    change_a, change_b : (NA,), (NB,) arrays
        Second minus first session of every subject of each group; NaN where missing.

    Returns
    -------
    InteractionTest
        With fewer than two subjects in a group, or changes that do not vary, what cannot be
        computed is NaN and `reason` says why.

    Notes
    -----
    Unequal group sizes are exact here: the interaction has one degree of freedom, and all types
    of sums of squares agree on it.

    References
    ----------
    .. [1] Huck SW, McLean RA (1975). Psychological Bulletin 82:511-518.

    Examples
    --------
    >>> test = group_by_time(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    >>> round(test.f, 3), test.df_effect, test.df_error
    (1.5, 1, 4)
    """
    a, b = np.asarray(change_a, float), np.asarray(change_b, float)
    present_a, present_b = a[np.isfinite(a)], b[np.isfinite(b)]
    n_a, n_b = present_a.size, present_b.size
    n_missing = a.size + b.size - n_a - n_b
    mean_a = float(present_a.mean()) if n_a else math.nan
    mean_b = float(present_b.mean()) if n_b else math.nan
    known = InteractionTest(
        n_a=n_a,
        n_b=n_b,
        n_missing=n_missing,
        mean_change_a=mean_a,
        mean_change_b=mean_b,
        difference=mean_a - mean_b,
        reason=_obstacle(present_a, present_b),
    )
    return known if known.reason else _with_test(known, present_a, present_b)


def _obstacle(a: FloatArray, b: FloatArray) -> str:
    if min(a.size, b.size) < _MIN_PER_GROUP:
        return f"{a.size} and {b.size} subjects with both sessions; two in each group are needed"
    if does_not_vary(a) and does_not_vary(b):
        return "the changes do not vary"
    return ""


def _with_test(known: InteractionTest, a: FloatArray, b: FloatArray) -> InteractionTest:
    student = two_sample_t(a, b, equal_variances=True)
    df = a.size + b.size - 2
    f = student.statistic**2
    eta2_low, eta2_high = partial_eta2_interval(f, 1, df)
    normality, variances = student.assumptions
    return replace(
        known,
        ci_low=student.ci_low,
        ci_high=student.ci_high,
        f=f,
        df_effect=1,
        df_error=df,
        p=student.p,
        partial_eta2=f / (f + df),
        partial_eta2_low=eta2_low,
        partial_eta2_high=eta2_high,
        hedges_g=student.effect,
        hedges_g_low=student.effect_low,
        hedges_g_high=student.effect_high,
        shapiro_w=normality.statistic,
        shapiro_p=normality.p,
        brown_forsythe_f=variances.statistic,
        brown_forsythe_p=variances.p,
    )
