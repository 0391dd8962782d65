"""How well model curves describe the measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import Parameter

GOODNESS: Final = (
    Parameter(symbol="R2", unit="1", meaning="Share of the weighted variance that is explained"),
    Parameter(symbol="AIC", unit="1", meaning="Akaike information criterion"),
    Parameter(symbol="BIC", unit="1", meaning="Bayesian information criterion"),
    Parameter(
        symbol="runs_z",
        unit="1",
        meaning="Runs of residuals of one sign against chance, standard normal; strongly negative "
        "where the model misses the shape",
    ),
)


def goodness_of_fit(
    tacs: FloatArray, fitted: FloatArray, weights: FloatArray, n_parameters: int
) -> Mapping[str, FloatArray]:
    r"""Goodness of weighted fits.

    Parameters
    ----------
    tacs, fitted : (V, F) arrays
        Measured and model curves.
    weights : (F,) array
        Weights of squared residuals; frames with weight 0 do not count.
    n_parameters : int
        Free parameters of the model.

    Returns
    -------
    mapping
        Symbol of `GOODNESS` to (V,) values.

    Notes
    -----
    The likelihood is that of normal errors with variance :math:`\sigma^2 / w_i`, with
    :math:`\sigma` estimated, so that the criteria count one parameter more than the model has, as
    R's do. The runs are those of Wald & Wolfowitz (1940), Ann Math Stat 11:147-162.
    """
    used = weights > 0
    y, w = tacs[:, used], weights[used]
    residual = y - fitted[:, used]
    n = w.size
    rss = residual**2 @ w
    total = (y - ((y @ w) / w.sum())[:, None]) ** 2 @ w
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = n * (np.log(2 * np.pi * rss / n) + 1) - np.log(w).sum()
        r2 = 1 - rss / total
    return {
        "R2": r2,
        "AIC": deviance + 2 * (n_parameters + 1),
        "BIC": deviance + np.log(n) * (n_parameters + 1),
        "runs_z": _runs_z(residual),
    }


def _runs_z(residual: FloatArray) -> FloatArray:
    """Wald-Wolfowitz statistic of the signs along each row, (V,)."""
    positive = residual > 0
    n = residual.shape[1]
    runs = 1 + np.count_nonzero(positive[:, 1:] != positive[:, :-1], axis=1)
    above = np.count_nonzero(positive, axis=1)
    pairs = 2.0 * above * (n - above)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = 1 + pairs / n
        deviation = np.sqrt(pairs * (pairs - n) / (n**2 * (n - 1)))
        return np.where(deviation > 0, (runs - expected) / deviation, np.nan)
