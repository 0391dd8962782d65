"""Fisher's exact test of two proportions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats
from scipy.stats import contingency

from pipeline.core.volume import IntArray
from pipeline.statistics.result import CONFIDENCE, Assumption, TestResult

METHODS = (
    "Proportions were compared by Fisher's exact test, two-sided; odds ratios are the conditional "
    "maximum likelihood estimates with exact intervals."
)


def fisher_exact(table: IntArray) -> TestResult:
    r"""Fisher's exact test that two groups have the same odds.

    Given both margins, the first count follows the noncentral hypergeometric distribution

    .. math::
        P(x) \propto \binom{n_1}{x} \binom{n_2}{m - x} \psi^x

    whose odds ratio :math:`\psi` is estimated by maximum likelihood; p sums what is no more
    probable than the observed table at :math:`\psi = 1`.

    Parameters
    ----------
    table : (2, 2) integer array
        Counts, a row per group: with and without the outcome.

    Returns
    -------
    TestResult
        `estimate` is the conditional odds ratio of the first group against the second, as R's
        ``fisher.test`` gives it; 0 or infinite where a count is zero. There is no statistic;
        `assumptions` hold the smallest expected count, below 5 where chi-squared would not do.

    Raises
    ------
    ValueError
        If the table is not 2 x 2 or a count is negative.

    References
    ----------
    .. [1] Fisher RA (1935). J R Stat Soc 98:39-82.

    Examples
    --------
    Partial response to ketamine and to placebo in Tiger et al. (2020), 75 and 30 %:

    >>> round(fisher_exact(np.array([[15, 5], [3, 7]])).p, 3)
    0.045
    """
    table = np.asarray(table)
    if table.shape != (2, 2) or (table < 0).any():
        raise ValueError("a 2 x 2 table of counts expected")
    test = TestResult(
        name="Fisher's exact test",
        n=(int(table[0].sum()), int(table[1].sum())),
        estimate_name="odds ratio of the first group against the second",
        effect_name="odds ratio",
    )
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return replace(test, reason="a group, or an outcome, has no subjects")
    odds = contingency.odds_ratio(table, kind="conditional")
    interval = odds.confidence_interval(CONFIDENCE)
    ratio, low, high = float(odds.statistic), float(interval.low), float(interval.high)
    expected = table.sum(axis=1).min() * table.sum(axis=0).min() / table.sum()
    check = Assumption(name="smallest expected count", statistic=float(expected))
    return replace(
        test, assumptions=(check,), p=float(stats.fisher_exact(table).pvalue),
        estimate=ratio, ci_low=low, ci_high=high,
        effect=ratio, effect_low=low, effect_high=high,
    )  # fmt: skip
