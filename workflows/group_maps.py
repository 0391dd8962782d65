"""Maps of the cohort: means by group and session, voxelwise comparisons, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from pipeline.bids.group_maps import MapDesign, clean_labels, planned_comparisons
from pipeline.config.voxelwise import Voxelwise
from pipeline.imaging.mni_regions import MniRegion
from pipeline.interfaces.group_maps import (
    CompareMaps,
    DrawMeanMaps,
    DrawStatisticMaps,
    MeanMaps,
    MniRegions,
)
from pipeline.io.atlas import template_path
from pipeline.io.map_inference import Inference
from workflows._atlas import atlas_node
from workflows._graph import Node, io_node, same


def methods_of_means(design: MapDesign) -> str:
    """What was done to make means, for the page."""
    return (
        f"Maps of {design.parameter} in MNI152 space were averaged over subjects by group and "
        "session, where at least half of them have a value."
    )


def methods_of_comparisons(design: MapDesign, options: Voxelwise) -> str:
    """What was done to compare sessions, for the page; empty where nothing is compared."""
    if not planned_comparisons(design):
        return ""
    smoothed = f", smoothed by {options.smoothing_fwhm_mm:g} mm FWHM," * bool(
        options.smoothing_fwhm_mm
    )
    text = (
        f"Maps of the change{smoothed} were tested in every voxel (nilearn) against zero"
        f"{' within groups' * bool(design.groups)}"
    )
    text += " and between the first two groups." if len(design.groups) > 1 else "."
    if options.inference == "none":
        return text
    what = {
        "mass": f"mass of clusters formed at two-sided p < {options.cluster_p:g}",
        "tfce": "threshold-free cluster enhancement",
    }
    return (
        f"{text} Family-wise errors of both directions were held at {options.alpha:g} by the "
        f"{what[options.inference]} under {options.n_permutations} random sign flips of subjects, "
        "or permutations of them between groups."
    )


@dataclass(frozen=True)
class GroupMapsInputs:
    """Ports of `inputnode`: lists in one order, an entry per map."""

    maps: str
    """Parametric maps in MNI152 space, one per PET run."""
    participant_ids: str
    """Subject of every map, without ``sub-``."""
    sessions: str
    """Session of every map, without ``ses-``; empty for none."""
    groups: str
    """Group of the subject of every map; empty for none, and while blinded."""


@dataclass(frozen=True)
class GroupMapsOutputs:
    """Ports of `outputnode`."""

    images: str
    """Mean, count and statistic maps, named as they are saved."""
    sidecars: str
    """Their JSON sidecars, in the same order."""
    svg: str
    """Figures: mean maps, then maps of t if there are any."""
    png: str
    """The same at the resolution of paper."""
    page_png: str
    """The same at the resolution of the page."""
    facts: str
    """Of every comparison: kind, groups, numbers, what was found, or the reason for no map."""


def voxelwise_inference(options: Voxelwise) -> Inference:
    """The settings of inference as the value that nodes take."""
    return Inference(
        method=options.inference,
        n_permutations=options.n_permutations,
        cluster_p=options.cluster_p,
        alpha=options.alpha,
        seed=options.seed,
    )


@dataclass(frozen=True)
class MarkedRegions:
    """Regions that figures mark."""

    labels: Mapping[str, Sequence[int]]
    """Region to its FreeSurfer numbers."""
    mni: Sequence[MniRegion] = ()


def init_group_maps_wf(
    design: MapDesign,
    options: Voxelwise,
    regions: MarkedRegions,
    *,
    name: str = "group_maps_wf",
) -> Any:
    """Mean maps, voxelwise comparisons and their figures.

    Parameters
    ----------
    design : MapDesign
        Sessions and groups, in order, and what is compared.
    options : Voxelwise
        How it is compared.
    regions : MarkedRegions
        What figures mark.

    Notes
    -----
    Inputs and outputs: `GroupMapsInputs`, `GroupMapsOutputs`.
    """
    clean_labels(design.parts)  # refuses what could not be saved, before anything runs
    workflow = pe.Workflow(name=name)
    inputnode, outputnode = (
        io_node(GroupMapsInputs, "inputnode"),
        io_node(GroupMapsOutputs, "outputnode"),
    )
    atlas = atlas_node()
    mni_regions = Node(
        MniRegions(
            region_labels={key: list(value) for key, value in regions.labels.items()},
            mni=list(regions.mni),
        ),
        name="mni_regions",
        mem_gb=0.7,
    )
    mean_maps = Node(MeanMaps(design=design), name="mean_maps", mem_gb=0.3)
    draw_means = Node(
        DrawMeanMaps(template=str(template_path()), symbol=design.parameter),
        name="draw_means",
        mem_gb=0.7,
    )
    gather = {
        port: Node(niu.Merge(2, ravel_inputs=True), name=f"gather_{port}", mem_gb=0.1)
        for port in ("images", "sidecars", "svg", "png", "page_png")
    }
    workflow.connect(
        [
            (inputnode, mean_maps, same("maps", "participant_ids", "sessions", "groups")),
            (atlas, mni_regions, same("atlas")),
            (mni_regions, draw_means, same("regions", "names")),
            (mean_maps, draw_means, same("means", "titles")),
            *((mean_maps, gather[port], [(port, "in1")]) for port in ("images", "sidecars")),
            *((draw_means, gather[port], [(port, "in1")]) for port in ("svg", "png", "page_png")),
            *((node, outputnode, [("out", port)]) for port, node in gather.items()),
        ]
    )
    if planned_comparisons(design):
        _add_comparisons(workflow, design, options)
    else:
        outputnode.inputs.facts = []
    return workflow


def _add_comparisons(workflow: Any, design: MapDesign, options: Voxelwise) -> None:
    """A node for every comparison, so that they run side by side, and their figure."""
    inputnode = workflow.get_node("inputnode")
    draw_statistics = Node(
        DrawStatisticMaps(template=str(template_path())), name="draw_statistics", mem_gb=0.7
    )
    made = [
        Node(
            CompareMaps(
                design=design,
                comparison=comparison,
                template=str(template_path()),
                mask=options.mask,
                smoothing_fwhm_mm=options.smoothing_fwhm_mm,
                inference=voxelwise_inference(options),
            ),
            name=f"compare_{place}",
            mem_gb=_COMPARISON_GB,
        )
        for place, comparison in enumerate(planned_comparisons(design), start=1)
    ]
    ports = ("images", "sidecars", "t_map", "thresholded", "facts")
    lists = {port: Node(niu.Merge(len(made)), name=f"list_{port}", mem_gb=0.1) for port in ports}
    workflow.connect(
        [
            *(
                (source, compare, ports_of)
                for compare in made
                for source, ports_of in (
                    (inputnode, same("maps", "participant_ids", "sessions", "groups")),
                    (workflow.get_node("align_atlas"), same("atlas")),
                )
            ),
            *(
                (compare, lists[port], [(port, f"in{place}")])
                for port in ports
                for place, compare in enumerate(made, start=1)
            ),
            (workflow.get_node("mni_regions"), draw_statistics, same("regions", "names")),
            (lists["t_map"], draw_statistics, [("out", "t_maps")]),
            (lists["thresholded"], draw_statistics, [("out", "thresholded")]),
            (lists["facts"], draw_statistics, [("out", "facts")]),
            (lists["facts"], workflow.get_node("outputnode"), [("out", "facts")]),
        ]
    )
    for port in ("images", "sidecars"):
        workflow.connect(lists[port], "out", workflow.get_node(f"gather_{port}"), "in2")
    for port in ("svg", "png", "page_png"):
        workflow.connect(draw_statistics, port, workflow.get_node(f"gather_{port}"), "in2")


_COMPARISON_GB = 1.5
"""A comparison of 60 subjects on 2 mm."""
