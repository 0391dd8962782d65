"""Partial-volume correction by areas of the head: GTM and RBV."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.partial_volume import EmbeddedPartialVolume
from pipeline.config.schema import Resources
from pipeline.interfaces.partial_volume import CorrectCurves
from workflows._graph import Node, io_node, port_names, same
from workflows.partial_volume.contract import PartialVolumeInputs, PartialVolumeOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "Curves were also corrected for partial volume by the geometric transfer matrix (Rousset et "
    "al. 1998) or, on its values, voxel by voxel (RBV; Thomas et al. 2011), as the setting says: "
    "the head was cut into areas by regions, structures and tissue, each blurred by the "
    "resolution of the scanner. Maps are not corrected."
)


def init_embedded_partial_volume_wf(
    options: EmbeddedPartialVolume, resources: Resources, *, name: str = "partial_volume_wf"
) -> Any:
    """Corrected curves, frame by frame; see `PartialVolumeInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(PartialVolumeInputs, "inputnode")
    outputnode = io_node(PartialVolumeOutputs, "outputnode")
    correct_curves = Node(
        CorrectCurves(method=options.method, psf_fwhm_mm=options.psf_fwhm_mm),
        name="correct_curves",
        mem_gb=min(2.0, resources.mem_gb),
    )
    taken = [port for port in port_names(PartialVolumeInputs) if port != "region_weights"]
    workflow.connect(
        [
            (inputnode, correct_curves, same(*taken)),
            (correct_curves, outputnode, same("tacs", "morph")),
        ]
    )
    return workflow
