"""Step: brain, tissues and the way to MNI152 space."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.config.anatomy import EmbeddedAnatomy
from pipeline.config.schema import Resources
from workflows.anatomy import embedded

MODULES: Mapping[str, ModuleType] = {"embedded": embedded}
"""Backend to its module, with `REQUIRES` and `methods`."""

BACKENDS: Mapping[str, Any] = {"embedded": embedded.init_embedded_anatomy_wf}


def init_anatomy_wf(
    options: EmbeddedAnatomy, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Anatomy of the T1w by the backend the settings name."""
    return BACKENDS[options.backend](options, resources, name=name)
