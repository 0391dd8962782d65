"""PET-MR alignment by SimpleITK."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.coregistration import EmbeddedCoregistration
from pipeline.config.schema import Resources
from pipeline.interfaces.coregistration import Coregister
from workflows._graph import Node, io_node, port_names, same
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "Means of the early frames, of the late frames and of the whole scan were each aligned to the "
    "T1w rigidly by mutual information over the brain (SimpleITK). The alignment kept is the one "
    "whose tissues explain most of the PET: the squared first canonical correlation of all three "
    "means with grey matter, white matter and fluid."
)


def init_embedded_coregistration_wf(
    options: EmbeddedCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """Rigid PET-MR alignment by mutual information; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    coregister = Node(
        Coregister(smoothing_fwhm_mm=options.smoothing_fwhm_mm, least_score=options.least_score),
        name="coregister",
        mem_gb=min(1.5, resources.mem_gb),
    )
    if options.init == "identity":
        coregister.inputs.aligned = True
    elif options.init != "header":
        coregister.inputs.init_xfm = options.init
    workflow.connect(
        [
            (inputnode, coregister, same(*port_names(CoregistrationInputs))),
            (coregister, outputnode, same(*port_names(CoregistrationOutputs))),
        ]
    )
    return workflow
