"""Head motion by MCFLIRT of FSL."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import FslMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.fsl import MCFLIRT
from pipeline.interfaces.tool_motion import HandFrames, TakeMotion
from workflows._graph import io_node, port_names, same
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ("fsl",)
METHODS = (
    "Head motion was estimated by rigid alignment of every frame to the mean of the frames "
    "(MCFLIRT, FSL); earlier frames took the transform of the first that was aligned. Where a "
    "run was corrected, each raw frame was resampled once by cubic splines."
)


def init_fsl_motion_wf(
    options: FslMotion, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Rigid alignment of every frame by MCFLIRT; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    mem_gb = min(4.0, resources.mem_gb)
    hand = pe.Node(
        HandFrames(first_frame_s=options.first_frame_s, joined=True),
        name="hand_frames",
        mem_gb=mem_gb,
    )
    mcflirt = pe.Node(
        MCFLIRT(dof=6, cost=options.cost, mean_vol=True, save_mats=True, out_file="moved"),
        name="mcflirt",
        mem_gb=mem_gb,
    )
    take = pe.Node(
        TakeMotion(
            form="fsl",
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
            (hand, mcflirt, [("frames", "in_file")]),
            (inputnode, take, same(*port_names(MotionInputs))),
            (hand, take, [("frames", "handed")]),
            (mcflirt, take, [("mat_file", "moved")]),
            (take, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow
