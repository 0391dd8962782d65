"""Step: frames of a scan in one space."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.motion import MotionOptions
from pipeline.config.schema import Resources
from workflows.motion import embedded, freesurfer, fsl, none, spm

MODULES: Mapping[str, ModuleType] = {
    "embedded": embedded,
    "freesurfer": freesurfer,
    "fsl": fsl,
    "none": none,
    "spm": spm,
}
"""Backend to its module, with `REQUIRES` and `METHODS`."""

BACKENDS: Mapping[str, Any] = {
    "embedded": embedded.init_embedded_motion_wf,
    "freesurfer": freesurfer.init_freesurfer_motion_wf,
    "fsl": fsl.init_fsl_motion_wf,
    "none": none.init_no_motion_wf,
    "spm": spm.init_spm_motion_wf,
}


def init_motion_wf(
    options: MotionOptions, resources: Resources, *, name: str = "motion_wf"
) -> Any:
    """Head-motion correction by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
