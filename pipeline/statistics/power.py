"""Power and sample size of the t tests of a trial."""

from __future__ import annotations

import math
from dataclasses import dataclass

from statsmodels.stats.power import TTestIndPower, TTestPower

ALPHA = 0.05

METHODS = "Power and sample sizes are those of two-sided t tests, from the noncentral t."


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """Subjects that a design needs, not rounded."""

    n_a: float
    n_b: float

    @property
    def total(self) -> float:
        """Subjects of both groups."""
        return self.n_a + self.n_b


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
    return float(TTestIndPower().power(d, n_a, alpha, ratio=n_b / n_a))


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

    Examples
    --------
    The 110 patients of Tiger et al. (2020): dz of the hippocampus, two on ketamine for each on
    placebo.

    >>> round(two_sample_size(0.506, 0.70, ratio=2).total, 1)
    110.4
    """
    n_a = float(TTestIndPower().solve_power(abs(d), alpha=alpha, power=power, ratio=1 / ratio))
    return SampleSize(n_a=n_a, n_b=n_a / ratio)


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
    return float(TTestPower().power(dz, n, alpha))


def paired_size(dz: float, power: float, *, alpha: float = ALPHA) -> float:
    """Pairs for a power of the paired t test, not rounded; the inverse of `paired_power`."""
    return float(TTestPower().solve_power(abs(dz), alpha=alpha, power=power))


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
