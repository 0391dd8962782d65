"""p values adjusted for how many tests were made."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from statsmodels.stats.multitest import multipletests

from pipeline.core.volume import FloatArray

Adjustment = Literal["none", "holm", "fdr"]
ADJUSTMENTS: tuple[str, ...] = get_args(Adjustment)

METHODS = {
    "none": "p values are not corrected for the number of tests.",
    "holm": "p values were corrected for the number of tests by Holm's method (1979).",
    "fdr": "p values were corrected by the false discovery rate of Benjamini and Hochberg (1995).",
}
"""Adjustment to its sentence."""

_NAMES = {"holm": "holm", "fdr": "fdr_bh"}


def adjusted_p(p: FloatArray, method: Adjustment) -> FloatArray:
    r"""p values adjusted for the number of tests that could be made.

    With ordered :math:`p_{(1)} \le \dots \le p_{(m)}`, and kept monotone and at most 1:

    .. math::
        \text{Holm: } (m - i + 1)\, p_{(i)}, \qquad \text{FDR: } \frac{m}{i}\, p_{(i)}

    Parameters
    ----------
    p : (N,) array
        p of each test; NaN where there is none.
    method : {"none", "holm", "fdr"}
        Family-wise error after Holm [1]_, false discovery rate after Benjamini and Hochberg [2]_.

    Returns
    -------
    (N,) array
        NaN where `p` is; these are not counted.

    References
    ----------
    .. [1] Holm S (1979). Scand J Stat 6:65-70.
    .. [2] Benjamini Y, Hochberg Y (1995). J R Stat Soc B 57:289-300.

    Examples
    --------
    >>> adjusted_p(np.array([0.01, 0.04, np.nan]), "holm")
    array([0.02, 0.04,  nan])
    """
    adjusted = np.array(p, float)
    present = np.isfinite(adjusted)
    if method != "none" and present.any():
        adjusted[present] = multipletests(adjusted[present], method=_NAMES[method])[1]
    return adjusted
