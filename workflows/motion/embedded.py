"""Head motion by groupwise least squares."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.motion import EmbeddedMotion
from pipeline.config.schema import Resources
from pipeline.imaging.frame_groups import Grouping
from pipeline.imaging.motion import MotionSearch
from pipeline.interfaces.motion import CorrectMotion
from workflows._graph import Node, io_node, port_names, same
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "Head motion was estimated from frames joined to groups of enough counts, which were aligned "
    "rigidly to their common mean by least squares that allow for redistribution of the tracer; "
    "earlier frames took the transform of the first group. Where a run was corrected, each raw "
    "frame was resampled once by cubic splines."
)


def init_embedded_motion_wf(
    options: EmbeddedMotion, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Rigid alignment of every frame to the mean of the scan; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    correct_motion = Node(
        CorrectMotion(
            search=_search(options), rule=options.rule, within_frame_mm=options.within_frame_mm
        ),
        name="correct_motion",
        mem_gb=min(3.0, resources.mem_gb),
    )
    workflow.connect(
        [
            (inputnode, correct_motion, same(*port_names(MotionInputs))),
            (correct_motion, outputnode, same(*port_names(MotionOutputs))),
        ]
    )
    return workflow


def _search(options: EmbeddedMotion) -> MotionSearch:
    return MotionSearch(
        grouping=Grouping(
            first_frame_s=options.first_frame_s,
            group_counts=options.group_counts,
            minimum_counts=options.minimum_counts,
            longest_group_s=options.longest_group_s,
        ),
        smoothing_fwhm_mm=options.smoothing_fwhm_mm,
        reference=options.reference,
        largest_error_mm=options.largest_error_mm,
    )
