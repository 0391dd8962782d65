"""Nodes that find the brain in a T1w, its tissues, its way to MNI space and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.acpc import acpc_alignment, realigned
from pipeline.imaging.atlas_alignment import align_atlas
from pipeline.imaging.bias import correct_bias
from pipeline.imaging.brain import (
    filled_holes,
    is_stripped,
    locate_brain,
    missing_brain,
    refine_brain_mask,
    rough_brain_mask,
)
from pipeline.imaging.labelling import (
    TissueShares,
    label_brain,
    labels_on,
    tissue_shares,
    warp_atlas,
    with_pons,
)
from pipeline.imaging.normalisation import NormalisationQuality, normalise
from pipeline.io.atlas import load_template
from pipeline.io.deepbet import deepbet_mask
from pipeline.io.images import read_labels, read_volume, write_volume
from pipeline.io.tables import read_json, write_json
from pipeline.io.transforms import read_itk_transform, write_itk_transform
from pipeline.io.warps import read_field, write_field


class _FindBrainInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="T1w image, whole head or stripped")
    method = traits.Enum("registration", "deepbet", usedefault=True, desc="what finds the brain")
    threads = traits.Int(1, usedefault=True, nohash=True, desc="of deepbet; the mask is the same")


class _FindBrainOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, desc="brain, 0 and 1")
    mni2t1w_affine = File(exists=True, desc="affine, points of MNI space to points of the T1w")
    quality = File(exists=True, desc="JSON")


class FindBrain(SimpleInterface):  # type: ignore[misc]
    """Bias-corrected T1w and its brain mask."""

    input_spec, output_spec = _FindBrainInputSpec, _FindBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, template = Path(runtime.cwd), load_template()
        t1w, holes = filled_holes(read_volume(self.inputs.t1w))
        if self.inputs.method == "deepbet":
            rough = deepbet_mask(t1w, self.inputs.threads)
            affine = locate_brain(t1w.with_data(np.where(rough.data, t1w.data, 0)), template)
        else:
            affine = locate_brain(t1w, template)
            rough = rough_brain_mask(t1w, template, affine)
        missing = missing_brain(t1w, template, affine)
        corrected = correct_bias(t1w, rough)
        brain = refine_brain_mask(corrected.image, rough)
        quality = {
            "BrainVolume_mL": np.count_nonzero(brain.data) * brain.voxel_volume_mm3 / 1e3,
            "BiasFieldRange_percent": corrected.range_percent,
            "SkullStripped": is_stripped(corrected.image, brain),
            "MissingBrain_percent": 100 * missing.brain,
            "MissingLowerBrain_percent": 100 * missing.lower,
            "NotFiniteInBrain_percent": 100 * float(holes[brain.data].mean()),
        }
        self._results.update(
            t1w_preproc=str(write_volume(folder / "t1w_preproc.nii.gz", corrected.image)),
            brain_mask=str(write_volume(folder / "brain_mask.nii.gz", brain, np.uint8)),
            mni2t1w_affine=str(write_itk_transform(folder / "mni2t1w_affine.txt", affine)),
            quality=str(write_json(folder / "brain.json", quality)),
        )
        return runtime


class _NormaliseInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    mni2t1w_affine = File(exists=True, mandatory=True, desc="affine to start from")


class _NormaliseOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w2mni_xfm = File(exists=True, desc="displacements on MNI space that lead to the T1w")
    mni2t1w_xfm = File(exists=True, desc="displacements on the T1w that lead to MNI space")
    quality = File(exists=True, desc="JSON")


class Normalise(SimpleInterface):  # type: ignore[misc]
    """Deformable registration of the brain to the template, both ways."""

    input_spec, output_spec = _NormaliseInputSpec, _NormaliseOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        found = normalise(
            read_volume(self.inputs.t1w_preproc),
            read_volume(self.inputs.brain_mask),
            load_template(),
            read_itk_transform(self.inputs.mni2t1w_affine),
        )
        self._results.update(
            t1w2mni_xfm=str(write_field(folder / "t1w2mni_xfm.nii.gz", found.template2image)),
            mni2t1w_xfm=str(write_field(folder / "mni2t1w_xfm.nii.gz", found.image2template)),
            quality=str(
                write_json(folder / "normalisation.json", normalisation_figures(found.quality))
            ),
        )
        return runtime


def normalisation_figures(quality: NormalisationQuality) -> dict[str, float]:
    """Figures of a normalisation by their names in files."""
    return {_QUALITY_KEYS[key]: value for key, value in asdict(quality).items()}


_QUALITY_KEYS = {
    "correlation": "TemplateCorrelation",
    "affine_volume_ratio": "BrainToTemplateVolume_ratio",
    "jacobian_smallest": "JacobianSmallest",
    "jacobian_largest": "JacobianLargest",
    "inverse_error_mm_median": "InverseErrorMedian_mm",
    "inverse_error_mm_p99": "InverseErrorP99_mm",
}


class _AlignAcpcInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    t1w2mni_xfm = File(
        exists=True, mandatory=True, desc="displacements on MNI space that lead to the T1w"
    )


class _AlignAcpcOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w2acpc_xfm = File(exists=True, desc="rigid, points of the T1w to anatomical axes")
    t1w_acpc = File(exists=True, desc="T1w on voxels along anatomical axes")


class AlignAcpc(SimpleInterface):  # type: ignore[misc]
    """Anatomical axes of a head, and its T1w along them."""

    input_spec, output_spec = _AlignAcpcInputSpec, _AlignAcpcOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        matrix = acpc_alignment(read_field(self.inputs.t1w2mni_xfm))
        t1w, brain = read_volume(self.inputs.t1w_preproc), read_volume(self.inputs.brain_mask)
        image = realigned(t1w, brain, matrix)
        self._results.update(
            t1w2acpc_xfm=str(write_itk_transform(folder / "t1w2acpc_xfm.txt", matrix)),
            t1w_acpc=str(write_volume(folder / "t1w_acpc.nii.gz", image)),
        )
        return runtime


class _AlignAtlasInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    atlas = File(exists=True, mandatory=True, desc="labels in another generation of MNI space")
    template = File(exists=True, mandatory=True, desc="skull-stripped T1w template")


class _AlignAtlasOutputSpec(TraitedSpec):  # type: ignore[misc]
    atlas = File(exists=True, desc="FreeSurfer-numbered labels on the template's grid")


class AlignAtlas(SimpleInterface):  # type: ignore[misc]
    """Label atlas in the space of the template."""

    input_spec, output_spec = _AlignAtlasInputSpec, _AlignAtlasOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        atlas = align_atlas(read_labels(self.inputs.atlas), read_volume(self.inputs.template))
        self._results["atlas"] = str(
            write_volume(Path(runtime.cwd) / "atlas.nii.gz", atlas, np.int16)
        )
        return runtime


class _ClassifyTissuesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    mni2t1w_xfm = File(exists=True, mandatory=True, desc="displacements on the T1w")
    atlas = File(exists=True, mandatory=True, desc="labels in MNI space")
    brain_quality = File(exists=True, mandatory=True, desc="JSON of FindBrain")
    normalisation_quality = File(exists=True, mandatory=True, desc="JSON of Normalise")


class _ClassifyTissuesOutputSpec(TraitedSpec):  # type: ignore[misc]
    gm_probseg = File(exists=True, desc="share of grey matter")
    wm_probseg = File(exists=True, desc="share of white matter")
    csf_probseg = File(exists=True, desc="share of cerebrospinal fluid")
    quality = File(exists=True, desc="JSON, with what came before")


class ClassifyTissues(SimpleInterface):  # type: ignore[misc]
    """Shares of grey matter, white matter and fluid."""

    input_spec, output_spec = _ClassifyTissuesInputSpec, _ClassifyTissuesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        t1w, brain, atlas = _brain_and_atlas(self.inputs)
        shares = tissue_shares(t1w, brain, atlas)
        quality = read_json(self.inputs.brain_quality)
        quality |= read_json(self.inputs.normalisation_quality)
        written, volumes = written_shares(folder, shares)
        quality |= volumes
        quality["Warnings"] = anatomy_warnings(quality)
        self._results.update(written, quality=str(write_json(folder / "anatomy.json", quality)))
        return runtime


def written_shares(folder: Path, shares: TissueShares) -> tuple[dict[str, str], dict[str, float]]:
    """Files of the shares by port, and their volumes by key of the quality."""
    files, volumes = {}, {}
    named = {"gm": shares.grey, "wm": shares.white, "csf": shares.fluid}
    for tissue, share in named.items():
        volume_ml = float(share.data.sum(dtype=float)) * share.voxel_volume_mm3 / 1e3
        volumes[f"{tissue.upper()}Volume_mL"] = volume_ml
        files[f"{tissue}_probseg"] = str(write_volume(folder / f"{tissue}_probseg.nii.gz", share))
    return files, volumes


@dataclass(frozen=True)
class Likeness:
    """How well a warped brain correlates with the template."""

    usual: float
    least: float
    """Less asks for a look."""


OWN_LIKENESS = Likeness(usual=0.85, least=0.8)
"""Of our own warps, which look for it."""
OTHER_LIKENESS = Likeness(usual=0.71, least=0.6)
"""Of smoother warps that look for something else: SPM12's reached 0.71 on a real head, 0.79 on a
simulated one."""


def anatomy_warnings(quality: Mapping[str, Any], likeness: Likeness = OWN_LIKENESS) -> list[str]:
    """What in the figures of an anatomy asks for a look at its pictures."""
    doubts = {
        "MissingBrain_percent": (
            "of the brain lie outside the T1w image or where it is black",
            0.1,
        ),
        "MissingLowerBrain_percent": ("of cerebellum, pons and temporal poles do so", 0.1),
        "NotFiniteInBrain_percent": (
            "of the brain had no finite value; neighbours gave one",
            0.01,
        ),
    }
    told = [
        f"{quality[key]:.2g} % {what}" for key, (what, most) in doubts.items()
        if quality[key] > most
    ]  # fmt: skip
    return told + warp_warnings(quality, likeness)


def warp_warnings(quality: Mapping[str, Any], likeness: Likeness) -> list[str]:
    """What in the figures of a way to MNI space asks for a look."""
    told = []
    correlation, squeezed = quality["TemplateCorrelation"], quality["JacobianSmallest"]
    if correlation < likeness.least:
        told.append(
            f"the brain correlates with the template by {correlation:.2f} only; "
            f"{likeness.usual:g} is usual"
        )
    if squeezed < _USUAL_JACOBIAN:
        told.append(f"the way to MNI space squeezes the brain to {squeezed:.2g} of its volume")
    return told


_USUAL_JACOBIAN = 0.1


class _LabelBrainInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    gm_probseg = File(exists=True, mandatory=True, desc="share of grey matter")
    wm_probseg = File(exists=True, mandatory=True, desc="share of white matter")
    csf_probseg = File(exists=True, mandatory=True, desc="share of cerebrospinal fluid")
    mni2t1w_xfm = File(exists=True, mandatory=True, desc="displacements on the T1w")
    atlas = File(exists=True, mandatory=True, desc="labels in MNI space")


class _LabelBrainOutputSpec(TraitedSpec):  # type: ignore[misc]
    dseg = File(exists=True, desc="FreeSurfer-numbered labels on the grid of the T1w")


class LabelBrain(SimpleInterface):  # type: ignore[misc]
    """FreeSurfer-numbered labels of the brain."""

    input_spec, output_spec = _LabelBrainInputSpec, _LabelBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        t1w, brain, atlas = _brain_and_atlas(self.inputs)
        shares = TissueShares(
            grey=read_volume(self.inputs.gm_probseg),
            white=read_volume(self.inputs.wm_probseg),
            fluid=read_volume(self.inputs.csf_probseg),
        )
        labels = label_brain(t1w, brain, atlas, shares)
        # numbers up to 2035: int16 is what most viewers and FreeSurfer's tools expect
        path = write_volume(Path(runtime.cwd) / "dseg.nii.gz", labels, np.int16)
        self._results["dseg"] = str(path)
        return runtime


class _TakeLabelsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    # graphs are built without a look at the files that settings name; the survey has had one
    dseg = File(mandatory=True, desc="FreeSurfer-numbered labels, space of the T1w")
    brain_stem = File(exists=True, desc="FreeSurfer's substructures of the brain stem")
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")


class TakeLabels(SimpleInterface):  # type: ignore[misc]
    """Labels of a file, on the grid of the T1w."""

    input_spec, output_spec = _TakeLabelsInputSpec, _LabelBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        given, t1w = read_labels(self.inputs.dseg), read_volume(self.inputs.t1w_preproc)
        try:
            labels = labels_on(given, t1w, read_volume(self.inputs.brain_mask))
        except DataError as error:
            raise DataError(f"{Path(self.inputs.dseg).name}: {error}") from error
        if isdefined(self.inputs.brain_stem):
            labels = with_pons(labels, read_labels(self.inputs.brain_stem))
        path = write_volume(Path(runtime.cwd) / "dseg.nii.gz", labels, np.int16)
        self._results["dseg"] = str(path)
        return runtime


def _brain_and_atlas(inputs: Any) -> tuple[Volume, Volume, Volume]:
    """T1w, brain mask and atlas labels, all on the grid of the T1w."""
    t1w, brain = read_volume(inputs.t1w_preproc), read_volume(inputs.brain_mask)
    field = read_field(inputs.mni2t1w_xfm)
    return t1w, brain, warp_atlas(read_labels(inputs.atlas), field, brain)
