"""Step: FreeSurfer-numbered labels in the T1w's space."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.parcellation import ParcellationOptions
from pipeline.config.schema import Resources
from workflows.parcellation import embedded, freesurfer, given

MODULES: Mapping[str, ModuleType] = {
    "embedded": embedded,
    "given": given,
    "freesurfer": freesurfer,
}
"""Backend to its module, with `REQUIRES` and `METHODS`."""

BACKENDS: Mapping[str, Any] = {
    "embedded": embedded.init_embedded_parcellation_wf,
    "given": given.init_given_parcellation_wf,
    "freesurfer": freesurfer.init_freesurfer_parcellation_wf,
}


def init_parcellation_wf(
    options: ParcellationOptions, resources: Resources, *, name: str = "parcellation_wf"
) -> Any:
    """Parcellation of the T1w by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
