"""Regions in PET space and their curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.regions import Ellipsoid, MniImage, Regions
from pipeline.config.schema import Resources
from pipeline.core.labels import LABEL_NAMES, side_of
from pipeline.imaging.mni_regions import MniMask, MniRegion, MniShape
from pipeline.imaging.regions import RegionSpec
from pipeline.interfaces.regions import CarryRegions, ExtractTacs
from workflows._graph import Node, io_node, same


def methods(options: Regions) -> str:
    """What was done, for the page."""
    means = "share-weighted means"
    if options.least_share > 0:
        means = f"means over voxels that belong to the region by {100 * options.least_share:g} %"
    return (
        "Regions were carried to PET space by the inverse of the coregistration, as each region's "
        f"share of every PET voxel; curves are {means}. The reference region was trimmed on the "
        "T1w by the rules listed under Regions."
    )


@dataclass(frozen=True)
class RegionsInputs:
    """Ports of `inputnode`."""

    dseg: str
    """FreeSurfer-numbered labels, T1w space."""
    gm_probseg: str
    """Share of grey matter, T1w space."""
    t1w2acpc_xfm: str
    """ITK transform ``from-T1w_to-ACPC``."""
    mni2t1w_xfm: str
    """Displacement field on the T1w grid: a T1w point goes to its place in MNI152 space."""
    petref: str
    """PET grid."""
    petref2t1w_xfm: str
    """ITK transform ``from-petref_to-T1w``."""
    pet_preproc: str
    """Frames in one space, Bq/mL, or how to make them."""
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
    """Their volumes in both spaces, and what all frames cover of them."""
    reference_morph: str
    """What the rules left of the reference region."""
    reference_mask: str
    """The trimmed reference region, T1w space."""
    brain_mask: str
    """Brain on the PET grid."""
    tacs: str
    """A row per frame, a column per region, Bq/mL."""
    tac_statistics: str
    """A row per frame and region: means, spread, voxels, uptake value."""
    reference_uptake: str
    """Uptake of the reference region by the dose, over the scan and late in it."""
    region_weights: str
    """Share of every region in every PET voxel."""


def region_spec(options: Regions) -> RegionSpec:
    """The settings of regions as the value that nodes take."""
    labels = dict(options.labels)
    if options.sides:
        for side, ending in (("left", "L"), ("right", "R")):
            for name, members in options.labels.items():
                if own := tuple(label for label in members if side_of(label) == side):
                    labels[f"{name}{ending}"] = own
    if options.every_label:
        labels |= {_plain(name): (label,) for label, name in LABEL_NAMES.items()}
    return RegionSpec(
        labels=tuple(labels.items()),
        mni=tuple(_mni_region(name, shape) for name, shape in options.mni.items()),
        reference_name=options.reference_name,
        reference=options.reference,
        supersampling=options.supersampling,
        least_share=options.least_share,
        grey_masked=options.grey_masked,
    )


def named_images(spec: RegionSpec) -> list[str]:
    """Label images in MNI space that regions name, each once."""
    return sorted({region.image for region in spec.mni if isinstance(region, MniMask)})


def _mni_region(name: str, region: Ellipsoid | MniImage) -> MniRegion:
    if isinstance(region, MniImage):
        return MniMask(name, str(region.image.absolute()), region.labels)
    return MniShape(name, region.centre_mm, region.radii_mm)


def _plain(name: str) -> str:
    """Name of a label in letters and digits, as entities of BIDS are."""
    return "".join(character for character in name if character.isalnum())


def init_regions_wf(options: Regions, resources: Resources, *, name: str = "regions_wf") -> Any:
    """Regions in PET space and their curves; see `RegionsInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(RegionsInputs, "inputnode")
    outputnode = io_node(RegionsOutputs, "outputnode")
    spec = region_spec(options)
    carry_regions = Node(
        CarryRegions(spec=spec), name="carry_regions", mem_gb=min(2.0, resources.mem_gb)
    )
    if images := named_images(spec):
        carry_regions.inputs.mni_images = images
    extract_tacs = Node(
        ExtractTacs(
            minimum_volume_mm3=options.minimum_volume_mm3,
            reference=options.reference_name,
            late_min=options.late_min,
        ),
        name="extract_tacs",
        mem_gb=min(1.0, resources.mem_gb),
    )
    carried = ("dseg", "gm_probseg", "t1w2acpc_xfm", "mni2t1w_xfm", "petref", "petref2t1w_xfm")
    drawn = (
        "regions_dseg",
        "regions_dseg_tsv",
        "reference_morph",
        "reference_mask",
        "brain_mask",
        "region_weights",
    )
    measured = ("morph", "tacs", "tac_statistics", "reference_uptake")
    workflow.connect(
        [
            (inputnode, carry_regions, same(*carried)),
            (inputnode, extract_tacs, [("pet_preproc", "pet_preproc"), ("scan", "scan")]),
            (carry_regions, extract_tacs, [("region_weights", "region_weights")]),
            (carry_regions, outputnode, same(*drawn)),
            (extract_tacs, outputnode, same(*measured)),
        ]
    )
    return workflow
