"""What every backend of the parcellation takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParcellationInputs:
    """Ports of `inputnode`."""

    t1w_preproc: str
    """Bias-corrected T1w."""
    brain_mask: str
    """Brain on its grid, 0 or 1."""
    mni2t1w_xfm: str
    """Displacement field over the T1w; resamples MNI images onto the T1w."""


@dataclass(frozen=True)
class ParcellationOutputs:
    """Ports of `outputnode`."""

    dseg: str
    """FreeSurfer-numbered labels on the grid of the T1w."""
