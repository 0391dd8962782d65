"""PET-MR alignment by Coregister of SPM12."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.coregistration import SpmCoregistration
from pipeline.config.schema import Resources
from pipeline.interfaces.spm import Coregister
from pipeline.interfaces.tool_coregistration import HandHead, TakePlace
from workflows._graph import Node, io_node, port_names, same
from workflows._spm import spm_inputs
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ("spm",)
METHODS = (
    "The mean of the scan and the T1w were aligned rigidly by normalised mutual information "
    "(Coregister, SPM12)."
)


def init_spm_coregistration_wf(
    options: SpmCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """Rigid PET-MR alignment by SPM12; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    mem_gb = min(1.5, resources.mem_gb)
    hand = Node(HandHead(centred=options.init == "centres"), name="hand_head", mem_gb=mem_gb)
    coregister = Node(
        Coregister(
            jobtype="estimate",
            cost_function="nmi",
            separation=list(options.separation_mm),
            **spm_inputs(resources.spm),
        ),
        name="coregister",
        mem_gb=mem_gb,
    )
    take = Node(
        TakePlace(form="spm", moved=options.moved, least_score=options.least_score),
        name="take_place",
        mem_gb=mem_gb,
    )
    source, target = ("pet", "t1w") if options.moved == "pet" else ("t1w", "pet")
    workflow.connect(
        [
            (inputnode, hand, same("petref", "t1w_preproc", "brain_mask")),
            (hand, coregister, [(source, "source"), (target, "target")]),
            (inputnode, take, same(*port_names(CoregistrationInputs))),
            (hand, take, [("pet", "handed_pet"), ("t1w", "handed_t1w")]),
            (coregister, take, [("coregistered_source", "result")]),
            (take, outputnode, same(*port_names(CoregistrationOutputs))),
        ]
    )
    return workflow
