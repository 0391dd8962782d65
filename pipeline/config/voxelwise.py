"""Settings of the voxelwise maps of a cohort."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class Voxelwise(Section):
    """How maps of a cohort are compared in MNI152 space."""

    inference: Literal["none", "mass", "tfce"] = "none"
    """`none`: maps of t and z without a threshold. `mass`: clusters of voxels with
    p < `cluster_p`, by their mass. `tfce`: every voxel, by threshold-free cluster enhancement.
    Both hold the family-wise error by permutation; 1000 permutations of 30 subjects on 2 mm take
    about one minute by mass, 40 minutes by `tfce`, for every comparison."""
    n_permutations: int = Field(default=5000, ge=100)
    """Random sign flips of a comparison within subjects, or permutations of one between groups."""
    cluster_p: float = Field(default=0.001, gt=0, lt=0.05)
    """Two-sided p at which `mass` forms clusters."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Family-wise error that thresholded maps hold, both directions together."""
    smoothing_fwhm_mm: float = Field(default=8, ge=0)
    """Gaussian that maps of the change are smoothed by, beside the scanner's own blur. 8 mm is the
    size of the smallest structures of interest, such as the dorsal brain stem, and covers what
    normalisation leaves of the differences between brains. 0: none."""
    mask: Literal["brain", "grey"] = "brain"
    """Where voxels are compared: all the brain of the template, or its grey matter with the
    ventral diencephalon and the brain stem."""
    seed: int = Field(default=20200601, ge=0, lt=2**32)
    """Of the permutations; the same seed gives the same maps."""
