"""Voxelwise tests with nilearn: t maps, and family-wise errors by permutation.

Subjects are rows, voxels of a mask are columns. nilearn draws sign flips for the mean of one
sample and permutations of the subjects for the difference of two; p values are counted here from
its null distribution, ties included.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import comb, log10
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.volume import BoolArray, FloatArray, Volume

MINIMUM_SUBJECTS = 3
"""Of a group; fewer leave no voxelwise test."""
_TIE = 1e-6
"""Relative difference below which statistics are the same: sums in another order."""


@dataclass(frozen=True)
class Inference:
    """How family-wise errors are controlled.

    Parameters
    ----------
    method : {"none", "mass", "tfce"}
        Nothing but t maps, mass of clusters, or threshold-free cluster enhancement.
    n_permutations : int
        Sign flips or permutations drawn.
    cluster_p : float
        Two-sided p that forms clusters.
    alpha : float
        Family-wise error of both directions together.
    seed : int
        Of the permutations.
    """

    method: Literal["none", "mass", "tfce"] = "none"
    n_permutations: int = 5000
    cluster_p: float = 0.001
    alpha: float = 0.05
    seed: int = 20200601


@dataclass(frozen=True, eq=False)
class StatisticMaps:
    """Results of one voxelwise test, float32, on the grid of its mask; NaN outside."""

    effect: Volume
    """Mean of the sample, or first mean minus second."""
    t: Volume
    z: Volume
    degrees_of_freedom: int
    smallest_p: float
    """That the permutations can give."""
    logp: Volume | None = None
    """-log10 of the family-wise p; None without permutations."""
    thresholded: Volume | None = None
    """t where the family-wise p is `alpha` or less, else 0."""

    @property
    def significant_voxels(self) -> int:
        """Voxels that pass, both directions together."""
        return 0 if self.thresholded is None else int(np.sum(np.abs(self.thresholded.data) > 0))


def smallest_p(n_first: int, n_second: int, n_permutations: int) -> float:
    """Smallest two-sided p by permutation of one sample (`n_second` 0) or of two.

    A sign flip of everyone, or a swap of two groups of one size, only turns the sign of every t.

    Examples
    --------
    >>> smallest_p(4, 0, 5000), smallest_p(3, 3, 5000), smallest_p(20, 0, 999)
    (0.125, 0.1, 0.001)
    """
    if n_second:
        least = (1 + (n_first == n_second)) / comb(n_first + n_second, n_first)
    else:
        least = 2.0 ** (1 - n_first)
    return max(least, 1 / (n_permutations + 1))


def varying_voxels(values: FloatArray) -> BoolArray:
    """Voxels (V,) where all rows (N, V) are finite and not all the same."""
    finite = np.isfinite(values).all(axis=0)
    return np.asarray(finite & (np.ptp(np.where(finite, values, 0), axis=0) > 0))


def compare_maps(
    first: FloatArray, second: FloatArray | None, mask: Volume, inference: Inference
) -> StatisticMaps:
    """Test every voxel: the mean of one sample against zero, or two means against each other.

    Parameters
    ----------
    first, second : (N, V) array
        Values of the subjects in the voxels of the mask, C order; `second` is None for one sample.
    mask : Volume
        Boolean, V voxels are true.
    inference : Inference
        Both directions are tested.

    Returns
    -------
    StatisticMaps
        t of two samples assumes one variance. The same input gives the same bits, however many
        processors there are.

    Raises
    ------
    ValueError
        If a sample has fewer than three subjects, or the mask is empty.
    """
    samples = [first] if second is None else [first, second]
    if min(map(len, samples)) < MINIMUM_SUBJECTS or first.shape[1] == 0:
        raise ValueError(f"{MINIMUM_SUBJECTS} subjects and a voxel are needed at least")
    values = np.concatenate(samples).astype(np.float64)
    group = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples])
    parametric = _parametric(values, group, mask)
    logp = None if inference.method == "none" else _logp(values, group, mask, inference)
    t = parametric["stat"]
    passed = None if logp is None else logp >= -log10(inference.alpha) - _TIE
    return StatisticMaps(
        effect=_unmasked(parametric["effect_size"], mask),
        t=_unmasked(t, mask),
        z=_unmasked(parametric["z_score"], mask),
        degrees_of_freedom=len(values) - len(samples),
        smallest_p=smallest_p(
            len(first), 0 if second is None else len(second), inference.n_permutations
        ),
        logp=None if logp is None else _unmasked(logp, mask),
        thresholded=None if passed is None else _unmasked(np.where(passed, t, 0), mask),
    )


def _parametric(
    values: NDArray[np.float64], group: NDArray[np.int_], mask: Volume
) -> dict[str, FloatArray]:
    """t, z and effect of every voxel, (V,) each, by nilearn's second level."""
    from nilearn.glm.second_level import SecondLevelModel  # takes seconds

    cut = _cut_out(mask)
    images = [_image(_filled(row, cut), cut.affine) for row in values]
    design = pd.DataFrame({f"mean{k}": (group == k).astype(float) for k in np.unique(group)})
    contrast = np.array([1.0, -1.0])[: design.shape[1]]
    with _quietly():
        model = SecondLevelModel(mask_img=_image(cut.data.astype(np.uint8), cut.affine))
        maps = model.fit(images, design_matrix=design).compute_contrast(
            contrast, second_level_stat_type="t", output_type="all"
        )
    return {
        name: np.asarray(maps[name].dataobj)[cut.data]
        for name in ("stat", "z_score", "effect_size")
    }


