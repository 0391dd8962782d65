"""Where the PET lies on the T1w."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.motion import head_mask
from pipeline.imaging.resampling import coarsen, smooth
from pipeline.imaging.rigid import RigidSearch, best_start, centre_of_mass_mm, register_rigid

_VOXEL_MM = 2.0
_COARSE_VOXEL_MM = 4.0
_MARGIN_MM = 8.0
_COARSE = RigidSearch(shrink=(1,), smoothing_mm=(2.0,), first_step_mm=4.0)
_FINE = RigidSearch(shrink=(2, 1), smoothing_mm=(1.0, 0.0), first_step_mm=1.0, bins=48)

_AGREEMENT = 0.01


@dataclass(frozen=True, eq=False)
class PetOnT1w:
    """A coregistration and how it was found."""

    petref2t1w_xfm: FloatArray
    """(4, 4), world RAS+ mm."""
    mutual_information: float
    """At the end, nats; larger is better."""
    start_scores: dict[str, float]
    """Mutual information each start reached on the coarse grid; NaN where it failed."""
    start: str
    """The start that won."""
    shift_mm: float
    """Mean way of the brain's voxels from where the headers put them."""

    @property
    def starts_that_agree(self) -> int:
        """Starts whose score is within a per cent of the best: one alone may be an accident."""
        scores = np.array(list(self.start_scores.values()))
        return int(np.count_nonzero(scores >= (1 - _AGREEMENT) * np.nanmax(scores)))


def coregister(
    petref: Volume, t1w: Volume, brain_mask: BoolArray, smoothing_fwhm_mm: float
) -> PetOnT1w:
    """Rigid transform of a mean PET to a T1w by mutual information over the brain.

    Several first guesses are followed on a coarse grid; the one that ends best is refined.

    Parameters
    ----------
    petref, t1w : Volume
        Images of one head, anywhere in the world.
    brain_mask : (X, Y, Z) bool array
        Brain on the grid of `t1w`.
    smoothing_fwhm_mm : float
        Gaussian smoothing of the T1w towards the resolution of PET, FWHM.

    Returns
    -------
    PetOnT1w

    Raises
    ------
    ValueError
        If no start lets the images overlap.
    """
    # outside the brain T1w and PET have little in common: scalp and eyes only mislead
    brain = t1w.with_data(np.where(brain_mask, np.nan_to_num(t1w.data), 0).astype(np.float32))
    fixed = coarsen(smooth(brain, smoothing_fwhm_mm), _VOXEL_MM)
    pet = petref.with_data(np.nan_to_num(petref.data).astype(np.float32))
    coarse_fixed = coarsen(fixed, _COARSE_VOXEL_MM)
    starts = _starts(brain, pet)
    found, scores = best_start(
        coarse_fixed,
        coarsen(smooth(pet, _COARSE_VOXEL_MM), _COARSE_VOXEL_MM),
        _around_brain(coarse_fixed),
        list(starts.values()),
        _COARSE,
    )
    fine = register_rigid(fixed, pet, _around_brain(fixed), found.fixed2moving_xfm, _FINE)
    petref2t1w = np.linalg.inv(fine.fixed2moving_xfm)
    points = apply_affine(fixed.affine, np.argwhere(fixed.data > 0).astype(float))
    moved = apply_affine(fine.fixed2moving_xfm, points) - points
    return PetOnT1w(
        petref2t1w_xfm=petref2t1w,
        mutual_information=fine.score,
        start_scores=dict(zip(starts, scores.tolist(), strict=True)),
        start=list(starts)[int(np.nanargmax(scores))],
        shift_mm=float(np.linalg.norm(moved, axis=1).mean()),
    )


def _starts(brain: Volume, pet: Volume) -> dict[str, FloatArray]:
    """First guesses of the transform from T1w to PET."""
    head = pet.with_data(np.where(head_mask(pet), pet.data, 0))
    centre = centre_of_mass_mm(brain)
    centred = np.eye(4)
    centred[:3, 3] = centre_of_mass_mm(head) - centre
    starts: dict[str, FloatArray] = {"header": np.eye(4), "centres": centred}
    for name, angle_deg in (("nodded_up", 12.0), ("nodded_down", -12.0)):
        tilt = rigid_matrix(np.zeros(3), np.deg2rad([angle_deg, 0.0, 0.0]), centre)
        starts[f"centres_{name}"] = centred @ tilt
    return starts


def _around_brain(brain: Volume) -> BoolArray:
    distance = ndimage.distance_transform_edt(brain.data <= 0, sampling=brain.voxel_size_mm)
    return np.asarray(distance <= _MARGIN_MM)
