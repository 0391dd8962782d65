"""Intervals of standardised effects, from noncentral t and F, and Hedges' small-sample factor."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import special, stats
from scipy.optimize import brentq

from pipeline.statistics.result import CONFIDENCE

_TAIL = (1 - CONFIDENCE) / 2
_MISSING = (math.nan, math.nan)


def noncentral_t_interval(t: float, df: float) -> tuple[float, float]:
    r"""Noncentralities between which an observed t lies within 95 %.

    .. math::
        P(T_{df,\,\delta_{low}} \ge t) = P(T_{df,\,\delta_{high}} \le t) = 0.025

    Parameters
    ----------
    t : float
        Observed Student's t.
    df : float
        Its degrees of freedom.

    Returns
    -------
    tuple of float
        Lower and upper noncentrality; NaN where the search fails.

    References
    ----------
    .. [1] Steiger JH (2004). Psychological Methods 9:164-182.

    Examples
    --------
    >>> low, high = noncentral_t_interval(0.0, 1e6)
    >>> round(low, 2), round(high, 2)
    (-1.96, 1.96)
    """
    low = _root(lambda nc: float(stats.nct.sf(t, df, nc)) - _TAIL, t, -1.0)
    high = _root(lambda nc: float(stats.nct.cdf(t, df, nc)) - _TAIL, t, 1.0)
    return low, high


def partial_eta2_interval(f: float, df_effect: float, df_error: float) -> tuple[float, float]:
    r"""95 % interval of partial eta squared, from the noncentral F.

    .. math::
        \eta_p^2 = \frac{\lambda}{\lambda + df_{effect} + df_{error} + 1}

    Parameters
    ----------
    f : float
        Observed F.
    df_effect, df_error : float
        Its degrees of freedom.

    Returns
    -------
    tuple of float
        Each end is zero where even no effect would give a larger F that often.

    Notes
    -----
    This is the share in the population (Steiger 2004, equation 42); programs that divide by
    :math:`\lambda + df_{error}` give slightly larger ends.

    References
    ----------
    .. [1] Steiger JH (2004). Psychological Methods 9:164-182.
    """
    if not math.isfinite(f):
        return _MISSING

    def end(tail: float) -> float:
        if stats.f.cdf(f, df_effect, df_error) < tail:
            return 0.0
        found = _root(
            lambda nc: float(stats.ncf.cdf(f, df_effect, df_error, max(nc, 0.0))) - tail,
            f * df_effect, 1.0, start=0.0,
        )  # fmt: skip
        return found / (found + df_effect + df_error + 1)

    return end(1 - _TAIL), end(_TAIL)


def small_sample_factor(df: float) -> float:
    r"""Hedges' exact correction J of a standardised difference.

    .. math::
        J = \frac{\Gamma(df / 2)}{\sqrt{df / 2}\; \Gamma((df - 1) / 2)}

    References
    ----------
    .. [1] Hedges LV (1981). Journal of Educational Statistics 6:107-128.
    """
    log_factor = special.gammaln(df / 2) - special.gammaln((df - 1) / 2)
    return float(math.exp(log_factor) / math.sqrt(df / 2))


def _root(
    excess: Callable[[float], float], about: float, side: float, start: float | None = None
) -> float:
    """Zero of a monotone function between `start` and a point found by doubling the step."""
    inner, step = (about if start is None else start), side * max(1.0, math.sqrt(abs(about)))
    sign = math.copysign(1.0, excess(inner))
    for _ in range(60):
        outer = about + step
        value = excess(outer)
        if not math.isfinite(value):
            return math.nan
        if value * sign <= 0:
            return float(brentq(excess, inner, outer, xtol=1e-12, rtol=1e-12))
        step *= 2
    return math.nan
