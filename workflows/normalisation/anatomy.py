"""The way to MNI152 space that the anatomy found."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.normalisation import AnatomyNormalisation
from pipeline.config.schema import Resources
from workflows._graph import io_node, port_names, same
from workflows.normalisation.contract import NormalisationInputs, NormalisationOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "The way to MNI152 space is the one that the anatomy found."


def init_anatomy_normalisation_wf(
    options: AnatomyNormalisation, resources: Resources, *, name: str = "normalisation_wf"
) -> Any:
    """Nothing is computed: ports are joined; see `NormalisationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(NormalisationInputs, "inputnode")
    outputnode = io_node(NormalisationOutputs, "outputnode")
    workflow.connect([(inputnode, outputnode, same(*port_names(NormalisationOutputs)))])
    return workflow
