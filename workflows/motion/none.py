"""Frames as they are."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import NoMotion, Resources
from pipeline.interfaces.motion import KeepFrames
from workflows._graph import io_node
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = "Head motion was not corrected."


def init_no_motion_wf(options: NoMotion, resources: Resources, *, name: str = "motion_wf") -> Any:
    """Frames as they are, in Bq/mL; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    keep_frames = pe.Node(KeepFrames(), name="keep_frames", mem_gb=min(3.0, resources.mem_gb))
    workflow.connect(
        [
            (inputnode, keep_frames, [("pet", "pet"), ("scan", "scan")]),
            (
                keep_frames,
                outputnode,
                [
                    ("pet_preproc", "pet_preproc"),
                    ("petref", "petref"),
                    ("motion_xfms", "motion_xfms"),
                    ("confounds", "confounds"),
                    ("quality", "quality"),
                ],
            ),
        ]
    )
    return workflow
