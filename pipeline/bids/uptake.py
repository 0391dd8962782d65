"""Uptake of the reference region by the dose, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.bids.scan import ScanInputs
from pipeline.core.volume import FloatArray
from pipeline.kinetics.uptake import percent_per_litre, suv_per_bqml, window_mean


def reference_uptake(
    name: str, tac_bqml: FloatArray, scan: ScanInputs, late_min: tuple[float, float]
) -> pd.DataFrame:
    """Mean uptake of the reference region over the scan and late in it, by the dose.

    Parameters
    ----------
    name : str
        Of the reference region.
    tac_bqml : (F,) array
        Its curve, decay-corrected to the injection.
    scan : ScanInputs
        Frames, dose and weight.
    late_min : (float, float)
        Late window, minutes after injection.
    """
    suv = suv_per_bqml(scan.injected_mbq, scan.body_weight_kg)
    percent = percent_per_litre(scan.injected_mbq)
    rows = []
    for window, (start_min, end_min) in {"scan": (0.0, np.inf), "late": late_min}.items():
        found = window_mean(tac_bqml, scan.timing, start_min, end_min)
        rows.append(
            {
                "name": name,
                "window": window,
                "frame_start": found.start_s,
                "frame_end": found.end_s,
                "mean": found.mean,
                "suv": suv * found.mean,
                "percent-per-litre": percent * found.mean,
            }
        )
    return pd.DataFrame(rows)
