"""Step: brain, tissues and the way to MNI152 space."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.anatomy import AnatomyOptions
from pipeline.config.schema import Resources
from workflows.anatomy import derivatives, embedded, spm

MODULES: Mapping[str, ModuleType] = {
    "derivatives": derivatives,
    "embedded": embedded,
    "spm": spm,
}
"""Backend to its module, with `REQUIRES` and `methods`."""

BACKENDS: Mapping[str, Any] = {
    "derivatives": derivatives.init_derivatives_anatomy_wf,
    "embedded": embedded.init_embedded_anatomy_wf,
    "spm": spm.init_spm_anatomy_wf,
}


def init_anatomy_wf(
    options: AnatomyOptions, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Anatomy of the T1w by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
