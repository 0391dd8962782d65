"""PET-MR alignment by mri_coreg of FreeSurfer."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.coregistration import FreeSurferCoregistration
from pipeline.config.schema import Resources
from pipeline.interfaces.freesurfer import Coregister
from pipeline.interfaces.tool_coregistration import HandHead, TakePlace
from workflows._graph import Node, io_node, port_names, same
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ("freesurfer",)
METHODS = (
    "The mean of the scan and the brain of the T1w were aligned rigidly by normalised mutual "
    "information (mri_coreg, FreeSurfer)."
)


def init_freesurfer_coregistration_wf(
    options: FreeSurferCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """Rigid PET-MR alignment by mri_coreg; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    mem_gb = min(1.5, resources.mem_gb)
    hand = Node(
        HandHead(stripped=True, centred=options.init == "centres"),
        name="hand_head",
        mem_gb=mem_gb,
    )
    coregister = Node(
        Coregister(dof=6, no_cras0=True, num_threads=1, out_lta_file="pet2t1w.lta"),
        name="coregister",
        mem_gb=mem_gb,
    )
    take = Node(
        TakePlace(form="lta", least_score=options.least_score), name="take_place", mem_gb=mem_gb
    )
    workflow.connect(
        [
            (inputnode, hand, same("petref", "t1w_preproc", "brain_mask")),
            (hand, coregister, [("pet", "source_file"), ("t1w", "reference_file")]),
            (inputnode, take, same(*port_names(CoregistrationInputs))),
            (hand, take, [("pet", "handed_pet"), ("t1w", "handed_t1w")]),
            (coregister, take, [("out_lta_file", "result")]),
            (take, outputnode, same(*port_names(CoregistrationOutputs))),
        ]
    )
    return workflow
