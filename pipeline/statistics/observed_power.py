"""Power of a test for the effect that it found, and subjects that would find it.

Of one test, this power is a function of p and the number of subjects: no evidence beyond them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from pipeline.core.volume import FloatArray, IntArray
from pipeline.statistics.power import (
    Target,
    correlation_power,
    correlation_size,
    paired_power,
    paired_size,
    subjects_for,
    t_power,
    two_sample_power,
    two_sample_size,
)
from pipeline.statistics.result import TestResult
from pipeline.statistics.two_sample import Summary, two_sample_t_of_summaries

METHODS = {
    "t": "Power for the observed effect is that of the two-sided t test, from the noncentral t.",
    "welch": "Power of Welch's test is approximate: that of the noncentral t with "
    "Satterthwaite's degrees of freedom.",
    "pearson": "Power for the observed correlation is approximate, by Fisher's z.",
    "fisher": "Power for the observed proportions is that of all tables there could be.",
}
"""What it is of to its sentence."""

_MOST_SUBJECTS = 2000
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, kw_only=True)
class ObservedPower:
    """Of one test; NaN where it is not defined."""

    power: float = math.nan
    """For the observed effect."""
    n: float = math.nan
    """Subjects in all, at the present ratio of the groups, for the wanted power."""


def of_paired(test: TestResult, target: Target) -> ObservedPower:
    """Power of the paired t test for its dz, from the noncentral t; `n` is not rounded."""
    if test.reason:
        return ObservedPower()
    return ObservedPower(
        power=paired_power(test.effect, test.n[0], alpha=target.alpha),
        n=paired_size(test.effect, target.power, alpha=target.alpha),
    )


def of_students_t(t: float, n: tuple[int, ...], target: Target) -> ObservedPower:
    r"""Power of Student's t of two groups for the observed difference; `n` is not rounded.

    Also that of the interaction of two groups and two sessions, whose F is the square of the t of
    the changes.

    .. math::
        d = t \sqrt{1/n_a + 1/n_b}
    """
    if not math.isfinite(t):
        return ObservedPower()
    n_a, n_b = n
    d = t * math.sqrt(1 / n_a + 1 / n_b)
    size = two_sample_size(d, target.power, ratio=n_a / n_b, alpha=target.alpha)
    return ObservedPower(power=two_sample_power(d, n_a, n_b, alpha=target.alpha), n=size.total)


def of_welchs_t(first: FloatArray, second: FloatArray, target: Target) -> ObservedPower:
    r"""Power of Welch's t for the observed means and variances; `n` is not rounded.

    With :math:`\delta = (\bar x_1 - \bar x_2) / \sqrt{s_1^2 / n_1 + s_2^2 / n_2}` taken as the
    noncentrality of a t with Satterthwaite's degrees of freedom: an approximation, close from some
    five subjects a group.

    Parameters
    ----------
    first, second : (NA,), (NB,) arrays
        Values of the groups; NaN where missing.
    target : Target
        Level and wanted power.
    """
    a, b = (Summary.of(values[np.isfinite(values)]) for values in (first, second))
    if two_sample_t_of_summaries(a, b).reason:
        return ObservedPower()
    present = a.n + b.n

    def power_of(total: float) -> float:
        n = a.n * total / present, b.n * total / present
        shares = a.sd**2 / n[0], b.sd**2 / n[1]
        spread = shares[0] ** 2 / (n[0] - 1) + shares[1] ** 2 / (n[1] - 1)
        nc, df = (a.mean - b.mean) / math.sqrt(sum(shares)), sum(shares) ** 2 / spread
        return t_power(nc, df, alpha=target.alpha)

    least = 2 * present / min(a.n, b.n)
    return ObservedPower(power=power_of(present), n=subjects_for(power_of, least, target.power))


def of_pearson(test: TestResult, target: Target) -> ObservedPower:
    """Power to tell Pearson's correlation from zero, by Fisher's z; `n` is not rounded."""
    if test.reason or test.n[0] < 4 or abs(test.estimate) > 1 - 1e-12:
        return ObservedPower()
    return ObservedPower(
        power=correlation_power(test.estimate, test.n[0], alpha=target.alpha),
        n=correlation_size(test.estimate, target.power, alpha=target.alpha),
    )


def of_fisher(table: IntArray, target: Target) -> ObservedPower:
    """Power of Fisher's exact test for the observed shares, from all tables there could be.

    Parameters
    ----------
    table : (2, 2) integer array
        Counts, a row per group.
    target : Target
        Level and wanted power.

    Returns
    -------
    ObservedPower
        This power climbs in saw teeth: `n` reaches the wanted power and one subject fewer does
        not, yet somewhat fewer may. NaN above 2000 subjects.
    """
    groups, outcomes = table.sum(axis=1), table.sum(axis=0)
    if not groups.all() or not outcomes.all():
        return ObservedPower()
    shares = float(table[0, 0] / groups[0]), float(table[1, 0] / groups[1])
    observed = ObservedPower(power=fisher_power(shares, (int(groups[0]), int(groups[1])), target))
    if shares[0] == shares[1]:
        return observed

    def reaches(total: int) -> bool:
        n_a = min(max(round(total * groups[0] / groups.sum()), 1), total - 1)
        return fisher_power(shares, (n_a, total - n_a), target) >= target.power

    low, high = 2, 4
    while not reaches(high):
        low, high = high, 2 * high
        if high > _MOST_SUBJECTS:
            return observed
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return replace(observed, n=float(high))


def fisher_power(shares: tuple[float, float], n: tuple[int, int], target: Target) -> float:
    """Power of Fisher's exact test, two-sided, for the shares and sizes of two groups."""
    n_a, n_b = n
    a, b = np.arange(n_a + 1), np.arange(n_b + 1)
    chance_a, chance_b = stats.binom.pmf(a, n_a, shares[0]), stats.binom.pmf(b, n_b, shares[1])
    ways_a, ways_b = _log_ways(n_a), _log_ways(n_b)
    power = 0.0
    for m in range(n_a + n_b + 1):
        # tables whose margins are the same
        a = np.arange(max(0, m - n_b), min(n_a, m) + 1)
        chance = chance_a[a] * chance_b[m - a]
        if chance.sum() > _NEGLIGIBLE:
            ways = ways_a[a] + ways_b[m - a]
            power += float(chance[_p_of_tables(ways) <= target.alpha].sum())
    return power


def _log_ways(n: int) -> FloatArray:
    """Logarithm of the ways to choose 0 to n of n."""
    k = np.arange(n + 1)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def _p_of_tables(log_ways: FloatArray) -> FloatArray:
    """Fisher's p of every table with the same margins, from the ways that each comes about."""
    chance = np.exp(log_ways - log_ways.max())
    in_order = np.sort(chance)
    total = np.append(0.0, np.cumsum(in_order))
    # no more probable than the table itself, but for rounding
    up_to = np.searchsorted(in_order, chance * (1 + 1e-7), side="right")
    return np.asarray(total[up_to] / total[-1])
