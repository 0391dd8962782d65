"""Regional means freed from what the scanner blurs into and out of them.

The geometric transfer matrix (Rousset et al. 1998) and region-based voxel-wise correction (Thomas
et al. 2011), on the areas of `pipeline.imaging.areas`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.core.volume import BoolArray, FloatArray
from pipeline.imaging.areas import Areas
from pipeline.imaging.regions import LEAST_COVERED

_LARGEST_AMPLIFICATION = 20.0
"""Of noise; what amplifies it more is no measurement."""
_SINGULAR = 1e-9
_UNDETERMINED = 1e-6
_LEAST_EXPECTED = 0.1
"""Of the highest area: where less is expected in a voxel, its ratio to that is noise."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What turns a frame into corrected regional means."""

    weights: sparse.csr_array
    """(A, X*Y*Z): a row of weights that sum to one per area; none outside the field of view."""
    transfer: FloatArray
    """(A, A): mean over an area (row) of every area (column) of activity one, blurred."""
    inverse: FloatArray
    """(A, A): area means to corrected values; NaN rows where they do not tell."""
    blurred: sparse.csr_array
    """(A, X*Y*Z): areas of activity one as the scanner shows them."""
    of_regions: FloatArray
    """(R, A): shares of the areas in every region, rows sum to one; NaN for one not there."""
    noise_factor: FloatArray
    """(R,): standard deviation of a corrected mean by that of the plain one."""
    recovery: FloatArray
    """(R,): mean over a region of itself as the scanner shows it."""

    def gtm(self, frame: FloatArray) -> FloatArray:
        """Corrected means of the regions (R,) of a frame (X, Y, Z): every area is level."""
        return self._regional(self.inverse @ (self.weights @ _flat(frame)))

    def rbv(self, frame: FloatArray) -> FloatArray:
        """Likewise, of voxels after correction; areas need be level only on average.

        A voxel is multiplied by what its area holds over what the blurred areas would show in it,
        both by `gtm`. Where these would show less than a tenth of the highest area, it is left.
        """
        flat = _flat(frame)
        plain = self.weights @ flat
        level = self.inverse @ plain
        filled = np.where(np.isfinite(level), level, plain)
        expected = np.asarray(filled @ self.blurred)
        enough = expected > _LEAST_EXPECTED * np.abs(filled).max(initial=0)
        ratio = np.divide(flat, expected, out=np.ones_like(flat), where=enough)
        return self._regional(level * (self.weights @ ratio))

    def _regional(self, level: FloatArray) -> FloatArray:
        """Values of regions from those of areas; NaN if any part of it has none."""
        filled = np.where(np.isfinite(level), level, 0)
        lacking = (self.of_regions > 0) & ~np.isfinite(level)
        return np.where(lacking.any(axis=1), np.nan, self.of_regions @ filled)


def _flat(frame: FloatArray) -> FloatArray:
    """Voxels (X*Y*Z,); unknown ones have no weight, so they may be anything."""
    flat = frame.reshape(-1).astype(np.float64)
    return np.where(np.isfinite(flat), flat, 0.0)


def correction(areas: Areas, known: BoolArray) -> Correction:
    """Prepare the correction of a scan.

    Parameters
    ----------
    areas : Areas
        Areas of the head and their blur.
    known : (X, Y, Z) array
        Voxels that have a value, the same in every frame.

    Returns
    -------
    Correction
        An area of which less than half is known, one that cannot be told from others, and one
        whose noise would rise by more than twenty have no value, nor has a region with a part in
        it. The others do not suffer from it.
    """
    seen = known.reshape(-1).astype(np.float32)
    shares = areas.shares.multiply(seen).tocsr()
    blurred = areas.blurred.multiply(seen).tocsr()
    voxels = np.asarray(shares.sum(axis=1, dtype=np.float64)).ravel()
    there = voxels > 0
    scale = np.divide(1.0, voxels, out=np.zeros_like(voxels), where=there)
    transfer = (shares @ blurred.T).toarray() * scale[:, None]
    # noise that is as smooth as the point spread
    covariance = (blurred @ blurred.T).toarray() * np.outer(scale, scale)
    inverse = _inverse(transfer, covariance, there)
    whole = np.asarray(areas.shares.sum(axis=1, dtype=np.float64)).ravel()
    inverse[voxels < LEAST_COVERED * whole] = np.nan
    of_regions = _shares_of(areas.parts_mm3, areas.parts_mm3.sum(axis=1, keepdims=True))
    return Correction(
        weights=sparse.csr_array(sparse.diags_array(scale) @ shares),
        transfer=transfer,
        inverse=inverse,
        blurred=blurred,
        of_regions=of_regions,
        noise_factor=_amplification(of_regions, inverse, covariance),
        recovery=_recovery(areas, of_regions, transfer),
    )


def _shares_of(parts: FloatArray, whole: FloatArray) -> FloatArray:
    """Parts by their whole; NaN where there is none."""
    return np.divide(parts, whole, out=np.full_like(parts, np.nan), where=whole > 0)


def _inverse(transfer: FloatArray, covariance: FloatArray, there: BoolArray) -> FloatArray:
    """Area means to corrected values (A, A); NaN rows for areas without one."""
    inverse = np.zeros_like(transfer)
    inside = np.ix_(there, there)
    inverse[inside] = np.linalg.pinv(transfer[inside], rcond=_SINGULAR)
    resolved = inverse[inside] @ transfer[inside]
    off = np.zeros(len(transfer))
    off[there] = np.abs(resolved - np.eye(len(resolved))).max(axis=1, initial=0)
    noisy = _amplification(np.eye(len(transfer)), inverse, covariance) > _LARGEST_AMPLIFICATION
    inverse[~there | (off > _UNDETERMINED) | noisy] = np.nan
    return inverse


def _amplification(
    combined: FloatArray, inverse: FloatArray, covariance: FloatArray
) -> FloatArray:
    """Standard deviations (R,) of combinations of areas after correction, by those before."""
    # an area without a value has no part in most regions: keep its NaN from those
    rows = np.where(combined[:, :, None] == 0, 0, combined[:, :, None] * inverse).sum(axis=1)
    after, before = (
        np.sqrt(np.einsum("ra,ab,rb->r", weights, covariance, weights))
        for weights in (rows, combined)
    )
    return _shares_of(after, before)


def _recovery(areas: Areas, of_regions: FloatArray, transfer: FloatArray) -> FloatArray:
    """Mean (R,) over a region of itself, activity one, as the scanner shows it."""
    own = np.nan_to_num(_shares_of(areas.parts_mm3, areas.volume_mm3 + 0 * areas.parts_mm3))
    return np.asarray(np.einsum("ra,ab,rb->r", of_regions, transfer, own))
