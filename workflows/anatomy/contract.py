"""What every backend of the anatomy takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnatomyInputs:
    """Ports of `inputnode`."""

    t1w: str
    """T1w as in the data set, whole head or stripped, (X, Y, Z)."""


@dataclass(frozen=True)
class AnatomyOutputs:
    """Ports of `outputnode`; images are on the grid of the T1w."""

    t1w_preproc: str
    """Bias-corrected T1w."""
    brain_mask: str
    """Brain with its sulcal fluid, 0 or 1."""
    gm_probseg: str
    """Share of grey matter, 0 to 1."""
    wm_probseg: str
    """Share of white matter, 0 to 1."""
    csf_probseg: str
    """Share of cerebrospinal fluid, 0 to 1."""
    t1w2mni_xfm: str
    """Displacement field on the MNI grid; resamples T1w images to MNI152NLin2009cAsym."""
    mni2t1w_xfm: str
    """Displacement field over the T1w; resamples MNI images onto the T1w."""
    quality: str
    """JSON: figures for the report."""
