"""Parcellation that is there already."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.parcellation import GivenParcellation
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomy import TakeLabels
from workflows._graph import SharedNode, io_node
from workflows.parcellation.contract import ParcellationInputs, ParcellationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "FreeSurfer-numbered labels of the T1w were given."


def init_given_parcellation_wf(
    options: GivenParcellation, resources: Resources, *, name: str = "parcellation_wf"
) -> Any:
    """Labels of a file on the grid of the T1w; its name is filled in already."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(ParcellationInputs, "inputnode")
    outputnode = io_node(ParcellationOutputs, "outputnode")
    take = SharedNode(
        TakeLabels(dseg=options.dseg), name="label", mem_gb=min(0.5, resources.mem_gb), n_procs=1
    )
    workflow.connect(
        [
            (inputnode, take, [(port, port) for port in ("t1w_preproc", "brain_mask")]),
            (take, outputnode, [("dseg", "dseg")]),
        ]
    )
    return workflow
