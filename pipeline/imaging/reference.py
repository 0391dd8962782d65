"""The reference region: what rules that keep spill-over out leave of the cerebellar cortex.

Two recipes. `TrimByPlanes` cuts by planes of landmarks in anatomical axes, as groups with
[11C]AZ10419369 do after Matheson et al.; the text of that rule is not public, so every plane is a
setting. `TrimByDistance` keeps away from other structures and from fluid, as PETPrep does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pipeline.core.labels import BRAIN_STEM, PONS, whole_brain_stem
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.brain import bounding_box, distance_to_others_mm, largest_piece

CEREBELLAR_CORTEX = (8, 47)
_FOURTH_VENTRICLE = 15
_POSTERIOR_CINGULATE = (1023, 2023)
_RAGGED_PERCENT = 1.0
"""What is left out at the end of a landmark, so that no single voxel sets a plane."""
_TIP_MM = 1.5
_LEAST_ML = {
    "behind_fourth_ventricle": 0.3,
    "beside_fourth_ventricle": 0.3,
    "below_posterior_cingulate": 1.0,
    "above_pons_floor": 3.0,
}
"""Least volume of each rule's landmark; adults have about 2, 2, 6, and 12 mL of pons alone."""


@dataclass(frozen=True)
class TrimByPlanes:
    """Cerebellar cortex between planes of landmarks, axes along AC-PC."""

    recipe: Literal["planes"] = "planes"
    labels: tuple[int, ...] = CEREBELLAR_CORTEX
    """FreeSurfer numbers of the whole region."""
    behind_fourth_ventricle: bool = True
    """Behind and below the posterior tip of the fourth ventricle."""
    above_pons_floor: bool = True
    """Above the lowest plane of the pons."""
    below_posterior_cingulate: bool = True
    """Below the lowest plane of the posterior cingulate cortex."""
    beside_fourth_ventricle: bool = True
    """Lateral to both sides of the fourth ventricle, which leaves the vermis out."""
    erosion_mm: float = 2.0
    """Distance kept from any other tissue."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    def __post_init__(self) -> None:
        if not 0 <= self.erosion_mm <= 10:
            raise ValueError("erosion_mm must be between 0 and 10 mm")


@dataclass(frozen=True)
class TrimByDistance:
    """Cerebellar cortex away from its neighbours, and grey for certain."""

    recipe: Literal["distance"] = "distance"
    labels: tuple[int, ...] = CEREBELLAR_CORTEX
    """FreeSurfer numbers of the whole region."""
    erosion_mm: float = 1.0
    """Distance kept from any other tissue."""
    distance_mm: float = 2.0
    """Distance kept from `neighbours`."""
    neighbours: tuple[int, ...] = (
        7, 46, 172, 16, 1007, 2007, 1009, 2009, 1011, 2011, 1013, 2013,
    )  # fmt: skip
    """Cerebellar white matter, vermis, brain stem; fusiform, inferior temporal, lateral occipital
    and lingual cortex."""
    least_grey: float = 0.8
    """Least share of grey matter in a voxel."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    def __post_init__(self) -> None:
        if not 0 <= self.erosion_mm <= 10:
            raise ValueError("erosion_mm must be between 0 and 10 mm")
        if not 0 <= self.distance_mm <= 10:
            raise ValueError("distance_mm must be between 0 and 10 mm")
        if not 0 <= self.least_grey <= 1:
            raise ValueError("least_grey must be between 0 and 1")


