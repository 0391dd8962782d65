"""Frames as they are."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import NoMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.motion import KeepFrames
from workflows._graph import Node, io_node, port_names, same
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "Head motion was not corrected."


def init_no_motion_wf(options: NoMotion, resources: Resources, *, name: str = "motion_wf") -> Any:
    """Frames as they are, in Bq/mL; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    keep_frames = Node(KeepFrames(), name="keep_frames", mem_gb=min(3.0, resources.mem_gb))
    workflow.connect(
        [
            (inputnode, keep_frames, same(*port_names(MotionInputs))),
            (keep_frames, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow
