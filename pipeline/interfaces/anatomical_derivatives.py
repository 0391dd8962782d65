"""Nodes that take the anatomy of sMRIPrep, fMRIPrep or PETPrep."""

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
    isdefined,
    traits,
)

from pipeline.bids.anatomical_derivatives import (
    Lacking,
    find_anatomy,
    read_source,
)
from pipeline.bids.entities import parse_name
from pipeline.core.errors import DataError
from pipeline.core.transforms import same_grid
from pipeline.core.volume import Volume
from pipeline.imaging.bias import at_white_level
from pipeline.imaging.brain import filled_holes, is_stripped, missing_brain
from pipeline.imaging.normalisation import (
    FIELD_SPACING_MM,
    Normalisation,
    judge_normalisation,
)
from pipeline.imaging.shared_world import ALIKE, SharedWorld, compare_worlds
from pipeline.imaging.tissue_masks import shares_within
from pipeline.imaging.warp import affine_part, coarse_grid, resample
from pipeline.interfaces.anatomy import (
    OTHER_LIKENESS,
    anatomy_warnings,
    normalisation_figures,
    written_shares,
)
from pipeline.io.atlas import load_template
from pipeline.io.images import read_volume, write_volume
from pipeline.io.tables import write_json
from pipeline.io.warps import read_transform_as_field, write_field


class _FindInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    # graphs are built without a look at the files that settings name; the survey has had one
    description = File(
        mandatory=True,
        desc="dataset_description.json of the derivatives, which each run of theirs writes anew",
    )
    t1w = File(exists=True, mandatory=True, desc="raw T1w image, by its name")


class _FindOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, desc="brain, 0 and 1")
    gm_probseg = File(exists=True, desc="probability of grey matter")
    wm_probseg = File(exists=True, desc="probability of white matter")
    csf_probseg = File(exists=True, desc="probability of cerebrospinal fluid")
    t1w2mni_xfm = File(exists=True, desc="composite transform of ANTs")
    mni2t1w_xfm = File(exists=True, desc="its inverse")
    source = traits.Dict(desc="what made them, and the file of their T1w, by key of the quality")


class FindDerivatives(SimpleInterface):  # type: ignore[misc]
    """Files of other derivatives that belong to a T1w."""

    input_spec, output_spec = _FindInputSpec, _FindOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        source = read_source(Path(self.inputs.description).parent)
        t1w = Path(self.inputs.t1w)
        name = parse_name(t1w.name)
        entities = {} if name is None else dict(name.entities)
        found = find_anatomy(source, entities)
        if isinstance(found, Lacking):
            raise DataError(f"{t1w.name}: {found.message}; {found.next_step}")
        self._results.update({port: str(path) for port, path in vars(found).items()})
        self._results["source"] = {
            "Pipeline": source.pipeline,
            "PipelineVersion": source.version or "n/a",
            "PipelineT1w": found.t1w_preproc.relative_to(source.folder).as_posix(),
        }
        return runtime


class _TakeInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="raw T1w image")
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain, 0 and 1")
    gm_probseg = File(exists=True, mandatory=True, desc="probability of grey matter")
    wm_probseg = File(exists=True, mandatory=True, desc="probability of white matter")
    csf_probseg = File(exists=True, mandatory=True, desc="probability of cerebrospinal fluid")
    t1w2mni_xfm = File(exists=True, mandatory=True, desc="composite transform of ANTs")
    mni2t1w_xfm = File(exists=True, mandatory=True, desc="its inverse")
    source = traits.Dict(desc="what made them, by key of the quality")


class _TakeOutputSpec(TraitedSpec):  # type: ignore[misc]
    t1w_preproc = File(exists=True, desc="bias-corrected T1w, scaled")
    brain_mask = File(exists=True, desc="brain, 0 and 1")
    gm_probseg = File(exists=True, desc="share of grey matter")
    wm_probseg = File(exists=True, desc="share of white matter")
    csf_probseg = File(exists=True, desc="share of cerebrospinal fluid")
    t1w2mni_xfm = File(exists=True, desc="displacements on MNI space that lead to the T1w")
    mni2t1w_xfm = File(exists=True, desc="displacements on the T1w that lead to MNI space")
    quality = File(exists=True, desc="JSON")


