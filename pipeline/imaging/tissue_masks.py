"""A brain and its shares of tissue from the probabilities of another program."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.brain import largest_piece
from pipeline.imaging.labelling import TissueShares

_INSIDE = 0.5
_ANY = 0.01
"""Below it three probabilities are rounding, or the edge that a resampling smeared."""
_OPENED_MM = 1.5


def brain_of_tissues(grey: Volume, white: Volume, fluid: Volume) -> tuple[Volume, TissueShares]:
    """Brain mask, and shares that add up to 1 in it and are 0 outside.

    The brain is where the three tissues together are likelier than all else: the largest piece of
    that, without threads to what lies around, filled. Voxels inside that were none of the three,
    such as vessels, count as fluid.

    Parameters
    ----------
    grey, white, fluid : Volume
        Probabilities, 0 to 1, on one grid.

    Returns
    -------
    Volume
        Bool.
    TissueShares
        float32.
    """
    likely = [np.clip(np.nan_to_num(v.data), 0, 1) for v in (grey, white, fluid)]
    total = np.sum(likely, axis=0, dtype=np.float32)
    radius = np.maximum(1, np.rint(_OPENED_MM / grey.voxel_size_mm)).astype(int)
    core = ndimage.binary_opening(total > _INSIDE, np.ones(2 * radius + 1, bool))
    inside = ndimage.binary_fill_holes(largest_piece(core))
    return grey.with_data(inside), _shares(grey, likely, inside, _INSIDE)


def shares_within(brain: Volume, grey: Volume, white: Volume, fluid: Volume) -> TissueShares:
    """Shares, float32, that add up to 1 in a brain mask of others and are 0 outside.

    Voxels of the mask that the tissues leave out count as fluid.

    Parameters
    ----------
    brain : Volume
        Mask, of whatever type.
    grey, white, fluid : Volume
        Probabilities, 0 to 1, on the same grid.
    """
    likely = [np.clip(np.nan_to_num(v.data), 0, 1) for v in (grey, white, fluid)]
    return _shares(grey, likely, brain.data > 0, _ANY)


def _shares(
    grid: Volume, likely: list[FloatArray], inside: BoolArray, least: float
) -> TissueShares:
    """Parts of what the tissues make together, where that is more than the least; else fluid."""
    total = np.sum(likely, axis=0, dtype=np.float32)
    known = inside & (total > least)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [np.where(known, part / total, 0).astype(np.float32) for part in likely]
    shares[2][inside & ~known] = 1
    return TissueShares(*(grid.with_data(share) for share in shares))
