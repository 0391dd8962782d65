"""What every backend of PET-MR coregistration takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoregistrationInputs:
    """Ports of `inputnode`."""

    petref: str
    """Mean PET, (X, Y, Z)."""
    pet_preproc: str
    """Frames in the space of `petref`, (X, Y, Z, F), or how to make them."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`: frame timing."""
    t1w_preproc: str
    """Bias-corrected T1w, (X, Y, Z)."""
    brain_mask: str
    """Brain of the T1w, on its grid."""
    gm_probseg: str
    """Share of grey matter in every voxel of the T1w."""
    wm_probseg: str
    """Share of white matter."""
    csf_probseg: str
    """Share of fluid."""


@dataclass(frozen=True)
class CoregistrationOutputs:
    """Ports of `outputnode`."""

    petref2t1w_xfm: str
    """Rigid transform ``from-petref_to-T1w``, ITK text."""
    quality: str
    """JSON, under the key ``Coregistration``: score of the alignment, its place among typical
    ones, whether it is flagged, and what else was tried."""
