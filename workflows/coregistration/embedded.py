"""PET-MR alignment by SimpleITK."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import EmbeddedCoregistration, Resources
from pipeline.interfaces.coregistration import Coregister
from workflows._graph import io_node
from workflows.coregistration.contract import CoregistrationInputs, CoregistrationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "The mean PET was aligned to the T1w rigidly by mutual information over the brain, from "
    "several first guesses (SimpleITK)."
)


def init_embedded_coregistration_wf(
    options: EmbeddedCoregistration, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """Rigid PET-MR alignment by mutual information; see `CoregistrationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(CoregistrationInputs, "inputnode")
    outputnode = io_node(CoregistrationOutputs, "outputnode")
    coregister = pe.Node(
        Coregister(smoothing_fwhm_mm=options.smoothing_fwhm_mm),
        name="coregister",
        mem_gb=min(1.5, resources.mem_gb),
    )
    ports = ("petref", "t1w_preproc", "brain_mask")
    workflow.connect(
        [
            (inputnode, coregister, [(port, port) for port in ports]),
            (
                coregister,
                outputnode,
                [("petref2t1w_xfm", "petref2t1w_xfm"), ("quality", "quality")],
            ),
        ]
    )
    return workflow
