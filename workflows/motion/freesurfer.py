"""Head motion by mri_robust_template of FreeSurfer."""

from __future__ import annotations

from typing import Any

from pipeline.config.motion import FreeSurferMotion
from pipeline.config.schema import Resources
from pipeline.interfaces.freesurfer import RobustTemplate
from workflows._graph import Node
from workflows.motion._by_program import init_tool_motion_wf

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
    mem_gb = min(3.0, resources.mem_gb)
    workflow = init_tool_motion_wf(
        options, "lta", mem_gb, name=name, smoothing_fwhm_mm=options.fwhm_mm
    )
    hand, take = workflow.get_node("hand_frames"), workflow.get_node("take_motion")
    # every frame and its pyramids at once
    align = Node(
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
    workflow.connect(
        [
            (hand, align, [("frames", "in_files"), ("middle", "initial_timepoint")]),
            (align, take, [("transform_outputs", "moved")]),
        ]
    )
    return workflow
