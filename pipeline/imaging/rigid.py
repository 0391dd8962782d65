"""Rigid registration of two volumes, by SimpleITK, bit-identical on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.itk import to_itk

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NO_OVERLAP = 1e30  # ITK reports the largest number there is


@dataclass(frozen=True)
class RigidSearch:
    """How to look for the best rigid transform."""

    metric: Literal["correlation", "mutual_information"] = "mutual_information"
    shrink: tuple[int, ...] = (2, 1)
    """Subsampling of the fixed grid, level by level."""
    smoothing_mm: tuple[float, ...] = (4.0, 0.0)
    """Gaussian sigma at each level, on top of what the images already are."""
    first_step_mm: float = 1.0
    """Length of the first step of the descent; a radian counts as 100 mm."""
    last_step_mm: float = 1e-3
    """Length below which the descent ends."""
    bins: int = 32
    """Histogram bins of the mutual information."""


@dataclass(frozen=True, eq=False)
class RigidResult:
    """Where a search ended."""

    fixed2moving_xfm: FloatArray
    """(4, 4), world RAS+ mm."""
    score: float
    """Metric at the end, larger is better: mutual information (nats) or squared correlation."""


def register_rigid(
    fixed: Volume,
    moving: Volume,
    fixed_mask: BoolArray,
    start_xfm: FloatArray,
    search: RigidSearch,
) -> RigidResult:
    """Best rigid transform from fixed to moving space, near a start.

    Parameters
    ----------
    fixed, moving : Volume
        Images of one head. What is NaN in `moving` takes no part; `fixed` holds none.
    fixed_mask : (X, Y, Z) bool array
        Where on the fixed grid the images are compared.
    start_xfm : (4, 4) array
        First guess of fixed2moving_xfm.
    search : RigidSearch
        Metric and levels.

    Returns
    -------
    RigidResult
        The transform and its score.

    Raises
    ------
    ValueError
        If the mask is empty or the images do not overlap under the first guess.
    """
    if not fixed_mask.any():
        raise ValueError("nothing to register: the mask is empty")
    # sums in a fixed order give identical bits; the metrics ask the global default, not the method
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricFixedMask(to_itk(fixed.with_data(fixed_mask)))
    known = np.isfinite(moving.data)
    if not known.all():
        method.SetMetricMovingMask(to_itk(moving.with_data(known)))
        moving = moving.with_data(np.where(known, moving.data, 0))
    if search.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(search.bins)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(search.shrink))
    method.SetSmoothingSigmasPerLevel(list(search.smoothing_mm))
    method.SetOptimizerScales([100.0**2] * 3 + [1.0] * 3)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=search.first_step_mm,
        minStep=search.last_step_mm,
        numberOfIterations=500,
        relaxationFactor=0.85,
        gradientMagnitudeTolerance=1e-8,
    )
    transform = _itk_transform(start_xfm, _mask_centre_mm(fixed, fixed_mask))
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_float(fixed), _float(moving))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"rigid registration failed: {reason}") from error
    score = -float(method.GetMetricValue())
    if not np.isfinite(score) or score <= -_NO_OVERLAP:
        raise ValueError("rigid registration failed: the images do not overlap")
    return RigidResult(_matrix(transform), score)


def best_start(
    fixed: Volume,
    moving: Volume,
    fixed_mask: BoolArray,
    starts: Sequence[FloatArray],
    search: RigidSearch,
) -> tuple[RigidResult, FloatArray]:
    """Register from several first guesses.

    Returns
    -------
    RigidResult
        The one of the highest score.
    (S,) array
        Score of every start, NaN where the images did not overlap.

    Raises
    ------
    ValueError
        If no start succeeds.
    """
    results: list[RigidResult | None] = []
    reason = "no start was given"
    for start in starts:
        try:
            results.append(register_rigid(fixed, moving, fixed_mask, start, search))
        except ValueError as error:
            reason = str(error)
            results.append(None)
    scores = np.array([np.nan if r is None else r.score for r in results])
    if not np.isfinite(scores).any():
        raise ValueError(reason)
    winner = results[int(np.nanargmax(scores))]
    assert winner is not None  # noqa: S101  a finite score has a result
    return winner, scores


def centre_of_mass_mm(volume: Volume) -> FloatArray:
    """Centre (3,) of the positive intensities, world mm."""
    weight = np.maximum(np.nan_to_num(volume.data), 0).astype(np.float64)
    total = weight.sum()
    if total <= 0:
        raise ValueError("an image without positive values has no centre")
    axes = [(0, 1, 2)[:i] + (0, 1, 2)[i + 1 :] for i in range(3)]
    voxel = [
        weight.sum(axis=a) @ np.arange(n) / total for a, n in zip(axes, volume.shape, strict=True)
    ]
    return apply_affine(volume.affine, np.array(voxel))


def _float(volume: Volume) -> sitk.Image:
    return to_itk(volume.with_data(volume.data.astype(np.float32, copy=False)))


def _mask_centre_mm(fixed: Volume, mask: BoolArray) -> FloatArray:
    return apply_affine(fixed.affine, np.argwhere(mask).mean(axis=0))


def _itk_transform(xfm: FloatArray, centre_mm: FloatArray) -> sitk.Euler3DTransform:
    lps = _LPS @ xfm @ _LPS
    centre = _LPS[:3, :3] @ centre_mm
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-5)
    transform.SetTranslation((lps[:3, 3] - centre + lps[:3, :3] @ centre).tolist())
    return transform


def _matrix(transform: sitk.Euler3DTransform) -> FloatArray:
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    lps = np.eye(4)
    lps[:3, :3] = rotation
    lps[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    return np.asarray(_LPS @ lps @ _LPS)
