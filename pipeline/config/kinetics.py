"""Settings of the kinetic models."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.kinetics import Logan, Mrtm1, Mrtm2, Srtm, Srtm2, Suv, Suvr, Wapi
from pipeline.kinetics.contract import is_image_model
from pipeline.kinetics.weights import FrameWeights

KineticModel = Annotated[
    Srtm | Srtm2 | Mrtm1 | Mrtm2 | Logan | Suvr | Suv | Wapi, Field(discriminator="model")
]


class Kinetics(Section):
    """Models for regions and voxels."""

    models: tuple[KineticModel, ...] = (Srtm(),)
    """Models fitted to every region and, for the maps, to every voxel of the brain; a name alone
    means its defaults, as in `["srtm", "logan"]`. The page draws the curves of the first."""
    weights: FrameWeights = "counts"
    """Weights of the frames: `counts` is the inverse variance of the decay-corrected count model
    on the curve of the whole brain; `uniform`; `duration`; or a method of kinfitr by number."""
    maps: bool = True
    """Also write parametric maps, in PET and in MNI152 space."""
    map_smoothing_fwhm_mm: float = Field(default=0, ge=0, le=20)
    """Gaussian smoothing of the frames before the voxelwise fit, FWHM."""

    @field_validator("models", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """Names of models as models with their defaults."""
        if not isinstance(value, list | tuple):
            return value
        return [{"model": item} if isinstance(item, str) else item for item in value]

    @model_validator(mode="after")
    def _models_once(self) -> Self:
        names = [model.model for model in self.models]
        if not names:
            raise ValueError("models: name at least one, such as srtm")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: {', '.join(twice)} is named twice; its files would clash")
        if not self.maps and (images := [m.model for m in self.models if is_image_model(m)]):
            raise ValueError(f"models: {', '.join(images)} makes maps only; set maps = true")
        if all(is_image_model(model) for model in self.models):
            raise ValueError(f"models: {names[0]} fits images; name one for curves too, as srtm")
        return self
