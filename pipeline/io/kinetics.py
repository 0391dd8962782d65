"""Fits as tables: a row per region, standard errors in per cent, flags as words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import ModelFit, flag_text


def parameter_table(names: Sequence[str], fit: ModelFit) -> pd.DataFrame:
    """Table of a fit: estimates, their errors (`-se`, per cent), goodness, flag."""
    table = _named(names)
    for symbol, values in fit.estimates.items():
        table[symbol] = values
    for symbol, errors in fit.standard_errors.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            table[f"{symbol}-se"] = 100 * errors / np.abs(fit.estimates[symbol])
    for symbol, values in fit.goodness.items():
        table[symbol] = values
    table["flag"] = [flag_text(int(flags)) or "n/a" for flags in fit.flags]
    return table


def mean_table(names: Sequence[str], means: Mapping[str, FloatArray]) -> pd.DataFrame:
    """Table of the means of maps over regions; a region without any voxel has none."""
    table = _named(names)
    for symbol, values in means.items():
        table[symbol] = values
    main = next(iter(means.values()))
    table["flag"] = ["n/a" if np.isfinite(value) else "failed" for value in main]
    return table


def _named(names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"index": np.arange(len(names)) + 1, "name": list(names)})
