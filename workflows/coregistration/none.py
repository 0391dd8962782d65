"""PET and T1w share one world already."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import NoCoregistration, Resources
from pipeline.interfaces.coregistration import KeepPlace
from workflows._graph import io_node
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "PET and T1w were taken to be aligned by their headers."


def init_no_coregistration_wf(
    options: NoCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """The identity; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    keep_place = pe.Node(KeepPlace(), name="keep_place", mem_gb=0.1)
    workflow.add_nodes([inputnode])
    workflow.connect(
        [
            (
                keep_place,
                outputnode,
                [("petref2t1w_xfm", "petref2t1w_xfm"), ("quality", "quality")],
            ),
        ]
    )
    return workflow
