"""FreeSurfer-numbered labels from a warped atlas and the brain's own intensities."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import EmbeddedParcellation, Resources
from pipeline.interfaces.anatomy import AlignAtlas, LabelBrain
from workflows._graph import SharedNode, io_node
from workflows.parcellation.contract import ParcellationInputs, ParcellationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "Desikan-Killiany and subcortical labels with FreeSurfer's numbers were warped to the T1w; "
    "the borders between structures were then decided by a Bayesian labelling of its intensities."
)


def init_embedded_parcellation_wf(
    options: EmbeddedParcellation, resources: Resources, *, name: str = "parcellation_wf"
) -> Any:
    """FreeSurfer-numbered labels; see `ParcellationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(ParcellationInputs, "inputnode")
    outputnode = io_node(ParcellationOutputs, "outputnode")
    memory = min(2.5, resources.mem_gb)
    align_atlas = SharedNode(AlignAtlas(), name="align_atlas", mem_gb=memory, common=True)
    label_brain = SharedNode(LabelBrain(), name="label_brain", mem_gb=memory)
    ports = ("t1w_preproc", "brain_mask", "mni2t1w_xfm")
    workflow.connect(
        [
            (inputnode, label_brain, [(port, port) for port in ports]),
            (align_atlas, label_brain, [("atlas", "atlas")]),
            (label_brain, outputnode, [("dseg", "dseg")]),
        ]
    )
    return workflow
