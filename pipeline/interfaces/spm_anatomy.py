"""Nodes around the unified segmentation of SPM12."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline.core.errors import DataError, ToolError
from pipeline.core.transforms import nearest_rigid
from pipeline.core.volume import Volume
from pipeline.imaging.bias import at_white_level
from pipeline.imaging.brain import filled_holes, is_stripped, locate_brain, missing_brain
from pipeline.imaging.itk import Field
from pipeline.imaging.multigrid import padded, pads_to_try, unpadded
from pipeline.imaging.normalisation import FIELD_SPACING_MM, judge_normalisation
from pipeline.imaging.tissue_masks import brain_of_tissues
from pipeline.imaging.tissue_space import align_tissue_space
from pipeline.imaging.warp import coarse_grid, compose_fields, moved_grid, moved_places
from pipeline.interfaces.anatomy import (
    OTHER_LIKENESS,
    anatomy_warnings,
    normalisation_figures,
    written_shares,
)
from pipeline.interfaces.spm import NewSegment
from pipeline.io.atlas import load_template
from pipeline.io.images import read_volume, write_volume
from pipeline.io.spm_segmentation import read_deformation, read_priors, read_segmentation_fit
from pipeline.io.tables import read_json, write_json
from pipeline.io.transforms import read_itk_transform, write_itk_transform
from pipeline.io.warps import read_field, write_field


class _SegmentInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="T1w image, whole head")
    sampling_mm = traits.Float(mandatory=True, desc="distance of the points the fit looks at")
    bias_regularisation = traits.Float(mandatory=True, desc="how little bias is expected")
    bias_fwhm_mm = traits.Float(mandatory=True, desc="smoothness of the bias field")
    population = traits.Enum("mni", "eastern", mandatory=True, desc="size of brain to expect")
    matlab_cmd = traits.Str(desc="what starts SPM12")
    paths = InputMultiObject(Directory(), desc="where SPM12 lies")
    use_mcr = traits.Bool(desc="whether the command is the standalone")


class _SegmentOutputSpec(TraitedSpec):  # type: ignore[misc]
    corrected = File(exists=True, desc="bias-corrected T1w")
    grey = File(exists=True, desc="probability of grey matter")
    white = File(exists=True, desc="probability of white matter")
    fluid = File(exists=True, desc="probability of cerebrospinal fluid")
    priors2t1w = File(exists=True, desc="SPM's forward deformation, on the space of its priors")
    t1w2priors = File(exists=True, desc="SPM's inverse deformation, on the T1w")
    handed2t1w_xfm = File(exists=True, desc="rigid; from where SPM saw the head to where it lies")
    priors = File(exists=True, desc="SPM's tissue probability maps")
    quality = File(exists=True, desc="JSON")


class SegmentHead(SimpleInterface):  # type: ignore[misc]
    """Unified segmentation of a T1w, again with empty planes around it where the warp was lost.

    SPM expects the commissures near the origin and the head upright: it is handed a copy whose
    header puts the brain there.
    """

    input_spec, output_spec = _SegmentInputSpec, _SegmentOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, template = Path(runtime.cwd), load_template()
        t1w, holes = filled_holes(read_volume(self.inputs.t1w))
        mni2t1w_affine = locate_brain(t1w, template)
        missing = missing_brain(t1w, template, mni2t1w_affine)
        handed2t1w = nearest_rigid(mni2t1w_affine)
        handed = Volume(t1w.data, np.linalg.inv(handed2t1w) @ t1w.affine)
        lost = []
        for pad in pads_to_try(handed, self.inputs.sampling_mm):
            made = self._segmented(folder / f"pad{pad}", padded(handed, pad))
            fit = read_segmentation_fit(made["fit"])
            if fit.finite:
                break
            lost.append(pad)
            shutil.rmtree(folder / f"pad{pad}")
        else:
            raise ToolError(
                "SPM12 lost the warp of its segmentation (its likelihood is no number), as it "
                f"does on some grids, also with {lost[1:]} voxels added to the first axis; set "
                "anatomy.sampling_mm to another value"
            )
        for name in ("corrected", "grey", "white", "fluid"):
            image = unpadded(read_volume(made[name]), pad)
            path = write_volume(folder / f"{name}.nii.gz", Volume(image.data, t1w.affine))
            self._results[name] = str(path)
        quality = {
            "MissingBrain_percent": 100 * missing.brain,
            "MissingLowerBrain_percent": 100 * missing.lower,
            "NotFinite": int(holes.sum()),
            "SegmentationSampling_mm": self.inputs.sampling_mm,
            "SegmentationPadding_voxels": pad,
            "SegmentationsWithoutWarp": len(lost),
        }
        self._results.update(
            priors2t1w=made["forward"],
            t1w2priors=made["inverse"],
            handed2t1w_xfm=str(write_itk_transform(folder / "handed2t1w.txt", handed2t1w)),
            priors=str(fit.priors),
            quality=str(write_json(folder / "segmentation.json", quality)),
        )
        return runtime

    def _segmented(self, folder: Path, t1w: Volume) -> dict[str, str]:
        """Files of one run."""
        folder.mkdir()
        image = write_volume(folder / "t1w.nii", t1w, np.float32)
        inputs = self.inputs
        program = {
            name: getattr(inputs, name)
            for name in ("matlab_cmd", "paths", "use_mcr")
            if isdefined(getattr(inputs, name))
        }
        NewSegment(
            channel_files=[str(image)],
            channel_info=(inputs.bias_regularisation, inputs.bias_fwhm_mm, (False, True)),
            affine_regularization=inputs.population,
            sampling_distance=inputs.sampling_mm,
            write_deformation_fields=[True, True],
            **program,
        ).run(cwd=str(folder))
        names = {
            "corrected": "mt1w.nii",
            "grey": "c1t1w.nii",
            "white": "c2t1w.nii",
            "fluid": "c3t1w.nii",
            "forward": "y_t1w.nii",
            "inverse": "iy_t1w.nii",
            "fit": "t1w_seg8.mat",
        }
        lacking = [name for name in names.values() if not (folder / name).is_file()]
        if lacking:
            raise ToolError(f"SPM12, NewSegment: it left no {', '.join(lacking)}")
        return {key: str(folder / name) for key, name in names.items()}


class _AlignPriorsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    priors = File(exists=True, mandatory=True, desc="tissue probability maps")


class _AlignPriorsOutputSpec(TraitedSpec):  # type: ignore[misc]
    template2priors = File(exists=True, desc="displacements on the template's space")
    priors2template = File(exists=True, desc="displacements on the space of the priors")


class AlignPriors(SimpleInterface):  # type: ignore[misc]
    """The way between SPM's own MNI space and the template's."""

    input_spec, output_spec = _AlignPriorsInputSpec, _AlignPriorsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(runtime.cwd)
        space = align_tissue_space(*read_priors(self.inputs.priors), load_template())
        self._results.update(
            template2priors=str(write_field(folder / "there.nii.gz", space.template2priors)),
            priors2template=str(write_field(folder / "back.nii.gz", space.priors2template)),
        )
        return runtime


class _TakeSegmentationInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="T1w image")
    corrected = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    grey = File(exists=True, mandatory=True, desc="probability of grey matter")
    white = File(exists=True, mandatory=True, desc="probability of white matter")
    fluid = File(exists=True, mandatory=True, desc="probability of cerebrospinal fluid")
    priors2t1w = File(exists=True, mandatory=True, desc="SPM's forward deformation")
    t1w2priors = File(exists=True, mandatory=True, desc="SPM's inverse deformation")
    handed2t1w_xfm = File(exists=True, mandatory=True, desc="rigid, ITK")
    template2priors = File(exists=True, mandatory=True, desc="displacements")
    priors2template = File(exists=True, mandatory=True, desc="displacements")
    segmentation_quality = File(exists=True, mandatory=True, desc="JSON of SegmentHead")


class _TakeSegmentationOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, desc="bias-corrected T1w, scaled")
    brain_mask = File(exists=True, desc="brain, 0 and 1")
    gm_probseg = File(exists=True, desc="share of grey matter")
    wm_probseg = File(exists=True, desc="share of white matter")
    csf_probseg = File(exists=True, desc="share of cerebrospinal fluid")
    t1w2mni_xfm = File(exists=True, desc="displacements on MNI space that lead to the T1w")
    mni2t1w_xfm = File(exists=True, desc="displacements on the T1w that lead to MNI space")
    quality = File(exists=True, desc="JSON, with what came before")


class TakeSegmentation(SimpleInterface):  # type: ignore[misc]
    """Brain, shares and warps as every backend of the anatomy gives them."""

    input_spec, output_spec = _TakeSegmentationInputSpec, _TakeSegmentationOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, template = Path(runtime.cwd), load_template()
        tissues = [read_volume(getattr(self.inputs, name)) for name in ("grey", "white", "fluid")]
        brain, shares = brain_of_tissues(*tissues)
        if not brain.data.any():
            raise DataError("SPM12 found no brain in the T1w; look at the image")
        corrected = at_white_level(read_volume(self.inputs.corrected), brain)
        way = judge_normalisation(corrected, brain, template, self._fields(template, brain))
        quality = read_json(self.inputs.segmentation_quality)
        not_finite = quality.pop("NotFinite")
        quality |= {
            "BrainVolume_mL": np.count_nonzero(brain.data) * brain.voxel_volume_mm3 / 1e3,
            "BiasFieldRange_percent": _bias_range(
                read_volume(self.inputs.t1w), corrected, brain.data
            ),
            "SkullStripped": is_stripped(corrected, brain),
            "NotFiniteInBrain_percent": 100 * not_finite / np.count_nonzero(brain.data),
            **normalisation_figures(way.quality),
        }
        written, volumes = written_shares(folder, shares)
        quality |= volumes
        doubts = anatomy_warnings(quality, OTHER_LIKENESS)
        quality["Warnings"] = [*doubts, *_told_of_segmentation(quality)]
        self._results.update(
            written,
            t1w_preproc=str(write_volume(folder / "t1w_preproc.nii.gz", corrected)),
            brain_mask=str(write_volume(folder / "brain_mask.nii.gz", brain, np.uint8)),
            t1w2mni_xfm=str(write_field(folder / "t1w2mni_xfm.nii.gz", way.template2image)),
            mni2t1w_xfm=str(write_field(folder / "mni2t1w_xfm.nii.gz", way.image2template)),
            quality=str(write_json(folder / "anatomy.json", quality)),
        )
        return runtime

    def _fields(self, template: Volume, brain: Volume) -> tuple[Field, Field]:
        """From the template to the T1w and back, through the space of SPM's priors."""
        inputs = self.inputs
        handed2t1w = read_itk_transform(inputs.handed2t1w_xfm)
        forward = moved_places(read_deformation(inputs.priors2t1w), handed2t1w)
        backward = moved_grid(read_deformation(inputs.t1w2priors), handed2t1w)
        there, back = read_field(inputs.template2priors), read_field(inputs.priors2template)
        return (
            compose_fields(there, forward, coarse_grid(template, FIELD_SPACING_MM)),
            compose_fields(backward, back, coarse_grid(brain, FIELD_SPACING_MM)),
        )


def _bias_range(raw: Volume, corrected: Volume, inside: Any) -> float:
    """Spread of the bias field, 5th to 95th percentile, percent of its median."""
    known = inside & (raw.data > 0) & (corrected.data > 0)
    field = raw.data[known] / corrected.data[known]
    low, middle, high = np.percentile(field, [5, 50, 95])
    return float(100 * (high - low) / middle)


def _told_of_segmentation(quality: dict[str, Any]) -> list[str]:
    if not quality["SegmentationsWithoutWarp"]:
        return []
    pad = quality["SegmentationPadding_voxels"]
    return [
        "SPM12 lost the warp of its segmentation on the grid of this T1w, a known fault; it was "
        f"segmented again with {pad} empty planes at both ends of the first axis, which worked"
    ]
