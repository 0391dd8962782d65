"""How well the tissues of a T1w explain the PET, wherever the PET is laid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import orth, svdvals

from pipeline.core.transforms import apply_affine, displacement_mm
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.resampling import coarsen, smooth

TYPICAL_SCORES = (0.836, 0.846, 0.863, 0.863, 0.865, 0.882, 0.887, 0.908, 0.912, 0.914)
LEAST_SCORE = 0.5

_POINTS_MM = 4.0
_FINEST_PET_MM = 2.0
_SCANNER_FWHM_MM, _SMOOTHING_FWHM_MM = 5.0, 4.0
_BOX_FWHM = float(np.sqrt(8 * np.log(2) / 12))
_FEWEST_POINTS = 100
_RANK = 1e-6


@dataclass(frozen=True, eq=False)
class TissueContrast:
    """Squared first canonical correlation of PET images and tissues over the brain.

    It is the share of variance that the best sum of tissues and the best sum of the images have in
    common. Which tissue is brighter does not matter, nor which image shows it, so one scale serves
    all tracers; noise has nothing in common with tissues. Brain that the PET does not cover counts
    as unexplained. No search optimises it: it sees segmented tissues in place of the T1w's
    intensities, and all references in place of one.

    Parameters
    ----------
    points_mm : (N, 3) array
        Points of the brain, world of the T1w.
    tissues : (N, K) array
        Share of each tissue there, as blurred as the PET.
    images : (R, X, Y, Z) array
        PET images, NaN where nothing is known.
    world2voxel : (4, 4) array
        World of the PET to its voxels.

    References
    ----------
    .. [1] Hotelling H (1936). Relations between two sets of variates. Biometrika 28:321-377.
    """

    points_mm: FloatArray
    tissues: FloatArray
    images: NDArray[np.float32]
    world2voxel: FloatArray

    @classmethod
    def of(
        cls, references: Sequence[Volume], tissues: Sequence[Volume], brain_mask: BoolArray
    ) -> TissueContrast:
        """The measure for PET images on one grid, and tissues on the grid of a brain mask.

        Raises
        ------
        ValueError
            If the mask is empty, or the images do not share a grid.
        """
        if not brain_mask.any():
            raise ValueError("the brain mask is empty")
        if any(
            image.shape != references[0].shape
            or not np.array_equal(image.affine, references[0].affine)
            for image in references
        ):
            raise ValueError("the PET references lie on different grids")
        fine = [coarsen(image, _FINEST_PET_MM) for image in references]
        blur = (_SCANNER_FWHM_MM, _SMOOTHING_FWHM_MM, _BOX_FWHM * fine[0].voxel_size_mm.max())
        share = coarsen(tissues[0].with_data(brain_mask.astype(np.float32)), _POINTS_MM)
        inside = share.data > 0.5
        # block means have blurred the tissues already
        done = _BOX_FWHM * share.voxel_size_mm
        left = np.sqrt(np.maximum(np.square(blur).sum() - done**2, 0))
        maps = [smooth(coarsen(tissue, _POINTS_MM), left).data[inside] for tissue in tissues]
        return cls(
            apply_affine(share.affine, np.argwhere(inside).astype(float)),
            np.stack(maps, axis=1).astype(float),
            np.stack([smooth(image, _SMOOTHING_FWHM_MM).data for image in fine]),
            np.linalg.inv(fine[0].affine),
        )

    def score(self, t1w2pet_xfm: FloatArray) -> float:
        """The measure where a transform (4, 4) puts the PET, 0 to 1."""
        values = self._sampled(t1w2pet_xfm)
        seen = np.isfinite(values).all(axis=1)
        if np.count_nonzero(seen) < _FEWEST_POINTS:
            return 0.0
        return float(seen.mean() * _shared_variance(values[seen], self.tissues[seen]))

    def share_seen(self, t1w2pet_xfm: FloatArray) -> float:
        """Share of the brain that the PET covers there."""
        return float(np.isfinite(self._sampled(t1w2pet_xfm)).all(axis=1).mean())

    def apart_mm(self, first: FloatArray, second: FloatArray) -> float:
        """Mean distance over the brain between two transforms (4, 4)."""
        return float(displacement_mm(first, second, self.points_mm).mean())

    def _sampled(self, t1w2pet_xfm: FloatArray) -> FloatArray:
        voxels = apply_affine(self.world2voxel @ t1w2pet_xfm, self.points_mm).T
        return np.stack(
            [
                ndimage.map_coordinates(image, voxels, order=1, mode="constant", cval=np.nan)
                for image in self.images
            ],
            axis=1,
        )


def _shared_variance(first: FloatArray, second: FloatArray) -> float:
    """Squared first canonical correlation of two sets of columns."""
    one, other = _basis(first), _basis(second)
    if one.shape[1] == 0 or other.shape[1] == 0:
        return 0.0
    return float(svdvals(one.T @ other)[0] ** 2)


def _basis(columns: FloatArray) -> FloatArray:
    """Orthonormal columns that span what varies."""
    centred = columns - columns.mean(axis=0)
    spread = centred.std(axis=0)
    varying = spread > 0
    return np.asarray(orth(centred[:, varying] / spread[varying], rcond=_RANK))
