"""Nodes that hand a brain to other programs and take back their way to the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
)

from pipeline.imaging.normalisation import (
    around_brain,
    coarse_template,
    judge_normalisation,
)
from pipeline.interfaces.anatomy import OTHER_LIKENESS, normalisation_figures, warp_warnings
from pipeline.io.atlas import load_template
from pipeline.io.images import read_grid, read_volume, write_volume
from pipeline.io.tables import read_json, write_json
from pipeline.io.tool_warps import read_fsl_warp
from pipeline.io.warps import write_field


class _BrainInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")


class _HandBrainOutputSpec(TraitedSpec):  # type: ignore[misc]
    brain = File(exists=True, desc="stripped T1w")
    template = File(exists=True, desc="stripped template, 2 mm")
    template_mask = File(exists=True, desc="its brain and what lies around it")


class HandBrain(SimpleInterface):  # type: ignore[misc]
    """Brain and template as other programs read them: finite, uncompressed NIfTI."""

    input_spec, output_spec = _BrainInputSpec, _HandBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        t1w, inside = read_volume(self.inputs.t1w_preproc), read_volume(self.inputs.brain_mask)
        finite = np.nan_to_num(t1w.data, posinf=0, neginf=0)
        brain = t1w.with_data(np.where(inside.data > 0, finite, np.float32(0)))
        template = coarse_template(load_template())
        mask = around_brain(template)
        self._results.update(
            brain=str(write_volume(folder / "brain.nii", brain)),
            template=str(write_volume(folder / "template.nii", template)),
            template_mask=str(write_volume(folder / "template_mask.nii", mask, np.uint8)),
        )
        return runtime


class _TakeWarpsInputSpec(_BrainInputSpec):
    brain = File(exists=True, mandatory=True, desc="brain as handed over")
    template = File(exists=True, mandatory=True, desc="template as handed over")
    warp = File(exists=True, mandatory=True, desc="FSL's relative warp on the template")
    inverse = File(exists=True, mandatory=True, desc="FSL's relative warp on the brain")
    quality = File(exists=True, mandatory=True, desc="JSON of the anatomy")


class _TakeWarpsOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w2mni_xfm = File(exists=True, desc="displacements on MNI space that lead to the T1w")
    mni2t1w_xfm = File(exists=True, desc="displacements on the T1w that lead to MNI space")
    quality = File(exists=True, desc="JSON, with what came before")


class TakeWarps(SimpleInterface):  # type: ignore[misc]
    """The way another program found, measured as one of our own."""

    input_spec, output_spec = _TakeWarpsInputSpec, _TakeWarpsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        brain, template = read_grid(self.inputs.brain), read_grid(self.inputs.template)
        found = judge_normalisation(
            read_volume(self.inputs.t1w_preproc),
            read_volume(self.inputs.brain_mask),
            load_template(),
            (
                read_fsl_warp(self.inputs.warp, template, brain),
                read_fsl_warp(self.inputs.inverse, brain, template),
            ),
        )
        quality = read_json(self.inputs.quality) | normalisation_figures(found.quality)
        told = [*quality.get("Warnings", ()), *warp_warnings(quality, OTHER_LIKENESS)]
        quality["Warnings"] = list(dict.fromkeys(told))
        self._results.update(
            t1w2mni_xfm=str(write_field(folder / "t1w2mni_xfm.nii.gz", found.template2image)),
            mni2t1w_xfm=str(write_field(folder / "mni2t1w_xfm.nii.gz", found.image2template)),
            quality=str(write_json(folder / "anatomy.json", quality)),
        )
        return runtime
