"""Reference-tissue models: curves in, parameters with errors out."""

from collections.abc import Mapping

from pipeline.kinetics.contract import ImageModel, ReferenceModel
from pipeline.kinetics.logan import Logan
from pipeline.kinetics.mrtm1 import Mrtm1
from pipeline.kinetics.mrtm2 import Mrtm2
from pipeline.kinetics.srtm import Srtm
from pipeline.kinetics.srtm2 import Srtm2
from pipeline.kinetics.suv import Suv
from pipeline.kinetics.suvr import Suvr
from pipeline.kinetics.wapi import Wapi

__all__ = [
    "MODELS",
    "ImageModel",
    "Logan",
    "Mrtm1",
    "Mrtm2",
    "ReferenceModel",
    "Srtm",
    "Srtm2",
    "Suv",
    "Suvr",
    "Wapi",
]

MODELS: Mapping[str, type[ReferenceModel] | type[ImageModel]] = {
    "srtm": Srtm,
    "srtm2": Srtm2,
    "mrtm1": Mrtm1,
    "mrtm2": Mrtm2,
    "logan": Logan,
    "suvr": Suvr,
    "suv": Suv,
    "wapi": Wapi,
}
"""Name in the settings to model."""
