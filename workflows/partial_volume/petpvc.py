"""Partial-volume correction by the program PETPVC."""

from __future__ import annotations

from typing import Any

from nipype.interfaces.petpvc import PETPVC
from nipype.pipeline import engine as pe

from pipeline.config.partial_volume import PetpvcPartialVolume
from pipeline.config.schema import Resources
from pipeline.interfaces.partial_volume import AverageFrames, MarkAreas, SplitFrames
from workflows._graph import MapNode, Node, io_node, port_names, same
from workflows.partial_volume.contract import PartialVolumeInputs, PartialVolumeOutputs

REQUIRES: tuple[str, ...] = ("petpvc",)
METHODS = (
    "Every frame was also corrected for partial volume by PETPVC (Thomas et al. 2016), with the "
    "regions, structures and tissues of the head as its masks; curves are share-weighted means. "
    "Maps are not corrected."
)
_NOT_FOR_AREAS = ("pet_preproc", "region_weights", "tacs", "morph")


def init_petpvc_partial_volume_wf(
    options: PetpvcPartialVolume, resources: Resources, *, name: str = "partial_volume_wf"
) -> Any:
    """Frames corrected one by one, then averaged; see `PartialVolumeInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(PartialVolumeInputs, "inputnode")
    outputnode = io_node(PartialVolumeOutputs, "outputnode")
    mark_areas = Node(
        MarkAreas(psf_fwhm_mm=options.psf_fwhm_mm),
        name="mark_areas",
        mem_gb=min(4.0, resources.mem_gb),
    )
    split_frames = Node(SplitFrames(), name="split_frames", mem_gb=min(0.5, resources.mem_gb))
    fwhm = dict(zip(("fwhm_x", "fwhm_y", "fwhm_z"), options.psf_fwhm_mm, strict=True))
    correct_frames = MapNode(
        PETPVC(pvc=options.method, **fwhm),
        iterfield="in_file",
        name="correct_frames",
        mem_gb=min(4.0, resources.mem_gb),
    )
    average_frames = Node(
        AverageFrames(), name="average_frames", mem_gb=min(0.5, resources.mem_gb)
    )
    taken = [port for port in port_names(PartialVolumeInputs) if port not in _NOT_FOR_AREAS]
    workflow.connect(
        [
            (inputnode, mark_areas, same(*taken)),
            (inputnode, split_frames, same("pet_preproc")),
            (inputnode, average_frames, same("pet_preproc", "region_weights", "tacs")),
            (mark_areas, correct_frames, [("areas", "mask_file")]),
            (split_frames, correct_frames, [("frames", "in_file")]),
            (correct_frames, average_frames, [("out_file", "frames")]),
            (inputnode, outputnode, same("morph")),
            (average_frames, outputnode, same("tacs")),
        ]
    )
    return workflow
