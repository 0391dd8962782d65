"""Step: where the PET lies on the T1w."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.coregistration import CoregistrationOptions
from pipeline.config.schema import Resources
from workflows.coregistration import embedded, freesurfer, fsl, none, spm

MODULES: Mapping[str, ModuleType] = {
    "embedded": embedded,
    "freesurfer": freesurfer,
    "fsl": fsl,
    "none": none,
    "spm": spm,
}
"""Backend to its module, with `REQUIRES` and `METHODS`."""

BACKENDS: Mapping[str, Any] = {
    "embedded": embedded.init_embedded_coregistration_wf,
    "freesurfer": freesurfer.init_freesurfer_coregistration_wf,
    "fsl": fsl.init_fsl_coregistration_wf,
    "none": none.init_no_coregistration_wf,
    "spm": spm.init_spm_coregistration_wf,
}


def init_coregistration_wf(
    options: CoregistrationOptions, resources: Resources, *, name: str = "coregistration_wf"
) -> Any:
    """PET-MR coregistration by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
