"""Head motion by Realign of SPM12."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import SpmMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.spm import Realign
from pipeline.interfaces.tool_motion import HandFrames, TakeMotion
from workflows._graph import io_node, port_names, same
from workflows._spm import spm_inputs
from workflows.motion.contract import MotionInputs, MotionOutputs

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
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    mem_gb = min(3.0, resources.mem_gb)
    hand = pe.Node(
        HandFrames(first_frame_s=options.first_frame_s), name="hand_frames", mem_gb=mem_gb
    )
    realign = pe.Node(
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
    take = pe.Node(
        TakeMotion(
            form="spm",
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
            (hand, realign, [("frames", "in_files")]),
            (inputnode, take, same(*port_names(MotionInputs))),
            (hand, take, [("frames", "handed")]),
            (realign, take, [("modified_in_files", "moved")]),
            (take, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow
