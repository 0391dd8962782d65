"""What motion correction by any program of others shares: frames go out, poses come back."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import FreeSurferMotion, FslMotion, SpmMotion
from pipeline.interfaces.tool_motion import HandFrames, TakeMotion
from pipeline.io.tool_transforms import Form
from workflows._graph import Node, io_node, port_names, same
from workflows.motion.contract import MotionInputs, MotionOutputs


def init_tool_motion_wf(
    options: SpmMotion | FreeSurferMotion | FslMotion,
    form: Form,
    mem_gb: float,
    *,
    name: str,
    **handing: Any,
) -> Any:
    """All but the program: its node takes from `hand_frames` and gives to `take_motion`.

    Parameters
    ----------
    options : SpmMotion, FreeSurferMotion or FslMotion
        Which frames are aligned, and which sessions corrected.
    form : {"spm", "fsl", "lta"}
        What kind of files the program leaves, to be given to the port ``moved``.
    mem_gb : float
        Of a node.
    name : str
        Of the workflow.
    **handing
        Further inputs of `HandFrames`.
    """
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    hand = Node(
        HandFrames(first_frame_s=options.first_frame_s, **handing),
        name="hand_frames",
        mem_gb=mem_gb,
    )
    take = Node(
        TakeMotion(
            form=form,
            first_frame_s=options.first_frame_s,
            rule=options.rule,
            within_frame_mm=options.within_frame_mm,
        ),
        name="take_motion",
        mem_gb=mem_gb,
    )
    workflow.connect(
        [
            (inputnode, hand, same(*port_names(MotionInputs))),
            (inputnode, take, same(*port_names(MotionInputs))),
            (hand, take, [("frames", "handed")]),
            (take, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow
