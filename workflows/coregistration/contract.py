"""What every backend of PET-MR coregistration takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoregistrationInputs:
    """Ports of `inputnode`."""

    petref: str
    """Mean PET, (X, Y, Z)."""
    t1w_preproc: str
    """Bias-corrected T1w, (X, Y, Z)."""
    brain_mask: str
    """Brain of the T1w, on its grid."""


@dataclass(frozen=True)
class CoregistrationOutputs:
    """Ports of `outputnode`."""

    petref2t1w_xfm: str
    """Rigid transform ``from-petref_to-T1w``, ITK text."""
    quality: str
    """JSON: score of the alignment and of every start that was tried."""
