"""PET and T1w share one world already, or somebody else says how they lie."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.coregistration import NoCoregistration
from pipeline.config.schema import Resources
from pipeline.interfaces.coregistration import KeepPlace
from workflows._graph import Node, io_node, port_names, same
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "PET and T1w were taken to lie as their headers, or the transform that was given, say; the "
    "alignment was measured, not changed."
)


def init_no_coregistration_wf(
    options: NoCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """The identity or a given transform; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    keep_place = Node(
        KeepPlace(least_score=options.least_score),
        name="keep_place",
        mem_gb=min(1.5, resources.mem_gb),
    )
    if options.init != "identity":
        keep_place.inputs.init_xfm = options.init
    workflow.connect(
        [
            (inputnode, keep_place, same(*port_names(CoregistrationInputs))),
            (keep_place, outputnode, same(*port_names(CoregistrationOutputs))),
        ]
    )
    return workflow
