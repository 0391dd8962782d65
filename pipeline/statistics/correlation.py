"""Pearson's and Spearman's correlation with intervals, and the p of a printed correlation."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from itertools import permutations

import numpy as np
from scipy import stats

from pipeline.core.volume import BoolArray, FloatArray
from pipeline.statistics.assumptions import does_not_vary, shapiro_wilk
from pipeline.statistics.paired import two_sided_p
from pipeline.statistics.result import CONFIDENCE, Assumption, TestResult

METHODS = {
    "pearson": "Correlations are Pearson's over complete pairs, tested by two-sided t, with "
    "Fisher's interval; normality of either variable was checked by the Shapiro-Wilk test.",
    "spearman": "Correlations are Spearman's over complete pairs, with two-sided p from the "
    "distribution of ranks (AS 89), or from t where values are tied, and the interval of Bonett "
    "and Wright (2000).",
}
"""Method to its sentence."""

_MIN_PAIRS = 3
_MAX_ENUMERATED = 9
# Edgeworth series of Best & Roberts (1975), AS 89
_SERIES = (
    0.2274, 0.2531, 0.1745, 0.0758, 0.1033, 0.3932, 0.0879, 0.0151, 0.0072, 0.0831, 0.0131, 4.6e-4,
)  # fmt: skip


def pearson(x: FloatArray, y: FloatArray) -> TestResult:
    r"""Pearson's product-moment correlation.

    .. math::
        t = r \sqrt{\frac{n - 2}{1 - r^2}}, \qquad
        \tanh\left(\operatorname{artanh} r \pm \frac{z_{.975}}{\sqrt{n - 3}}\right)

    Parameters
    ----------
    x, y : (N,) arrays
        One value per subject, same order; NaN where missing.

    Returns
    -------
    TestResult
        `statistic` is t, `estimate` is r; `assumptions` are the normality of x and of y. Fewer
        than three pairs, or values that do not vary, give NaN and a `reason`; the interval needs
        four.

    Notes
    -----
    A correlation with the *reduction* of a score (first minus second) is the negative of that
    with its *change* (second minus first).

    References
    ----------
    .. [1] Fisher RA (1921). Metron 1:3-32.

    Examples
    --------
    >>> test = pearson(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
    >>> round(test.estimate, 3), round(test.p, 3)
    (0.8, 0.2)
    """
    test, x, y = _pairs("Pearson's correlation", x, y)
    if test.reason:
        return test
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    t, df = t_of_correlation(r, x.size), x.size - 2
    checks = (shapiro_wilk(x, "first variable"), shapiro_wilk(y, "second variable"))
    test = replace(test, statistic_name="t", statistic=t, df1=float(df), p=two_sided_p(t, df))
    test = replace(test, assumptions=checks)
    return _with_estimate(test, "r", r, 1.0)


def spearman(x: FloatArray, y: FloatArray) -> TestResult:
    r"""Spearman's rank correlation; tied values share their mean rank.

    .. math::
        S = \sum (R_x - R_y)^2, \qquad
        \tanh\left(\operatorname{artanh} \rho \pm
        z_{.975} \sqrt{\frac{1 + \rho^2 / 2}{n - 3}}\right)

    Parameters
    ----------
    x, y : (N,) arrays
        One value per subject, same order; NaN where missing.

    Returns
    -------
    TestResult
        `statistic` is S, `estimate` is rho; `assumptions` count pairs that share a value of x or
        of y with another.

    Notes
    -----
    p as R's ``cor.test`` gives it: without ties from all orders of ranks up to nine pairs and
    from the Edgeworth series of AS 89 [1]_ above; with ties from t with n - 2 degrees of freedom.
    The interval is that of Bonett and Wright [2]_; R gives none.

    References
    ----------
    .. [1] Best DJ, Roberts DE (1975). Applied Statistics 24:377-379.
    .. [2] Bonett DG, Wright TA (2000). Psychometrika 65:23-28.

    Examples
    --------
    >>> test = spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 9.0]))
    >>> round(test.estimate, 3), round(test.p, 4)
    (0.8, 0.3333)
    """
    test, x, y = _pairs("Spearman's correlation", x, y)
    if test.reason:
        return test
    rank_x, rank_y = stats.rankdata(x), stats.rankdata(y)
    rho = float(np.clip(np.corrcoef(rank_x, rank_y)[0, 1], -1, 1))
    squares = (x.size**3 - x.size) * (1 - rho) / 6
    tied = int((_is_shared(x) | _is_shared(y)).sum())
    p = p_of_correlation(rho, x.size) if tied else _p_without_ties(squares, x.size)
    check = Assumption(name="tied pairs", statistic=float(tied))
    test = replace(test, statistic_name="S", statistic=squares, p=p, assumptions=(check,))
    return _with_estimate(test, "rho", rho, math.sqrt(1 + rho**2 / 2))


def t_of_correlation(r: float, n: int) -> float:
    """Student's t of a correlation of n pairs; infinite where they lie on a line."""
    rest = 1 - r**2
    return r * math.sqrt((n - 2) / rest) if rest > 0 else math.copysign(math.inf, r)