class TakeDerivatives(SimpleInterface):  # type: ignore[misc]
    """Brain, shares and warps as every backend of the anatomy gives them.

    Their grid is that of the derivatives' T1w, whose world need not be that of the raw T1w: it may
    be a mean of several images, or lie where the first session's does. How far the two are apart
    is measured and told.
    """

    input_spec, output_spec = _TakeInputSpec, _TakeOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, template = Path(runtime.cwd), load_template()
        t1w, holes = filled_holes(read_volume(self.inputs.t1w_preproc))
        brain, *tissues = (
            self._on_grid_of(t1w, port)
            for port in ("brain_mask", "gm_probseg", "wm_probseg", "csf_probseg")
        )
        brain = brain.with_data(brain.data > 0.5)
        if not brain.data.any():
            raise DataError(f"{Path(self.inputs.brain_mask).name}: the mask is empty")
        corrected = at_white_level(t1w, brain)
        world = self._world(corrected, brain)
        way = self._way(corrected, brain, template)
        affine = affine_part(
            way.template2image, resample(template, coarse_grid(template, FIELD_SPACING_MM))
        )
        missing = missing_brain(corrected, template, affine)
        quality = {
            **(self.inputs.source if isdefined(self.inputs.source) else {}),
            "BrainVolume_mL": np.count_nonzero(brain.data) * brain.voxel_volume_mm3 / 1e3,
            "SkullStripped": is_stripped(corrected, brain),
            "MissingBrain_percent": 100 * missing.brain,
            "MissingLowerBrain_percent": 100 * missing.lower,
            "NotFiniteInBrain_percent": 100 * float(holes[brain.data].mean()),
            **{_WORLD_KEYS[key]: value for key, value in asdict(world).items()},
            **normalisation_figures(way.quality),
        }
        written, volumes = written_shares(folder, shares_within(brain, *tissues))
        quality |= volumes
        quality["Warnings"] = [*anatomy_warnings(quality, OTHER_LIKENESS), *_told_of_world(world)]
        self._results.update(
            written,
            t1w_preproc=str(write_volume(folder / "t1w_preproc.nii.gz", corrected)),
            brain_mask=str(write_volume(folder / "brain_mask.nii.gz", brain, np.uint8)),
            t1w2mni_xfm=str(write_field(folder / "t1w2mni_xfm.nii.gz", way.template2image)),
            mni2t1w_xfm=str(write_field(folder / "mni2t1w_xfm.nii.gz", way.image2template)),
            quality=str(write_json(folder / "anatomy.json", quality)),
        )
        return runtime

    def _on_grid_of(self, t1w: Volume, port: str) -> Volume:
        path = Path(getattr(self.inputs, port))
        volume = read_volume(path)
        if volume.shape != t1w.shape or not same_grid(t1w.shape, volume.affine, t1w.affine):
            name = Path(self.inputs.t1w_preproc).name
            raise DataError(
                f"{path.name}: does not lie on the grid of {name}; are both of one run of the "
                "pipeline?"
            )
        return volume

    def _world(self, corrected: Volume, brain: Volume) -> SharedWorld:
        raw, _ = filled_holes(read_volume(self.inputs.t1w))
        try:
            return compare_worlds(corrected, brain, raw)
        except DataError as error:
            names = [Path(path).name for path in (self.inputs.t1w_preproc, self.inputs.t1w)]
            raise DataError(f"{names[0]} and {names[1]}: {error}") from error

    def _way(self, corrected: Volume, brain: Volume, template: Volume) -> Normalisation:
        fields = (
            read_transform_as_field(
                self.inputs.t1w2mni_xfm, coarse_grid(template, FIELD_SPACING_MM)
            ),
            read_transform_as_field(self.inputs.mni2t1w_xfm, coarse_grid(brain, FIELD_SPACING_MM)),
        )
        try:
            return judge_normalisation(corrected, brain, template, fields)
        except DataError as error:
            raise DataError(f"{Path(self.inputs.t1w2mni_xfm).name}: {error}") from error


_WORLD_KEYS = {
    "correlation": "RawT1wCorrelation",
    "aligned_correlation": "RawT1wCorrelationAligned",
    "apart_mm": "RawT1wDistance_mm",
    "brain_in_picture": "BrainInRawT1w",
}


def _told_of_world(world: SharedWorld) -> list[str]:
    """What of the two T1w images asks for a look."""
    if not world.aligned_correlation >= ALIKE:
        return [
            "the T1w of the derivatives does not resemble the raw T1w, wherever that is put "
            f"(correlation {world.aligned_correlation:.2f}); make sure that both are of one head"
        ]
    if world.apart_mm > _APART_MM:
        return [
            "the T1w of the derivatives does not lie where the raw T1w does "
            f"({world.apart_mm:.1f} mm apart): all results lie with that of the derivatives; "
            "transforms or labels that were made for the raw T1w do not fit"
        ]
    return []


_APART_MM = 1.0
