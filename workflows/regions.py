"""Regions in PET space and their curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import Regions, Resources
from pipeline.imaging.regions import MniShape, RegionSpec
from pipeline.interfaces.regions import CarryRegions, ExtractTacs
from workflows._graph import io_node, same

METHODS = (
    "Regions were carried to PET space by the inverse of the coregistration, as each region's "
    "share of every PET voxel; curves are share-weighted means. The reference region kept a "
    "stated distance from other tissue."
)


@dataclass(frozen=True)
class RegionsInputs:
    """Ports of `inputnode`."""

    dseg: str
    """FreeSurfer-numbered labels, T1w space."""
    mni2t1w_xfm: str
    """Displacement field on the T1w grid: a T1w point goes to its place in MNI152 space."""
    petref: str
    """PET grid."""
    petref2t1w_xfm: str
    """ITK transform ``from-petref_to-T1w``."""
    pet_preproc: str
    """Frames in one space, Bq/mL."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`."""


@dataclass(frozen=True)
class RegionsOutputs:
    """Ports of `outputnode`."""

    regions_dseg: str
    """Regions on the PET grid."""
    regions_dseg_tsv: str
    """Their numbers and names."""
    morph: str
    """Their volumes in both spaces."""
    brain_mask: str
    """Brain on the PET grid."""
    tacs: str
    """A row per frame, a column per region, Bq/mL."""
    region_weights: str
    """Share of every region in every PET voxel."""


def region_spec(options: Regions) -> RegionSpec:
    """The settings of regions as the value that nodes take."""
    return RegionSpec(
        labels=tuple(options.labels.items()),
        mni=tuple(
            MniShape(name, shape.centre_mm, shape.radii_mm) for name, shape in options.mni.items()
        ),
        reference_name=options.reference_name,
        reference=options.reference,
        reference_erosion_mm=options.reference_erosion_mm,
        supersampling=options.supersampling,
    )


def init_regions_wf(options: Regions, resources: Resources, *, name: str = "regions_wf") -> Any:
    """Regions in PET space and their curves; see `RegionsInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(RegionsInputs, "inputnode")
    outputnode = io_node(RegionsOutputs, "outputnode")
    carry_regions = pe.Node(
        CarryRegions(spec=region_spec(options), minimum_volume_mm3=options.minimum_volume_mm3),
        name="carry_regions",
        mem_gb=min(2.0, resources.mem_gb),
    )
    extract_tacs = pe.Node(
        ExtractTacs(minimum_volume_mm3=options.minimum_volume_mm3),
        name="extract_tacs",
        mem_gb=min(1.0, resources.mem_gb),
    )
    carried = ("dseg", "mni2t1w_xfm", "petref", "petref2t1w_xfm")
    drawn = ("regions_dseg", "regions_dseg_tsv", "morph", "brain_mask", "region_weights")
    workflow.connect(
        [
            (inputnode, carry_regions, same(*carried)),
            (inputnode, extract_tacs, [("pet_preproc", "pet_preproc"), ("scan", "scan")]),
            (carry_regions, extract_tacs, [("region_weights", "region_weights")]),
            (carry_regions, outputnode, same(*drawn)),
            (extract_tacs, outputnode, [("tacs", "tacs")]),
        ]
    )
    return workflow
