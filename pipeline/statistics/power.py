"""Power and sample size of the t tests of a trial, and of the correlation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq

ALPHA = 0.05
POWER = 0.8

_MOST = 1e9
_MIN_PER_GROUP = 2.0
_MIN_PAIRS = 4.0  # Fisher's z divides by n - 3


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a test is wanted to reach."""

    alpha: float = ALPHA
    """Two-sided level."""
    power: float = POWER
    """More than alpha."""


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """Subjects that a design needs, not rounded."""

    n_a: float
    n_b: float

    @property
    def total(self) -> float:
        """Subjects of both groups."""
        return self.n_a + self.n_b


def t_power(noncentrality: float, df: float, *, alpha: float = ALPHA) -> float:
    """Probability that a noncentral t lies beyond the critical values of a two-sided test."""
    shift, critical = abs(noncentrality), float(stats.t.isf(alpha / 2, df))
    near, far = stats.nct.sf(critical, df, shift), stats.nct.cdf(-critical, df, shift)
    # SciPy gives no far tail where hardly anything is in it
    return float(near + np.nan_to_num(far))


def two_sample_power(d: float, n_a: float, n_b: float, *, alpha: float = ALPHA) -> float:
    r"""Power of Student's t test of two independent groups.

    .. math::
        P\left(|T_{df,\,\delta}| > t_{1-\alpha/2,\,df}\right), \qquad
        \delta = \frac{d}{\sqrt{1/n_a + 1/n_b}}, \qquad df = n_a + n_b - 2

    Parameters
    ----------
    d : float
        Difference of the means in standard deviations.
    n_a, n_b : float
        Subjects per group.
    alpha : float
        Two-sided level.

    References
    ----------
    .. [1] Cohen J (1988). Statistical Power Analysis for the Behavioral Sciences, 2nd ed.

    Examples
    --------
    >>> round(two_sample_power(0.506, 20, 10), 2)
    0.24
    """
    return t_power(d / math.sqrt(1 / n_a + 1 / n_b), n_a + n_b - 2, alpha=alpha)


def two_sample_size(
    d: float, power: float, *, ratio: float = 1.0, alpha: float = ALPHA
) -> SampleSize:
    """Subjects for a power of Student's t test of two groups; the inverse of `two_sample_power`.

    Parameters
    ----------
    d : float
        Difference of the means in standard deviations, not zero.
    power : float
        Wanted power, between alpha and 1.
    ratio : float
        Subjects of the first group per subject of the second.
    alpha : float
        Two-sided level.

    Returns
    -------
    SampleSize
        Two in the smaller group at least; NaN above a thousand million.

    Examples
    --------
    The 110 patients of Tiger et al. (2020): dz of the hippocampus, two on ketamine for each on
    placebo.

    >>> round(two_sample_size(0.506, 0.70, ratio=2).total, 1)
    110.4
    """
    n_b = subjects_for(
        lambda n: two_sample_power(d, ratio * n, n, alpha=alpha),
        _MIN_PER_GROUP / min(ratio, 1.0),
        power,
    )
    return SampleSize(n_a=ratio * n_b, n_b=n_b)


def paired_power(dz: float, n: float, *, alpha: float = ALPHA) -> float:
    """Power of the paired t test of `n` pairs, whose noncentrality is dz times the root of n.

    Parameters
    ----------
    dz : float
        Mean difference in standard deviations of the differences.
    n : float
        Pairs.
    alpha : float
        Two-sided level.
    """
    return t_power(dz * math.sqrt(n), n - 1, alpha=alpha)


def paired_size(dz: float, power: float, *, alpha: float = ALPHA) -> float:
    """Pairs for a power of the paired t test, not rounded; the inverse of `paired_power`."""
    return subjects_for(lambda n: paired_power(dz, n, alpha=alpha), _MIN_PER_GROUP, power)


def correlation_power(r: float, n: float, *, alpha: float = ALPHA) -> float:
    r"""Power to tell Pearson's correlation of `n` pairs from zero, by Fisher's z.

    .. math::
        P\left(|Z + \sqrt{n - 3}\,\operatorname{artanh} r| > z_{1-\alpha/2}\right)

    Parameters
    ----------
    r : float
        Correlation, between -1 and 1.
    n : float
        Pairs, more than three.
    alpha : float
        Two-sided level.

    References
    ----------
    .. [1] Cohen J (1988). Statistical Power Analysis for the Behavioral Sciences, 2nd ed.

    Examples
    --------
    >>> round(correlation_power(-0.426, 30), 2)
    0.66
    """
    shift, critical = math.sqrt(n - 3) * math.atanh(r), stats.norm.isf(alpha / 2)
    return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))


def correlation_size(r: float, power: float, *, alpha: float = ALPHA) -> float:
    """Pairs for a power to tell a correlation from zero; the inverse of `correlation_power`."""
    return subjects_for(lambda n: correlation_power(r, n, alpha=alpha), _MIN_PAIRS, power)


def subjects_for(power_at: Callable[[float], float], least: float, power: float) -> float:
    """Smallest number of subjects, not rounded, for a power that grows with them.

    Parameters
    ----------
    power_at : callable
        Power of a number of subjects.
    least : float
        Fewest that can be tested.
    power : float
        Wanted power.

    Returns
    -------
    float
        NaN where a thousand million do not reach it, as without an effect.
    """
    if power_at(least) >= power:
        return least
    low, high = least, 2 * least
    while power_at(high) < power:
        low, high = high, 2 * high
        if high > _MOST:
            return math.nan
    return float(brentq(lambda n: power_at(n) - power, low, high, xtol=1e-9, rtol=1e-12))


def interaction_d(change_a: float, change_b: float, sd: float, correlation: float) -> float:
    r"""Effect of a group x time interaction as the d of `two_sample_power`.

    .. math::
        d = \frac{\Delta_a - \Delta_b}{\sigma \sqrt{2 (1 - \rho)}}

    The interaction of two groups and two sessions is the t test of the change, so its power and
    size are those of two groups with this d.

    Parameters
    ----------
    change_a, change_b : float
        Mean change of each group.
    sd : float
        Standard deviation between subjects, the same in both sessions; unit of the changes.
    correlation : float
        Of the two sessions within subjects, less than 1.

    Examples
    --------
    >>> round(interaction_d(0.08, 0.0, sd=0.204, correlation=0.70), 2)
    0.51
    """
    return (change_a - change_b) / (sd * math.sqrt(2 * (1 - correlation)))
