"""Head motion by mri_robust_template of FreeSurfer."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import FreeSurferMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.freesurfer import RobustTemplate
from pipeline.interfaces.tool_motion import HandFrames, TakeMotion
from workflows._graph import io_node, port_names, same
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ("freesurfer",)
METHODS = (
    "Head motion was estimated by robust rigid alignment of the smoothed frames to their mean "
    "(mri_robust_template, FreeSurfer; Reuter et al. 2010); earlier frames took the "
    "transform of the first that was aligned. Where a run was corrected, each raw frame was "
    "resampled once by cubic splines."
)


def init_freesurfer_motion_wf(
    options: FreeSurferMotion, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Rigid alignment of every frame by mri_robust_template; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    mem_gb = min(3.0, resources.mem_gb)
    hand = pe.Node(
        HandFrames(first_frame_s=options.first_frame_s, smoothing_fwhm_mm=options.fwhm_mm),
        name="hand_frames",
        mem_gb=mem_gb,
    )
    # every frame and its pyramids at once
    align = pe.Node(
        RobustTemplate(
            auto_detect_sensitivity=True,
            intensity_scaling=True,
            average_metric="mean",
            out_file="template.mgz",
            transform_outputs=True,
            num_threads=1,
        ),
        name="align",
        mem_gb=min(6.0, resources.mem_gb),
    )
    take = pe.Node(
        TakeMotion(
            form="lta",
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
            (hand, align, [("frames", "in_files"), ("middle", "initial_timepoint")]),
            (inputnode, take, same(*port_names(MotionInputs))),
            (hand, take, [("frames", "handed")]),
            (align, take, [("transform_outputs", "moved")]),
            (take, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow
