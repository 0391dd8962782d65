"""Where the PET lies on the T1w."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.motion import head_mask
from pipeline.imaging.resampling import coarsen, smooth
from pipeline.imaging.rigid import RigidSearch, centre_of_mass_mm, register_rigid
from pipeline.imaging.tissue_contrast import TissueContrast

_FINEST_MM = 2.0
_SEARCHES = {
    "rough": RigidSearch(shrink=(1,), smoothing_mm=(0.0,), first_step_mm=4.0, last_step_mm=0.2),
    "middle": RigidSearch(shrink=(1,), smoothing_mm=(0.0,), first_step_mm=1.0, last_step_mm=0.05),
    "fine": RigidSearch(
        shrink=(1,), smoothing_mm=(0.0,), first_step_mm=0.5, last_step_mm=0.02, bins=48
    ),
}
_MARGIN_MM = 8.0
_TURN_DEG = 15.0
_SAME_PLACE_MM = 5.0
_EARLY_S = 600.0

WHOLE = "whole"
"""Name of the reference that every session has: the mean of the scan."""


@dataclass(frozen=True, eq=False)
class HeadOnMr:
    """What coregistration knows of the MR side; all on the grid of the T1w.

    Parameters
    ----------
    t1w : Volume
        Bias-corrected T1w.
    brain_mask : (X, Y, Z) bool array
        Brain.
    tissues : tuple of Volume
        Probability of each tissue, such as grey matter, white matter and fluid.
    """

    t1w: Volume
    brain_mask: BoolArray
    tissues: tuple[Volume, ...]


@dataclass(frozen=True, eq=False)
class PetOnT1w:
    """A place of the PET on the T1w, and what speaks for it."""

    petref2t1w_xfm: FloatArray
    """(4, 4), world RAS+ mm."""
    score: float
    """Tissue contrast of all references there, 0 to 1; see `TissueContrast`."""
    brain_in_field: float
    """Share of the brain that the PET covers."""
    shift_mm: float
    """Mean way of the brain's voxels from where the headers put them."""
    reference: str = ""
    """The reference that was registered; empty where nothing was."""
    start: str = ""
    """The start that won."""
    reference_scores: Mapping[str, float] = field(default_factory=dict)
    """Tissue contrast where each reference led, before the last refinement."""
    spread_mm: float = float("nan")
    """Mean distance over the brain between where the best and the next best reference led."""
    starts_that_agree: int = 0
    """Starts of the winner that led to within 5 mm of one place: one alone may be an accident."""
    starts_tried: int = 0

    @property
    def margin(self) -> float:
        """How far the winner's score is above that of the next reference; NaN without one."""
        scores = sorted(self.reference_scores.values())
        return scores[-1] - scores[-2] if len(scores) > 1 else float("nan")


def reference_windows(timing: FrameTiming) -> dict[str, BoolArray]:
    """Frames (F,) of every PET reference besides the mean of the scan.

    Early frames show blood flow, which every tracer shares; late ones show what it binds to. A
    window that holds no frame, or all of them, is left out.
    """
    end_s = timing.end_s - timing.start_s[0]
    windows = {"early": timing.mid_s < _EARLY_S, "late": end_s > end_s[-1] / 2}
    return {name: frames for name, frames in windows.items() if frames.any() and not frames.all()}


def coregister(
    references: Mapping[str, Volume],
    head: HeadOnMr,
    smoothing_fwhm_mm: float,
    given_start: FloatArray | None = None,
) -> PetOnT1w:
    """Rigid transform of a PET to a T1w by mutual information over the brain.

    Every reference follows every start at 8 mm. The place of each reference that shows the most
    tissue contrast is refined at 4 mm, and the best of these at 2 mm. Mutual information is what
    each search climbs; tissue contrast, the same measure for all, says which of them to believe.

    Parameters
    ----------
    references : mapping of str to Volume
        Images of one head on one grid, the mean of the scan as `WHOLE` among them; NaN where the
        scanner did not see.
    head : HeadOnMr
        Its MR side, anywhere in the world.
    smoothing_fwhm_mm : float
        Gaussian smoothing of the T1w towards the resolution of PET, FWHM.
    given_start : (4, 4) array, optional
        First guess of petref2t1w_xfm. It is then the only start.

    Returns
    -------
    PetOnT1w

    Raises
    ------
    ValueError
        If no start lets the images overlap, or the PET shows nothing.
    """
    contrast = _contrast(references, head)
    # outside the brain T1w and PET have little in common: scalp and eyes only mislead
    brain = head.t1w.with_data(
        np.where(head.brain_mask, np.nan_to_num(head.t1w.data), 0).astype(np.float32)
    )
    if given_start is None:
        starts = _starts(brain, references[WHOLE])
    else:
        starts = {"given": np.linalg.inv(given_start)}
    pyramid = _Pyramid.of(coarsen(smooth(brain, smoothing_fwhm_mm), _FINEST_MM), references)
    guesses = [_Place(name, start, xfm) for name in references for start, xfm in starts.items()]
    rough = [r for g in guesses if (r := pyramid.climb("rough", g, contrast)) is not None]
    if not rough:
        raise ValueError("PET and T1w overlap from no start")
    led = dict.fromkeys(place.reference for place in rough)
    best = [_best([place for place in rough if place.reference == name]) for name in led]
    middle = [pyramid.climb("middle", place, contrast) or place for place in best]
    winner = _best(middle)
    final = pyramid.climb("fine", winner, contrast) or winner
    runs = [f for f in rough if f.reference == winner.reference]
    others = [place for place in middle if place is not winner]
    spread = contrast.apart_mm(winner.xfm, _best(others).xfm) if others else float("nan")
    return PetOnT1w(
        petref2t1w_xfm=np.linalg.inv(final.xfm),
        score=final.score,
        brain_in_field=contrast.share_seen(final.xfm),
        shift_mm=contrast.apart_mm(final.xfm, np.eye(4)),
        reference=final.reference,
        start=final.start,
        reference_scores={place.reference: place.score for place in middle},
        spread_mm=spread,
        starts_that_agree=sum(
            contrast.apart_mm(run.xfm, _best(runs).xfm) < _SAME_PLACE_MM for run in runs
        ),
        starts_tried=len(starts),
    )