def _logp(
    values: NDArray[np.float64], group: NDArray[np.int_], mask: Volume, inference: Inference
) -> FloatArray:
    """-log10 of the family-wise p of every voxel, (V,)."""
    from nilearn.maskers import NiftiMasker
    from nilearn.mass_univariate import permuted_ols

    cut = _cut_out(mask)
    two = group.any()
    tested = (group == 0).astype(float) if two else np.ones(len(values))
    with _quietly():
        masker = NiftiMasker(mask_img=_image(cut.data.astype(np.uint8), cut.affine)).fit()
        # an intercept among the confounds would make nilearn flip signs of two samples;
        # one job, since every job draws from a seed of its own
        found = permuted_ols(
            tested[:, None],
            values,
            model_intercept=bool(two),
            n_perm=inference.n_permutations,
            two_sided_test=True,
            random_state=inference.seed,
            n_jobs=1,
            masker=masker,
            tfce=inference.method == "tfce",
            threshold=inference.cluster_p if inference.method == "mass" else None,
        )
    return -np.log10(_exceedance(np.abs(found[inference.method][0]), _null(found, inference)))


def _null(found: dict[str, Any], inference: Inference) -> FloatArray:
    return np.asarray(found[f"h0_max_{inference.method}"][0], float)


def _exceedance(observed: FloatArray, null: FloatArray) -> FloatArray:
    """Share of the draws, the observed one among them, that reach each value; ties reach it."""
    ordered = np.sort(null)
    below = np.searchsorted(ordered, observed * (1 - _TIE), side="left")
    return np.asarray((1 + len(null) - below) / (1 + len(null)))


def _cut_out(mask: Volume) -> Volume:
    """The mask's box of voxels and one more all about it, which is all that clusters need."""
    inside = np.argwhere(mask.data)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = mask.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (low - 1)
    return Volume(np.pad(mask.data[box].astype(bool), 1), affine)


def _filled(row: FloatArray, mask: Volume) -> FloatArray:
    data = np.zeros(mask.shape)
    data[mask.data] = row
    return data


def _image(data: NDArray[Any], affine: FloatArray) -> Any:
    return nib.Nifti1Image(data, affine)


def _unmasked(values: FloatArray, mask: Volume) -> Volume:
    data = np.full(mask.shape, np.nan, np.float32)
    data[mask.data] = values
    return Volume(data, mask.affine)


def _quietly() -> Any:
    """Nothing of what nilearn says about number types and masks."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
