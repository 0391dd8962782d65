"""Model fits of regions and voxels, and maps in MNI152 space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from pipeline.bids.model_sidecars import MODEL_METHODS, weights_methods
from pipeline.config.kinetics import Kinetics
from pipeline.config.schema import Resources, Settings
from pipeline.interfaces.kinetics import AverageMaps, FitRegions, FitVoxels, MapsToMni
from pipeline.kinetics.contract import in_table_order, is_image_model
from workflows._graph import Node, io_node, same


@dataclass(frozen=True)
class KineticsInputs:
    """Ports of `inputnode`."""

    tacs: str
    """Curves of regions, reference and brain, Bq/mL."""
    pet_preproc: str
    """Frames in one space, Bq/mL, or how to make them."""
    brain_mask: str
    """Brain on the PET grid."""
    region_weights: str
    """Share of every region in every PET voxel."""
    petref2t1w_xfm: str
    """ITK transform ``from-petref_to-T1w``."""
    t1w2mni_xfm: str
    """Displacement field on the MNI grid: an MNI point goes to its place in the T1w."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`."""


@dataclass(frozen=True)
class KineticsOutputs:
    """Ports of `outputnode` without maps; lists in the order of `in_table_order`."""

    kinpar: str
    """A row per region: estimates, standard errors in per cent, flag."""
    fitted_tacs: str
    """Model curves, like the TACs, and the frame weights."""


@dataclass(frozen=True)
class MapsOutputs(KineticsOutputs):
    """Ports of `outputnode` with maps."""

    maps: str
    """Of every model in turn, on the PET grid."""
    maps_mni: str
    """The same in MNI152 space."""
    flags: str
    """What to know about the estimate of every voxel, one image per model, on the PET grid."""


def methods(options: Kinetics) -> list[str]:
    """What the models did, a sentence or two each."""
    told = [MODEL_METHODS[model.model] for model in options.models]
    return [*told, weights_methods(options.weights)]


def init_kinetics_wf(settings: Settings, *, name: str = "kinetics_wf") -> Any:
    """Model fits of regions and, where the settings ask for maps, of voxels."""
    options = settings.kinetics
    workflow = pe.Workflow(name=name)
    inputnode = io_node(KineticsInputs, "inputnode")
    outputnode = io_node(MapsOutputs if options.maps else KineticsOutputs, "outputnode")
    fit_regions = Node(
        FitRegions(
            models=in_table_order(options.models),
            weights=options.weights,
            reference=settings.regions.reference_name,
        ),
        name="fit_regions",
        mem_gb=0.3,
    )
    gather_kinpar = Node(niu.Merge(2), name="gather_kinpar", mem_gb=0.1)
    workflow.connect(
        [
            (inputnode, fit_regions, same("tacs", "scan")),
            (fit_regions, gather_kinpar, [("kinpar", "in1")]),
            (fit_regions, outputnode, same("fitted_tacs")),
            (gather_kinpar, outputnode, [("out", "kinpar")]),
        ]
    )
    if options.maps:
        _add_maps(workflow, settings)
    return workflow


@dataclass(frozen=True)
class CorrectedInputs:
    """Ports of `inputnode` of the fits after partial-volume correction."""

    tacs: str
    """Corrected curves of regions and reference; the brain's as measured, Bq/mL."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`."""


@dataclass(frozen=True)
class CorrectedOutputs:
    """Ports of `outputnode` of the fits after partial-volume correction."""

    kinpar: str
    """Of every model of curves, as without correction."""


def init_corrected_kinetics_wf(settings: Settings, *, name: str = "corrected_kinetics_wf") -> Any:
    """The fits of regions once more, on corrected curves, with the same frame weights."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CorrectedInputs, "inputnode")
    outputnode = io_node(CorrectedOutputs, "outputnode")
    fit_corrected = Node(
        FitRegions(
            models=in_table_order(settings.kinetics.models),
            weights=settings.kinetics.weights,
            reference=settings.regions.reference_name,
        ),
        name="fit_corrected",
        mem_gb=0.3,
    )
    # one model's table stays a list
    gather_corrected = Node(niu.Merge(1), name="gather_corrected", mem_gb=0.1)
    workflow.connect(
        [
            (inputnode, fit_corrected, same("tacs", "scan")),
            (fit_corrected, gather_corrected, [("kinpar", "in1")]),
            (gather_corrected, outputnode, [("out", "kinpar")]),
        ]
    )
    return workflow


def _add_maps(workflow: Any, settings: Settings) -> None:
    """Voxelwise fits between the input and output nodes of a workflow."""
    options, resources = settings.kinetics, settings.resources
    reference = settings.regions.reference_name
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    fit_voxels = Node(
        FitVoxels(
            models=in_table_order(options.models),
            weights=options.weights,
            reference=reference,
            smoothing_fwhm_mm=options.map_smoothing_fwhm_mm,
        ),
        name="fit_voxels",
        mem_gb=_memory_gb(options, resources),
    )
    maps_to_mni = Node(MapsToMni(), name="maps_to_mni", mem_gb=min(1.0, resources.mem_gb))
    workflow.connect(
        [
            (inputnode, fit_voxels, same("tacs", "scan", "pet_preproc", "brain_mask")),
            (inputnode, maps_to_mni, same("t1w2mni_xfm", "petref2t1w_xfm")),
            (fit_voxels, maps_to_mni, same("maps")),
            (fit_voxels, outputnode, same("maps", "flags")),
            (maps_to_mni, outputnode, [("maps", "maps_mni")]),
        ]
    )
    if any(map(is_image_model, options.models)):
        _add_means(workflow, settings)


def _add_means(workflow: Any, settings: Settings) -> None:
    """Regional means of the maps of models of whole images."""
    average_maps = Node(
        AverageMaps(
            models=in_table_order(settings.kinetics.models),
            reference=settings.regions.reference_name,
            minimum_volume_mm3=settings.regions.minimum_volume_mm3,
        ),
        name="average_maps",
        mem_gb=0.3,
    )
    workflow.connect(
        [
            (workflow.get_node("inputnode"), average_maps, same("region_weights")),
            (workflow.get_node("fit_voxels"), average_maps, same("maps")),
            (average_maps, workflow.get_node("gather_kinpar"), [("kinpar", "in2")]),
        ]
    )


def _memory_gb(options: Kinetics, resources: Resources) -> float:
    """What the voxelwise fit may need at the size of an HRRT scan."""
    return min(4.0 if any(map(is_image_model, options.models)) else 2.0, resources.mem_gb)
