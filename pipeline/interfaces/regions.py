"""Nodes that carry regions to PET space and read their curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline.bids.scan import ScanInputs
from pipeline.bids.uptake import reference_uptake
from pipeline.core.errors import DataError
from pipeline.core.labels import PONS, whole_brain_stem
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.reference import Trimmed
from pipeline.imaging.regions import (
    LEAST_COVERED,
    Anatomy,
    RegionSpec,
    RegionStatistics,
    RegionWeights,
    region_fractions,
)
from pipeline.io.frames import frames_in_petref
from pipeline.io.images import (
    read_labels,
    read_volume,
    write_array,
    write_volume,
)
from pipeline.io.region_weights import read_region_weights, write_region_weights
from pipeline.io.tables import write_table
from pipeline.io.transforms import read_itk_transform
from pipeline.io.warps import read_field
from pipeline.kinetics.uptake import suv_per_bqml

BRAIN = "Brain"
"""Column of the curve of the whole brain, for the weights of the fit."""
TOO_SMALL, UNCOVERED = "volume", "cover"
"""Why a region has no curve."""


class _CarryRegionsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    dseg = File(exists=True, mandatory=True, desc="FreeSurfer-numbered labels, T1w space")
    mni2t1w_xfm = File(
        exists=True, mandatory=True, desc="field on the T1w grid, T1w to MNI points"
    )
    t1w2acpc_xfm = File(exists=True, mandatory=True, desc="ITK transform from-T1w_to-ACPC")
    gm_probseg = File(exists=True, mandatory=True, desc="share of grey matter, T1w space")
    # graphs are built without a look at the files that settings name; the survey has had one
    mni_images = InputMultiObject(File(), desc="label images that regions name")
    petref = File(exists=True, mandatory=True, desc="PET grid")
    petref2t1w_xfm = File(exists=True, mandatory=True, desc="ITK transform from-petref_to-T1w")
    spec = traits.Instance(RegionSpec, mandatory=True, desc="regions to draw")


class _CarryRegionsOutputSpec(TraitedSpec):  # type: ignore[misc]
    region_weights = File(exists=True, desc="weights of every region, npz")
    regions_dseg = File(exists=True, desc="regions on the PET grid")
    regions_dseg_tsv = File(exists=True, desc="their names")
    reference_morph = File(exists=True, desc="what the rules left of the reference region")
    reference_mask = File(exists=True, desc="the trimmed reference region, T1w space")
    brain_mask = File(exists=True, desc="brain on the PET grid")


class CarryRegions(SimpleInterface):  # type: ignore[misc]
    """Measure the share of every region in every PET voxel."""

    input_spec, output_spec = _CarryRegionsInputSpec, _CarryRegionsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        spec, folder = self.inputs.spec, Path(runtime.cwd)
        grid = read_volume(self.inputs.petref)
        anatomy = read_anatomy(self.inputs)
        petref2t1w_xfm = read_itk_transform(self.inputs.petref2t1w_xfm)
        try:
            found = region_fractions(anatomy, grid, petref2t1w_xfm, spec)
        except ValueError as error:
            raise DataError(f"regions in PET space: {error}") from error
        fractions = found.regions
        brain = (found.labels.of(found.labels.labels) >= 0.5).reshape(grid.shape)
        if not brain.any():
            raise DataError(
                "no brain inside the field of view of the PET: the coregistration failed"
            )
        weights = RegionWeights.of(
            {**fractions, BRAIN: brain.ravel().astype(float)},
            grid.voxel_volume_mm3,
            found.t1w_mm3,
            found.in_field,
        )
        names = pd.DataFrame({"index": np.arange(len(spec.names)) + 1, "name": spec.names})
        drawn = _drawn(fractions, grid.shape)
        seen = np.bincount(drawn.ravel(), minlength=len(names) + 1)[1:]
        self._results.update(
            region_weights=str(write_region_weights(folder / "regions.npz", weights)),
            regions_dseg=str(write_array(folder / "regions.nii.gz", drawn, grid.affine)),
            regions_dseg_tsv=str(write_table(folder / "regions.tsv", names.assign(voxels=seen))),
            reference_morph=str(
                write_table(folder / "reference.tsv", _trimming(found.reference, anatomy.labels))
            ),
            reference_mask=str(
                write_volume(
                    folder / "reference.nii.gz",
                    anatomy.labels.with_data(found.reference.mask),
                    np.uint8,
                )
            ),
            brain_mask=str(
                write_array(folder / "brain.nii.gz", brain.astype(np.uint8), grid.affine)
            ),
        )
        return runtime


def read_anatomy(inputs: Any) -> Anatomy:
    """What the T1w tells about places, from the files of a node."""
    images = inputs.mni_images if isdefined(inputs.mni_images) else []
    labels = read_labels(inputs.dseg)
    pons = labels.data == PONS
    return Anatomy(
        labels=labels.with_data(whole_brain_stem(labels.data)),
        pons=pons if pons.any() else None,
        t1w2mni=read_field(inputs.mni2t1w_xfm),
        t1w2acpc_xfm=read_itk_transform(inputs.t1w2acpc_xfm),
        grey=read_volume(inputs.gm_probseg),
        mni_images={str(path): read_labels(path) for path in images},
    )


def _trimming(reference: Trimmed, labels: Volume) -> pd.DataFrame:
    """What is left of the reference region after each rule, on the T1w."""
    rules, left = zip(*reference.left, strict=True)
    counts = np.array(left)
    return pd.DataFrame(
        {
            "index": np.arange(len(rules)),
            "name": rules,
            "volume-mm3": counts * labels.voxel_volume_mm3,
            "voxels": counts,
            "voxels-lost": -np.diff(counts, prepend=counts[0]),
        }
    )


def _drawn(fractions: dict[str, FloatArray], shape: tuple[int, int, int]) -> Any:
    """Number of the region that fills a voxel by half or more, for eyes; smaller ones on top."""
    drawn = np.zeros(int(np.prod(shape)), np.int16)
    numbered = enumerate(fractions.values(), start=1)
    for index, share in sorted(numbered, key=lambda item: -float(item[1].sum())):
        drawn[share >= 0.5] = index
    return drawn.reshape(shape)


class _ExtractTacsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    pet_preproc = File(exists=True, mandatory=True, desc="frames in one space, Bq/mL")
    region_weights = File(exists=True, mandatory=True, desc="weights of every region, npz")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing")
    minimum_volume_mm3 = traits.Float(mandatory=True, desc="less of a region gives no curve")
    reference = traits.Str(mandatory=True, desc="name of the reference region")
    late_min = traits.Tuple(
        traits.Float(), traits.Float(), mandatory=True, desc="late window of its uptake, minutes"
    )


class _ExtractTacsOutputSpec(TraitedSpec):  # type: ignore[misc]
    tacs = File(exists=True, desc="a row per frame, a column per region, Bq/mL")
    tac_statistics = File(exists=True, desc="a row per frame and region")
    reference_uptake = File(exists=True, desc="uptake of the reference region by the dose")
    morph = File(exists=True, desc="volumes in both spaces, and what all frames cover of them")


class ExtractTacs(SimpleInterface):  # type: ignore[misc]
    """Regional means of every frame over the voxels that all frames cover.

    A region of which they cover too little has no curve; that of the brain stays, for the weights.
    One frame is in memory at a time.
    """

    input_spec, output_spec = _ExtractTacsInputSpec, _ExtractTacsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        regions, folder = read_region_weights(self.inputs.region_weights), Path(runtime.cwd)
        scan, frames = self.inputs.scan, frames_in_petref(self.inputs.pet_preproc)
        seen = [regions.statistics(frame.data) for frame in frames]
        times = pd.DataFrame({"frame_start": scan.timing.start_s, "frame_end": scan.timing.end_s})
        statistics = pd.concat([_statistics(regions.names, frame) for frame in seen])
        statistics["suv"] = statistics["mean"] * suv_per_bqml(
            scan.injected_mbq, scan.body_weight_kg
        )
        statistics = pd.concat(
            [times.loc[times.index.repeat(len(regions.names))].reset_index(drop=True),
             statistics.reset_index(drop=True)], axis=1,
        )  # fmt: skip
        means = np.array([frame.mean for frame in seen])
        # frames know the same voxels; where they do not, what the worst of them knows
        known = np.min([frame.known for frame in seen], axis=0)
        usable = regions.usable(known, self.inputs.minimum_volume_mm3)
        means[:, ~usable & (np.array(regions.names) != BRAIN)] = np.nan
        tacs = pd.concat([times, pd.DataFrame(means, columns=list(regions.names))], axis=1)
        reference = self.inputs.reference
        uptake = reference_uptake(
            reference, tacs[reference].to_numpy(float), scan, self.inputs.late_min
        )
        self._results.update(
            tacs=str(write_table(folder / "tacs.tsv", tacs)),
            tac_statistics=str(write_table(folder / "stats.tsv", statistics)),
            reference_uptake=str(write_table(folder / "uptake.tsv", uptake)),
            morph=str(write_table(folder / "morph.tsv", _morph(regions, known, usable))),
        )
        return runtime


def _morph(regions: RegionWeights, known: FloatArray, usable: BoolArray) -> pd.DataFrame:
    """Volumes of the regions, what the frames cover of them, and why one has no curve."""
    covered = regions.covered(known)
    # a region that is not on the T1w is small, not cut off
    uncovered = (covered < LEAST_COVERED) & (regions.t1w_mm3 != 0)
    reason = pd.Series(np.where(uncovered, UNCOVERED, TOO_SMALL)).mask(usable)
    table = pd.DataFrame(
        {
            "name": regions.names,
            "volume-mm3": regions.volume_mm3,
            "volume-T1w-mm3": regions.t1w_mm3,
            "in-field": regions.in_field,
            "covered": covered,
            "usable": usable.astype(int),
            "reason": reason,
        }
    )
    table = table[table["name"] != BRAIN].reset_index(drop=True)
    table.insert(0, "index", np.arange(len(table)) + 1)
    return table


def _statistics(names: tuple[str, ...], frame: RegionStatistics) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": names,
            "mean": frame.mean,
            "mean-core": frame.core_mean,
            "sd": frame.standard_deviation,
            "voxels": frame.voxels,
            "voxels-core": frame.core_voxels,
        }
    )
