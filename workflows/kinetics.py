"""Model fits of regions and voxels, and maps in MNI152 space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import Kinetics, Resources
from pipeline.interfaces.kinetics import FitRegions, FitVoxels, MapsToMni
from workflows._graph import io_node

METHODS = (
    "The simplified reference tissue model was fitted to every curve by its full nonlinear "
    "optimum (variable projection), with frames weighted by the inverse variance of the "
    "decay-corrected count model; standard errors are from the weighted fit."
)


@dataclass(frozen=True)
class KineticsInputs:
    """Ports of `inputnode`."""

    tacs: str
    """Curves of regions, reference and brain, Bq/mL."""
    pet_preproc: str
    """Frames in one space, Bq/mL."""
    brain_mask: str
    """Brain on the PET grid."""
    petref2t1w_xfm: str
    """ITK transform ``from-petref_to-T1w``."""
    t1w2mni_xfm: str
    """Displacement field on the MNI grid: an MNI point goes to its place in the T1w."""
    scan: str
    """`pipeline.bids.scan.ScanInputs`."""


@dataclass(frozen=True)
class KineticsOutputs:
    """Ports of `outputnode` without maps."""

    kinpar: str
    """A row per region: estimates, standard errors in per cent, flag."""
    fitted_tacs: str
    """Model curves, like the TACs, and the frame weights."""


@dataclass(frozen=True)
class MapsOutputs(KineticsOutputs):
    """Ports of `outputnode` with maps."""

    maps: str
    """BPND, R1 and k2 on the PET grid."""
    maps_mni: str
    """The same in MNI152 space."""


def init_kinetics_wf(
    options: Kinetics, reference: str, resources: Resources, *, name: str = "kinetics_wf"
) -> Any:
    """Model fits of regions and, where the settings ask for maps, of voxels."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(KineticsInputs, "inputnode")
    outputnode = io_node(MapsOutputs if options.maps else KineticsOutputs, "outputnode")
    fit_regions = pe.Node(
        FitRegions(model=options.model, reference=reference), name="fit_regions", mem_gb=0.3
    )
    workflow.connect(
        [
            (inputnode, fit_regions, [("tacs", "tacs"), ("scan", "scan")]),
            (
                fit_regions,
                outputnode,
                [("kinpar", "kinpar"), ("fitted_tacs", "fitted_tacs")],
            ),
        ]
    )
    if options.maps:
        _add_maps(workflow, options, reference, resources)
    return workflow


def _add_maps(workflow: Any, options: Kinetics, reference: str, resources: Resources) -> None:
    """Voxelwise fits between the input and output nodes of a workflow."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    fit_voxels = pe.Node(
        FitVoxels(
            model=options.model,
            reference=reference,
            smoothing_fwhm_mm=options.map_smoothing_fwhm_mm,
        ),
        name="fit_voxels",
        mem_gb=min(4.0, resources.mem_gb),
    )
    maps_to_mni = pe.Node(MapsToMni(), name="maps_to_mni", mem_gb=min(1.0, resources.mem_gb))
    fitted = ("tacs", "scan", "pet_preproc", "brain_mask")
    workflow.connect(
        [
            (inputnode, fit_voxels, [(port, port) for port in fitted]),
            (
                inputnode,
                maps_to_mni,
                [("t1w2mni_xfm", "t1w2mni_xfm"), ("petref2t1w_xfm", "petref2t1w_xfm")],
            ),
            (fit_voxels, maps_to_mni, [("maps", "maps")]),
            (fit_voxels, outputnode, [("maps", "maps")]),
            (maps_to_mni, outputnode, [("maps", "maps_mni")]),
        ]
    )
