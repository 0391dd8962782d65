"""Step: curves of regions freed from what the scanner blurs into and out of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.partial_volume import PartialVolumeOptions
from pipeline.config.schema import Resources
from workflows.partial_volume import embedded, none, petpvc

MODULES: Mapping[str, ModuleType] = {"embedded": embedded, "none": none, "petpvc": petpvc}
"""Backend to its module, with `REQUIRES` and `METHODS`."""

BACKENDS: Mapping[str, Any] = {
    "embedded": embedded.init_embedded_partial_volume_wf,
    "none": none.init_no_partial_volume_wf,
    "petpvc": petpvc.init_petpvc_partial_volume_wf,
}


def init_partial_volume_wf(
    options: PartialVolumeOptions, resources: Resources, *, name: str = "partial_volume_wf"
) -> Any:
    """Partial-volume correction of curves by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
