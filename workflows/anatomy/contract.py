"""What every backend of the anatomy takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnatomyInputs:
    """Ports of `inputnode`."""

    t1w: str
    """T1-weighted image, (X, Y, Z), whole head or stripped brain, any orientation."""


@dataclass(frozen=True)
class AnatomyOutputs:
    """Ports of `outputnode`; images lie on the grid of the T1w unless told otherwise."""

    t1w_preproc: str
    """Bias-corrected T1w with its skull, if it came with one; intensities scaled."""
    brain_mask: str
    """Brain with its sulcal fluid, 0 and 1."""
    gm_probseg: str
    """Share of grey matter, 0 to 1; the three shares add up to 1 in the brain, 0 outside."""
    wm_probseg: str
    """Share of white matter."""
    csf_probseg: str
    """Share of cerebrospinal fluid."""
    t1w2mni_xfm: str
    """``from-T1w_to-MNI152NLin2009cAsym``: displacements on a grid of MNI space that lead to the
    T1w, so that images of the T1w can be pulled onto MNI space; ITK convention."""
    mni2t1w_xfm: str
    """``from-MNI152NLin2009cAsym_to-T1w``: displacements on a grid over the T1w that lead to MNI
    space, so that images in MNI space can be pulled onto the T1w; ITK convention."""
    t1w2acpc_xfm: str
    """``from-T1w_to-ACPC``: rigid, ITK; points of the T1w to anatomical axes."""
    t1w_acpc: str
    """The T1w on voxels along its anatomical axes."""
    quality: str
    """JSON: volumes, evenness of the field, likeness to the template, fate of the warp."""
