"""Head motion by SimpleITK."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import EmbeddedMotion, Resources
from pipeline.interfaces.motion import CorrectMotion
from workflows._graph import io_node
from workflows.motion.contract import MotionInputs, MotionOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "Head motion was corrected frame by frame: every frame from the stated time on was aligned "
    "rigidly to the mean of the scan (SimpleITK), earlier ones took the transform of the "
    "first of these, and each raw frame was resampled once by cubic splines."
)


def init_embedded_motion_wf(
    options: EmbeddedMotion, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Rigid alignment of every frame to the mean of the scan; see `MotionInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(MotionInputs, "inputnode")
    outputnode = io_node(MotionOutputs, "outputnode")
    correct_motion = pe.Node(
        CorrectMotion(
            first_frame_s=options.first_frame_s, smoothing_fwhm_mm=options.smoothing_fwhm_mm
        ),
        name="correct_motion",
        mem_gb=min(3.0, resources.mem_gb),
    )
    workflow.connect(
        [
            (inputnode, correct_motion, [("pet", "pet"), ("scan", "scan")]),
            (
                correct_motion,
                outputnode,
                [
                    ("pet_preproc", "pet_preproc"),
                    ("petref", "petref"),
                    ("motion_xfms", "motion_xfms"),
                    ("confounds", "confounds"),
                ],
            ),
        ]
    )
    return workflow
