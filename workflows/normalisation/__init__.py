"""Step: the way between T1w and MNI152 space that regions, labels and maps take."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.normalisation import NormalisationOptions
from pipeline.config.schema import Resources
from workflows.normalisation import anatomy, fsl

MODULES: Mapping[str, ModuleType] = {"anatomy": anatomy, "fsl": fsl}
"""Backend to its module, with `REQUIRES` and `METHODS`."""

BACKENDS: Mapping[str, Any] = {
    "anatomy": anatomy.init_anatomy_normalisation_wf,
    "fsl": fsl.init_fsl_normalisation_wf,
}


def init_normalisation_wf(
    options: NormalisationOptions, resources: Resources, *, name: str = "normalisation_wf"
) -> Any:
    """Normalisation by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