TrimRules = TrimByPlanes | TrimByDistance


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What the rules look at, on the T1w."""

    labels: Volume
    """FreeSurfer numbers; the pons has its own, 174, where it is known."""
    t1w2acpc_xfm: FloatArray
    """World points of the T1w to anatomical axes, mm."""
    above_pons_floor: BoolArray
    """Voxels of the brain stem (N,), in the order of `numpy.argwhere`, above the lower border of
    the pons as MNI space has it; what label 174 says goes before."""
    grey: Volume
    """Share of grey matter."""


@dataclass(frozen=True, eq=False)
class Trimmed:
    """A reference region and what it was before."""

    mask: BoolArray
    """(X, Y, Z)."""
    left: tuple[tuple[str, int], ...]
    """Rule, and the voxels left after it and those before; the first is the whole."""


def trim_reference(landmarks: Landmarks, rules: TrimRules) -> Trimmed:
    """Apply rules to the reference region one after another.

    Parameters
    ----------
    landmarks : Landmarks
        Labels and axes.
    rules : TrimByPlanes or TrimByDistance
        The whole region and the recipe.

    Raises
    ------
    ValueError
        If a landmark is missing or nothing is left; names the rule and the setting.
    """
    mask = np.isin(landmarks.labels.data, rules.labels)
    left = [("whole region", int(mask.sum()))]
    if not mask.any():
        raise ValueError(
            "the labels hold none of the reference region's numbers "
            f"({', '.join(map(str, rules.labels))}); look at the parcellation, or change "
            "regions.reference.labels"
        )
    # erosion measures from the edge of the whole region, not from a plane that cuts it
    whole = mask.copy()
    if isinstance(rules, TrimByPlanes):
        steps = _planes(landmarks, whole, rules)
    else:
        steps = _distances(landmarks, whole, rules)
    for name, setting, keep in steps:
        mask &= keep()
        left.append((name, int(mask.sum())))
        if not mask.any():
            lost = "; ".join(f"{rule}: {count}" for rule, count in left)
            raise ValueError(
                f"the reference region is empty after the rule '{name}' (voxels left: {lost});"
                f" change regions.reference.{setting}"
            )
    return Trimmed(mask, tuple(left))


_Step = tuple[str, str, Callable[[], BoolArray]]


def _planes(landmarks: Landmarks, whole: BoolArray, rules: TrimByPlanes) -> list[_Step]:
    """Rules of `TrimByPlanes` that are on: name, setting, and the voxels they keep."""
    labels = landmarks.labels
    where = np.nonzero(whole)

    def keep(chosen: BoolArray) -> BoolArray:
        kept = np.zeros(labels.shape, bool)
        kept[where] = chosen
        return kept

    x, y, z = _acpc_mm(landmarks, whole).T

    def behind() -> BoolArray:
        tip_y, tip_z = _tip(_ventricle(landmarks, "behind_fourth_ventricle"))
        return keep((y < tip_y) & (z < tip_z))

    def beside() -> BoolArray:
        across = _ventricle(landmarks, "beside_fourth_ventricle")[:, 0]
        left, right = np.percentile(across, (_RAGGED_PERCENT, 100 - _RAGGED_PERCENT))
        return keep((x < left) | (x > right))

    def below() -> BoolArray:
        cingulate = np.isin(labels.data, _POSTERIOR_CINGULATE)
        _require(
            landmarks,
            cingulate,
            "posterior cingulate cortex (1023, 2023)",
            "below_posterior_cingulate",
        )
        return keep(z < np.percentile(_acpc_mm(landmarks, cingulate)[:, 2], _RAGGED_PERCENT))

    candidates = (
        ("behind_fourth_ventricle", "behind and below the fourth ventricle's tip", behind),
        ("above_pons_floor", "above the lowest plane of the pons",
         lambda: keep(z > _pons_floor_mm(landmarks))),
        ("below_posterior_cingulate", "below the posterior cingulate cortex", below),
        ("beside_fourth_ventricle", "lateral to the fourth ventricle (no vermis)", beside),
    )  # fmt: skip
    steps: list[_Step] = [
        (name, setting, rule) for setting, name, rule in candidates if getattr(rules, setting)
    ]
    return [*steps, _erosion(labels, whole, rules.erosion_mm)]


def _distances(landmarks: Landmarks, whole: BoolArray, rules: TrimByDistance) -> list[_Step]:
    labels, grey = landmarks.labels, landmarks.grey
    other = np.isin(whole_brain_stem(labels.data), rules.neighbours)
    if rules.distance_mm > 0 and not other.any():
        raise ValueError(
            "the labels hold none of the neighbours that the reference region is to keep away "
            "from; set regions.reference.neighbours to numbers of this parcellation"
        )
    return [
        _erosion(labels, whole, rules.erosion_mm),
        (
            f"{rules.distance_mm:g} mm from its neighbours",
            "distance_mm",
            lambda: _farther(whole, ~other, rules.distance_mm, labels),
        ),
        (
            f"{100 * rules.least_grey:g} % grey matter",
            "least_grey",
            lambda: np.asarray(grey.data >= rules.least_grey),
        ),
    ]


def _erosion(labels: Volume, whole: BoolArray, erosion_mm: float) -> _Step:
    if erosion_mm == 0:
        return "no erosion", "erosion_mm", lambda: whole
    name = f"{erosion_mm:g} mm from other tissue"
    return name, "erosion_mm", lambda: _farther(whole, whole, erosion_mm, labels)


def _farther(whole: BoolArray, kept: BoolArray, least_mm: float, grid: Volume) -> BoolArray:
    """Voxels of the region whose centres lie at least so far from what is not kept."""
    box = bounding_box(grid.with_data(whole), least_mm + grid.voxel_size_mm.max())
    far = np.zeros(whole.shape, bool)
    # faces lie at half voxels: a hair's tolerance, or rounding would decide
    reach_mm = least_mm - 1e-3
    far[box] = distance_to_others_mm(kept[box], grid.voxel_size_mm, reach_mm) > reach_mm
    return far


def _acpc_mm(landmarks: Landmarks, mask: BoolArray) -> FloatArray:
    """Voxels (N, 3) of a mask in anatomical axes, mm, in the order of `numpy.argwhere`."""
    matrix = landmarks.t1w2acpc_xfm @ landmarks.labels.affine
    return apply_affine(matrix, np.argwhere(mask).astype(float))


def _ventricle(landmarks: Landmarks, setting: str) -> FloatArray:
    ventricle = largest_piece(landmarks.labels.data == _FOURTH_VENTRICLE)
    _require(landmarks, ventricle, "fourth ventricle (15)", setting)
    return _acpc_mm(landmarks, ventricle)


def _tip(ventricle_mm: FloatArray) -> tuple[float, float]:
    """Posterior tip (y, z) of the fourth ventricle, mm."""
    y = float(np.percentile(ventricle_mm[:, 1], _RAGGED_PERCENT))
    return y, float(np.median(ventricle_mm[ventricle_mm[:, 1] < y + _TIP_MM, 2]))


def _pons_floor_mm(landmarks: Landmarks) -> float:
    pons = landmarks.labels.data == PONS
    if pons.any():
        _require(landmarks, pons, "pons (174)", "above_pons_floor")
        heights = _acpc_mm(landmarks, pons)[:, 2]
    else:
        stem = landmarks.labels.data == BRAIN_STEM
        _require(landmarks, stem, "brain stem (16)", "above_pons_floor")
        heights = _acpc_mm(landmarks, stem)[landmarks.above_pons_floor, 2]
        if not heights.size:
            raise ValueError(
                "no brain stem above the lower border of the pons; look at the way to MNI space,"
                " or set regions.reference.above_pons_floor = false"
            )
    return float(np.percentile(heights, _RAGGED_PERCENT))


def _require(landmarks: Landmarks, landmark: BoolArray, name: str, setting: str) -> None:
    """A landmark of the size that an adult's has; a few stray voxels set no plane."""
    volume_ml = np.count_nonzero(landmark) * landmarks.labels.voxel_volume_mm3 / 1e3
    least_ml = _LEAST_ML[setting]
    if volume_ml < least_ml:
        found = f"{volume_ml:.2g} mL (at least {least_ml:g} expected)" if volume_ml else "no voxel"
        raise ValueError(
            f"the labels hold {found} of the {name}, which bounds the reference region; look at"
            f" the parcellation, set regions.reference.{setting} = false or use another recipe"
        )
