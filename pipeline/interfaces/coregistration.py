"""Nodes that lay the PET on the T1w."""

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
from pipeline.imaging.coregistration import coregister
from pipeline.io.images import read_volume
from pipeline.io.tables import write_json
from pipeline.io.transforms import write_itk_transform


class _CoregisterInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    petref = File(exists=True, mandatory=True, desc="mean PET")
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="smoothing of the T1w")


class _TransformOutputSpec(TraitedSpec):  # type: ignore[misc]
    petref2t1w_xfm = File(exists=True, desc="ITK transform from-petref_to-T1w")
    quality = File(exists=True, desc="scores, JSON")


class Coregister(SimpleInterface):  # type: ignore[misc]
    """Rigid PET-MR alignment by mutual information."""

    input_spec, output_spec = _CoregisterInputSpec, _TransformOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        petref, t1w = read_volume(self.inputs.petref), read_volume(self.inputs.t1w_preproc)
        brain = read_volume(self.inputs.brain_mask).data > 0
        try:
            found = coregister(petref, t1w, brain, self.inputs.smoothing_fwhm_mm)
        except ValueError as error:
            raise DataError(f"coregistration of PET and T1w: {error}") from error
        quality = {
            "StartsThatAgree": f"{found.starts_that_agree} of {len(found.start_scores)}",
            "ShiftFromHeaders_mm": found.shift_mm,
            "MutualInformation": found.mutual_information,
        }
        self._results.update(_write(Path(runtime.cwd), found.petref2t1w_xfm, quality))
        return runtime


class KeepPlace(SimpleInterface):  # type: ignore[misc]
    """The identity, for scans that arrive aligned."""

    input_spec, output_spec = BaseInterfaceInputSpec, _TransformOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        self._results.update(_write(Path(runtime.cwd), np.eye(4), {"Start": "identity"}))
        return runtime


def _write(folder: Path, petref2t1w_xfm: Any, quality: dict[str, Any]) -> dict[str, str]:
    return {
        "petref2t1w_xfm": str(write_itk_transform(folder / "petref2t1w.txt", petref2t1w_xfm)),
        "quality": str(write_json(folder / "coregistration.json", quality)),
    }
