"""Parcellation by atlas priors and the brain's own intensities."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.parcellation import EmbeddedParcellation
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomy import LabelBrain
from workflows._atlas import atlas_node
from workflows._graph import SharedNode, io_node, port_names, same
from workflows.parcellation.contract import ParcellationInputs, ParcellationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "The brain was labelled with FreeSurfer numbers: the Desikan-Killiany atlas of FreeSurfer's "
    "average brain, warped to the T1w, served as prior of a Gaussian mixture over merged classes "
    "with spatially varying means and a pull of neighbours; cortex is where grey matter holds the "
    "larger share; parcel and side come from the nearest warped label."
)


def init_embedded_parcellation_wf(
    options: EmbeddedParcellation, resources: Resources, *, name: str = "parcellation_wf"
) -> Any:
    """FreeSurfer-numbered labels by a Bayesian labelling; see `ParcellationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(ParcellationInputs, "inputnode")
    outputnode = io_node(ParcellationOutputs, "outputnode")
    align_atlas = atlas_node()
    label = SharedNode(LabelBrain(), name="label", mem_gb=min(2.5, resources.mem_gb), n_procs=1)
    taken = [port for port in port_names(ParcellationInputs) if port != "t1w"]
    workflow.connect(
        [
            (inputnode, label, same(*taken)),
            (align_atlas, label, [("atlas", "atlas")]),
            (label, outputnode, [("dseg", "dseg")]),
        ]
    )
    return workflow
