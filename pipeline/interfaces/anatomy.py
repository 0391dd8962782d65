"""Nodes that turn a T1w into tissues, labels and the way to MNI152 space."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
)

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.atlas_alignment import align_atlas
from pipeline.imaging.bias import correct_bias
from pipeline.imaging.brain import locate_brain, refine_brain_mask, rough_brain_mask
from pipeline.imaging.itk import Field
from pipeline.imaging.labelling import Labelling, label_brain
from pipeline.imaging.normalisation import normalise
from pipeline.imaging.warp import resample_through_field
from pipeline.io.atlas import load_atlas, load_template
from pipeline.io.images import read_labels, read_volume, write_volume
from pipeline.io.tables import read_json, write_json
from pipeline.io.warps import read_field, write_field


class _T1wInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="T1w as in the data set")


class _ExtractBrainOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, desc="brain with its fluid")
    location = File(exists=True, desc="affine, template to T1w points, text")
    quality = File(exists=True, desc="evenness and volume, JSON")


class ExtractBrain(SimpleInterface):  # type: ignore[misc]
    """Find the brain, even out its intensities, follow its edge."""

    input_spec, output_spec = _T1wInputSpec, _ExtractBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, template = Path(runtime.cwd), load_template()
        image = read_volume(self.inputs.t1w)
        image = image.with_data(np.maximum(np.nan_to_num(image.data, posinf=0.0), 0))
        try:
            location = locate_brain(image, template)
            rough = rough_brain_mask(image, template, location)
            corrected = correct_bias(image, rough)
            brain = refine_brain_mask(corrected.image, rough)
        except (DataError, ValueError) as error:
            raise DataError(f"{Path(self.inputs.t1w).name}: {error}") from error
        np.savetxt(folder / "location.txt", location, fmt="%.17g")
        quality = {
            "BiasFieldRange_percent": corrected.range_percent,
            "BrainVolume_mL": float(np.count_nonzero(brain.data)) * brain.voxel_volume_mm3 / 1e3,
        }
        self._results.update(
            t1w_preproc=str(write_volume(folder / "t1w.nii.gz", corrected.image, np.float32)),
            brain_mask=str(write_volume(folder / "brain.nii.gz", brain, np.uint8)),
            location=str(folder / "location.txt"),
            quality=str(write_json(folder / "brain.json", quality)),
        )
        return runtime


class _NormaliseInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="its brain")
    location = File(exists=True, mandatory=True, desc="affine to start from")
    brain_quality = File(exists=True, mandatory=True, desc="figures so far, JSON")


class _NormaliseOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w2mni_xfm = File(exists=True, desc="field on the MNI grid, MNI to T1w points")
    mni2t1w_xfm = File(exists=True, desc="field on a grid over the T1w, T1w to MNI points")
    quality = File(exists=True, desc="the figures so far and those of the registration, JSON")


class Normalise(SimpleInterface):  # type: ignore[misc]
    """Affine and deformable registration to MNI152NLin2009cAsym, both ways."""

    input_spec, output_spec = _NormaliseInputSpec, _NormaliseOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        image, brain = read_volume(self.inputs.t1w_preproc), read_volume(self.inputs.brain_mask)
        start = np.loadtxt(self.inputs.location)
        found = normalise(image, brain, load_template(), start)
        quality = read_json(self.inputs.brain_quality) | asdict(found.quality)
        self._results.update(
            t1w2mni_xfm=str(write_field(folder / "t1w2mni.nii.gz", found.template2image)),
            mni2t1w_xfm=str(write_field(folder / "mni2t1w.nii.gz", found.image2template)),
            quality=str(write_json(folder / "normalisation.json", quality)),
        )
        return runtime


class _AlignAtlasOutputSpec(TraitedSpec):  # type: ignore[misc]
    atlas = File(exists=True, desc="Desikan-Killiany labels in MNI152NLin2009cAsym")


class AlignAtlas(SimpleInterface):  # type: ignore[misc]
    """Bring the atlas into the space of the template; the same for every brain."""

    input_spec, output_spec = BaseInterfaceInputSpec, _AlignAtlasOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        aligned = align_atlas(load_atlas(), load_template())
        path = Path(runtime.cwd) / "atlas.nii.gz"
        self._results["atlas"] = str(write_volume(path, aligned, np.int16))
        return runtime


class _LabelInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="its brain")
    mni2t1w_xfm = File(exists=True, mandatory=True, desc="field over the T1w, T1w to MNI points")
    atlas = File(exists=True, mandatory=True, desc="labels in MNI152 space")


class _TissuesOutputSpec(TraitedSpec):  # type: ignore[misc]
    gm_probseg = File(exists=True, desc="share of grey matter")
    wm_probseg = File(exists=True, desc="share of white matter")
    csf_probseg = File(exists=True, desc="share of cerebrospinal fluid")


class SegmentTissues(SimpleInterface):  # type: ignore[misc]
    """Shares of grey matter, white matter and fluid in every voxel of the brain."""

    input_spec, output_spec = _LabelInputSpec, _TissuesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        found, folder = _labelled(self.inputs), Path(runtime.cwd)
        for name, share in (("gm", found.grey), ("wm", found.white), ("csf", found.fluid)):
            path = write_volume(folder / f"{name}.nii.gz", share, np.float32)
            self._results[f"{name}_probseg"] = str(path)
        return runtime


class _DsegOutputSpec(TraitedSpec):  # type: ignore[misc]
    dseg = File(exists=True, desc="FreeSurfer-numbered labels")


class LabelBrain(SimpleInterface):  # type: ignore[misc]
    """FreeSurfer-numbered labels on the grid of the T1w."""

    input_spec, output_spec = _LabelInputSpec, _DsegOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(runtime.cwd) / "dseg.nii.gz"
        labels = _labelled(self.inputs).labels
        self._results["dseg"] = str(write_volume(path, labels, np.int16))
        return runtime


def _labelled(inputs: Any) -> Labelling:
    image, brain = read_volume(inputs.t1w_preproc), read_volume(inputs.brain_mask)
    field: Field = read_field(inputs.mni2t1w_xfm)
    atlas: Volume = resample_through_field(read_labels(inputs.atlas), field, order=0, onto=image)
    try:
        return label_brain(image, brain.data > 0, atlas)
    except ValueError as error:
        raise DataError(f"labelling of the brain: {error}") from error
