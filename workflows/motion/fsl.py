"""Head motion by MCFLIRT of FSL."""

from __future__ import annotations

from typing import Any

from pipeline.config.motion import FslMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.fsl import MCFLIRT
from workflows._graph import Node
from workflows.motion._by_program import init_tool_motion_wf

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
    mem_gb = min(4.0, resources.mem_gb)
    workflow = init_tool_motion_wf(options, "fsl", mem_gb, name=name, joined=True)
    hand, take = workflow.get_node("hand_frames"), workflow.get_node("take_motion")
    mcflirt = Node(
        MCFLIRT(dof=6, cost=options.cost, mean_vol=True, save_mats=True, out_file="moved"),
        name="mcflirt",
        mem_gb=mem_gb,
    )
    workflow.connect(
        [(hand, mcflirt, [("frames", "in_file")]), (mcflirt, take, [("mat_file", "moved")])]
    )
    return workflow