def judge_place(
    references: Mapping[str, Volume], head: HeadOnMr, petref2t1w_xfm: FloatArray
) -> PetOnT1w:
    """A place that somebody else found, measured as `coregister` measures its own.

    Raises
    ------
    ValueError
        If there is no brain to measure on.
    """
    contrast = _contrast(references, head)
    xfm = np.linalg.inv(petref2t1w_xfm)
    return PetOnT1w(
        petref2t1w_xfm=petref2t1w_xfm,
        score=contrast.score(xfm),
        brain_in_field=contrast.share_seen(xfm),
        shift_mm=contrast.apart_mm(xfm, np.eye(4)),
    )


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a reference led from a start."""

    reference: str
    start: str
    xfm: FloatArray
    """(4, 4), T1w world to PET world."""
    score: float = float("nan")


def _best(places: list[_Place]) -> _Place:
    return max(places, key=lambda place: place.score)


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """Both sides on the grids of the search, and where on them to compare."""

    brains: Mapping[str, Volume]
    masks: Mapping[str, BoolArray]
    pets: Mapping[tuple[str, str], Volume]

    @classmethod
    def of(cls, fine: Volume, references: Mapping[str, Volume]) -> _Pyramid:
        brains = {"fine": fine}
        pets = {("fine", name): pet for name, pet in references.items()}
        for level, voxel_mm, finer in (("middle", 4.0, "fine"), ("rough", 8.0, "middle")):
            brains[level] = coarsen(smooth(brains[finer], voxel_mm), voxel_mm)
            for name in references:
                pets[level, name] = coarsen(smooth(pets[finer, name], voxel_mm), voxel_mm)
        masks = {level: _around_brain(brain) for level, brain in brains.items()}
        return cls(brains, masks, pets)

    def climb(self, level: str, place: _Place, contrast: TissueContrast) -> _Place | None:
        """Where mutual information leads from a place; None where nothing overlaps."""
        brain, pet = self.brains[level], self.pets[level, place.reference]
        try:
            found = register_rigid(brain, pet, self.masks[level], place.xfm, _SEARCHES[level])
        except ValueError:
            return None
        xfm = found.fixed2moving_xfm
        return _Place(place.reference, place.start, xfm, contrast.score(xfm))


def _contrast(references: Mapping[str, Volume], head: HeadOnMr) -> TissueContrast:
    return TissueContrast.of(tuple(references.values()), head.tissues, head.brain_mask)


def _starts(brain: Volume, whole: Volume) -> dict[str, FloatArray]:
    """First guesses of the transform from T1w to PET."""
    known = whole.with_data(np.nan_to_num(whole.data))
    shown = known.with_data(np.where(head_mask(known), known.data, 0))
    centre = centre_of_mass_mm(brain)
    centred = np.eye(4)
    centred[:3, 3] = centre_of_mass_mm(shown) - centre
    starts: dict[str, FloatArray] = {"header": np.eye(4), "centres": centred}
    for axis, name in enumerate(("nodded", "tilted", "turned")):
        for sign, end in ((1, "plus"), (-1, "minus")):
            angles = sign * np.deg2rad(_TURN_DEG) * np.eye(3)[axis]
            turn = rigid_matrix(np.zeros(3), angles, centre)
            starts[f"{name}_{end}"] = centred @ turn
    return starts


def _around_brain(brain: Volume) -> BoolArray:
    distance = ndimage.distance_transform_edt(brain.data <= 0, sampling=brain.voxel_size_mm)
    return np.asarray(distance <= _MARGIN_MM)
