"""Head motion by Realign of SPM12."""

from __future__ import annotations

from typing import Any

from pipeline.config.motion import SpmMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.spm import Realign
from workflows._graph import Node
from workflows._spm import spm_inputs
from workflows.motion._by_program import init_tool_motion_wf

REQUIRES: tuple[str, ...] = ("spm",)
METHODS = (
    "Head motion was estimated by rigid alignment of every frame to the mean of the frames "
    "(Realign, SPM12); earlier frames took the transform of the first that was aligned. Where a "
    "run was corrected, each raw frame was resampled once by cubic splines."
)


def init_spm_motion_wf(
    options: SpmMotion, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Rigid alignment of every frame by SPM12; see `MotionInputs`."""
    mem_gb = min(3.0, resources.mem_gb)
    workflow = init_tool_motion_wf(options, "spm", mem_gb, name=name)
    hand, take = workflow.get_node("hand_frames"), workflow.get_node("take_motion")
    realign = Node(
        Realign(
            jobtype="estimate",
            register_to_mean=True,
            fwhm=options.fwhm_mm,
            separation=options.separation_mm,
            **spm_inputs(resources.spm),
        ),
        name="realign",
        mem_gb=mem_gb,
    )
    workflow.connect(
        [
            (hand, realign, [("frames", "in_files")]),
            (realign, take, [("modified_in_files", "moved")]),
        ]
    )
    return workflow
