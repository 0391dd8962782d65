"""Nodes that hand PET and T1w to other programs and take back where these put them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.motion import head_mask
from pipeline.imaging.rigid import centre_of_mass_mm
from pipeline.interfaces.coregistration import OnHeadInputSpec, TransformOutputSpec, judged
from pipeline.io.images import read_grid, read_volume, write_volume
from pipeline.io.tool_transforms import read_rigid_transform


class _HandHeadInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    petref = File(exists=True, mandatory=True, desc="mean PET")
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    stripped = traits.Bool(False, usedefault=True, desc="hand the brain over, not the head")
    centred = traits.Bool(False, usedefault=True, desc="put both centres of mass in one place")


class _HandHeadOutputSpec(TraitedSpec):  # type: ignore[misc]
    pet = File(exists=True, desc="mean PET; where centred, with another place in its header")
    t1w = File(exists=True, desc="T1w, whole head or brain")


class HandHead(SimpleInterface):  # type: ignore[misc]
    """Mean PET and T1w as other programs read them: finite, uncompressed NIfTI."""

    input_spec, output_spec = _HandHeadInputSpec, _HandHeadOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        pet, t1w = _finite(self.inputs.petref), _finite(self.inputs.t1w_preproc)
        inside = read_volume(self.inputs.brain_mask).data > 0
        brain = t1w.with_data(np.where(inside, t1w.data, np.float32(0)))
        if self.inputs.centred:
            pet = _shifted_onto(pet, brain)
        t1w = brain if self.inputs.stripped else t1w
        self._results.update(
            pet=str(write_volume(folder / "pet.nii", pet)),
            t1w=str(write_volume(folder / "t1w.nii", t1w)),
        )
        return runtime


def _finite(path: str) -> Volume:
    volume = read_volume(path)
    return volume.with_data(np.nan_to_num(volume.data, posinf=0, neginf=0))


def _shifted_onto(pet: Volume, brain: Volume) -> Volume:
    """The PET with the centre of its head in the centre of the brain."""
    try:
        head = pet.with_data(np.where(head_mask(pet), pet.data, np.float32(0)))
    except ValueError as error:
        raise DataError(
            f"coregistration of PET and T1w: the mean PET shows nothing ({error})"
        ) from error
    affine = pet.affine.copy()
    affine[:3, 3] += centre_of_mass_mm(brain) - centre_of_mass_mm(head)
    return Volume(pet.data, affine)


class _TakePlaceInputSpec(OnHeadInputSpec):
    handed_pet = File(exists=True, mandatory=True, desc="mean PET as handed over")
    handed_t1w = File(exists=True, mandatory=True, desc="T1w as handed over")
    result = File(exists=True, mandatory=True, desc="what the program left")
    form = traits.Enum("spm", "fsl", "lta", mandatory=True, desc="what kind of file that is")
    moved = traits.Enum("pet", "t1w", usedefault=True, desc="which image was put onto the other")


class TakePlace(SimpleInterface):  # type: ignore[misc]
    """The place another program found, measured as one of our own."""

    input_spec, output_spec = _TakePlaceInputSpec, TransformOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        pet, t1w = read_grid(self.inputs.handed_pet), read_grid(self.inputs.handed_t1w)
        form, result = self.inputs.form, self.inputs.result
        if self.inputs.moved == "pet":
            handed2t1w = read_rigid_transform(form, result, pet, t1w)
        else:
            handed2t1w = np.linalg.inv(read_rigid_transform(form, result, t1w, pet))
        # the header may have been given another place before
        petref2handed = pet.affine @ np.linalg.inv(read_grid(self.inputs.petref).affine)
        place = handed2t1w @ petref2handed
        self._results.update(judged(Path(runtime.cwd), place, self.inputs))
        return runtime
