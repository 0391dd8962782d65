"""PET-MR alignment by FLIRT of FSL."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.coregistration import FslCoregistration
from pipeline.config.schema import Resources
from pipeline.interfaces.fsl import FLIRT
from pipeline.interfaces.tool_coregistration import HandHead, TakePlace
from workflows._graph import Node, io_node, port_names, same
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ("fsl",)
METHODS = "The mean of the scan was aligned rigidly to the brain in the T1w (FLIRT, FSL)."


def init_fsl_coregistration_wf(
    options: FslCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """Rigid PET-MR alignment by FLIRT; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    mem_gb = min(1.5, resources.mem_gb)
    hand = Node(HandHead(stripped=True), name="hand_head", mem_gb=mem_gb)
    flirt = Node(
        FLIRT(
            dof=6,
            cost=options.cost,
            cost_func=options.cost,
            out_file="moved.nii",
            out_matrix_file="pet2t1w.mat",
        ),
        name="flirt",
        mem_gb=mem_gb,
    )
    take = Node(
        TakePlace(form="fsl", least_score=options.least_score), name="take_place", mem_gb=mem_gb
    )
    workflow.connect(
        [
            (inputnode, hand, same("petref", "t1w_preproc", "brain_mask")),
            (hand, flirt, [("pet", "in_file"), ("t1w", "reference")]),
            (inputnode, take, same(*port_names(CoregistrationInputs))),
            (hand, take, [("pet", "handed_pet"), ("t1w", "handed_t1w")]),
            (flirt, take, [("out_matrix_file", "result")]),
            (take, outputnode, same(*port_names(CoregistrationOutputs))),
        ]
    )
    return workflow
