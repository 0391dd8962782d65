"""What every backend of the parcellation takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParcellationInputs:
    """Ports of `inputnode`: the T1w, and outputs of the anatomy, see `AnatomyOutputs`."""

    t1w: str
    """T1w of the data set, as it came."""
    t1w_preproc: str
    """Bias-corrected T1w, (X, Y, Z)."""
    brain_mask: str
    """Brain, on the grid of the T1w."""
    gm_probseg: str
    """Share of grey matter."""
    wm_probseg: str
    """Share of white matter."""
    csf_probseg: str
    """Share of cerebrospinal fluid."""
    mni2t1w_xfm: str
    """Displacements over the T1w that lead to MNI152NLin2009cAsym."""


@dataclass(frozen=True)
class ParcellationOutputs:
    """Ports of `outputnode`."""

    dseg: str
    """FreeSurfer label numbers (aseg and Desikan-Killiany), on the grid of the T1w."""
