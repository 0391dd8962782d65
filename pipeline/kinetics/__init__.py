"""Reference-tissue models: curves in, parameters with errors out."""

from collections.abc import Mapping

from pipeline.kinetics.contract import ReferenceModel
from pipeline.kinetics.srtm import Srtm

__all__ = ["MODELS", "ReferenceModel", "Srtm"]

MODELS: Mapping[str, type[ReferenceModel]] = {"srtm": Srtm}
"""Name in the settings to model."""
