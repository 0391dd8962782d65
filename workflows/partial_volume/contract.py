"""What every backend of partial-volume correction takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PartialVolumeInputs:
    """Ports of `inputnode`."""

    dseg: str
    """FreeSurfer-numbered labels, T1w space."""
    brain_mask: str
    """Brain with its sulcal fluid, T1w space."""
    gm_probseg: str
    """Share of grey matter, T1w space."""
    t1w2acpc_xfm: str
    """ITK transform ``from-T1w_to-ACPC``."""
    mni2t1w_xfm: str
    """Displacement field on the T1w grid: a T1w point goes to its place in MNI152 space."""
    reference_mask: str
    """The trimmed reference region, T1w space."""
    petref: str
    """PET grid."""
    petref2t1w_xfm: str
    """ITK transform ``from-petref_to-T1w``."""
    pet_preproc: str
    """Frames in one space, Bq/mL."""
    region_weights: str
    """Share of every region in every PET voxel."""
    tacs: str
    """Curves without correction, Bq/mL."""
    morph: str
    """Volumes of the regions."""
    spec: str
    """`pipeline.imaging.regions.RegionSpec`."""
    mni_images: str
    """Label images that the regions name, a list."""
    minimum_volume_mm3: str
    """Areas with less join another."""


@dataclass(frozen=True)
class PartialVolumeOutputs:
    """Ports of `outputnode`."""

    tacs: str
    """Corrected curves, reference region and all; that of the brain, which weights frames by its
    counts, is as it was."""
    morph: str
    """Volumes of the regions; where the backend knows it, what the scanner leaves of a region and
    what the correction does to its noise."""