def p_of_correlation(r: float, n: int) -> float:
    """Two-sided p of Pearson's correlation of n pairs.

    Examples
    --------
    Ventral striatum and MADRS at baseline in Tiger et al. (2020):

    >>> round(p_of_correlation(-0.426, 30), 3)
    0.019
    """
    return two_sided_p(t_of_correlation(r, n), n - 2)


def correlation_interval(r: float, n: int, spread: float = 1.0) -> tuple[float, float]:
    """Fisher's 95 % interval of a correlation; NaN with fewer than four pairs.

    Parameters
    ----------
    r : float
        Correlation.
    n : int
        Pairs.
    spread : float
        Standard error of Fisher's z times the root of n - 3: 1 for Pearson's r.
    """
    if n <= _MIN_PAIRS:
        return math.nan, math.nan
    if abs(r) == 1:
        return r, r
    margin = float(stats.norm.ppf(0.5 + CONFIDENCE / 2)) * spread / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - margin), math.tanh(math.atanh(r) + margin)


def _pairs(name: str, x: FloatArray, y: FloatArray) -> tuple[TestResult, FloatArray, FloatArray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"pairs expected, not shapes {x.shape} and {y.shape}")
    complete = np.isfinite(x) & np.isfinite(y)
    n = int(complete.sum())
    reason = ""
    if n < _MIN_PAIRS:
        reason = f"complete pairs: {n}; three are needed"
    elif does_not_vary(x[complete]) or does_not_vary(y[complete]):
        reason = "the values do not vary"
    test = TestResult(name=name, n=(n,), n_missing=x.size - n, reason=reason)
    return test, x[complete], y[complete]


def _is_shared(values: FloatArray) -> BoolArray:
    """Whether another of the values, (N,), is the same."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[index] > 1)


def _with_estimate(test: TestResult, symbol: str, r: float, spread: float) -> TestResult:
    low, high = correlation_interval(r, test.n[0], spread)
    return replace(
        test, estimate_name=symbol, estimate=r, ci_low=low, ci_high=high,
        effect_name=symbol, effect=r, effect_low=low, effect_high=high,
    )  # fmt: skip


def _p_without_ties(squares: float, n: int) -> float:
    """Twice the probability of a sum of squares at least as far from its mean."""
    mean, whole = (n**3 - n) / 6, round(squares)
    # the distribution is symmetric about its mean
    upper = whole if whole > mean else round(2 * mean) - whole
    if n <= _MAX_ENUMERATED:
        tail = float(np.mean(_all_sums_of_squares(n) >= upper))
    else:
        tail = _edgeworth_tail(upper, n)
    return min(1.0, 2 * tail)


@lru_cache(maxsize=_MAX_ENUMERATED)
def _all_sums_of_squares(n: int) -> FloatArray:
    orders = np.array(list(permutations(range(n))), dtype=np.int8)
    squares: FloatArray = ((orders - np.arange(n)).astype(float) ** 2).sum(axis=1)
    return squares


def _edgeworth_tail(squares: int, n: int) -> float:
    """Probability of a sum of squares of at least that much, AS 89."""
    c, b = _SERIES, 1 / n
    x = (6 * (squares - 1) * b / (n**2 - 1) - 1) * math.sqrt(1 / b - 1)
    y = x**2
    inner = c[6] + c[7] * b - y * (c[8] - c[9] * b + y * b * (c[10] - c[11] * y))
    middle = -c[3] + b * (c[4] + c[5] * b) - y * b * inner
    series = x * b * (c[0] + b * (c[1] + c[2] * b) + y * middle)
    return float(np.clip(series / math.exp(y / 2) + stats.norm.sf(x), 0, 1))
