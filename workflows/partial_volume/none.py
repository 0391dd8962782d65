"""Curves as they are."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.partial_volume import NoPartialVolume
from pipeline.config.schema import Resources
from workflows._graph import io_node, same
from workflows.partial_volume.contract import PartialVolumeInputs, PartialVolumeOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "Curves were not corrected for partial volume."


def init_no_partial_volume_wf(
    options: NoPartialVolume, resources: Resources, *, name: str = "partial_volume_wf"
) -> Any:
    """Curves as they are; see `PartialVolumeInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(PartialVolumeInputs, "inputnode")
    outputnode = io_node(PartialVolumeOutputs, "outputnode")
    workflow.connect([(inputnode, outputnode, same("tacs", "morph"))])
    return workflow
