"""What every backend of the normalisation takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NormalisationInputs:
    """Ports of `inputnode`: outputs of the anatomy, see `AnatomyOutputs`."""

    t1w_preproc: str
    """Bias-corrected T1w, (X, Y, Z)."""
    brain_mask: str
    """Brain, on the grid of the T1w."""
    t1w2mni_xfm: str
    """The anatomy's own way: displacements on MNI space that lead to the T1w."""
    mni2t1w_xfm: str
    """The anatomy's own way: displacements on the T1w that lead to MNI space."""
    quality: str
    """JSON of the anatomy."""


@dataclass(frozen=True)
class NormalisationOutputs:
    """Ports of `outputnode`: what the rest of the graph takes in place of the anatomy's."""

    t1w2mni_xfm: str
    """Displacements on a grid of MNI152NLin2009cAsym that lead to the T1w; ITK convention."""
    mni2t1w_xfm: str
    """Displacements on a grid over the T1w that lead to MNI152NLin2009cAsym; ITK convention."""
    quality: str
    """JSON of the anatomy, with likeness to the template and fate of the warp that is taken."""
