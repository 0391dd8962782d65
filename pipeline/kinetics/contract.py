"""What every reference-tissue model takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import ClassVar, Protocol, TypeGuard, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One model parameter: the source of column names, sidecars and axis labels."""

    symbol: str
    unit: str
    meaning: str


R1 = Parameter(symbol="R1", unit="1", meaning="Relative delivery K1/K1'")
K2 = Parameter(symbol="k2", unit="1/min", meaning="Efflux rate constant of the target")
K2A = Parameter(symbol="k2a", unit="1/min", meaning="Apparent efflux rate constant k2/(1+BPND)")
K2PRIME = Parameter(
    symbol="k2prime", unit="1/min", meaning="Efflux rate constant of the reference region, k2/R1"
)
BPND = Parameter(
    symbol="BPND", unit="1", meaning="Binding potential relative to non-displaceable uptake"
)
DVR = Parameter(symbol="DVR", unit="1", meaning="Distribution volume ratio, BPND + 1")
TSTAR = Parameter(symbol="tstar", unit="min", meaning="Start of the linear part of the plot")
SUVR = Parameter(symbol="SUVR", unit="1", meaning="Uptake relative to the reference region")
SUV = Parameter(symbol="SUV", unit="g/mL", meaning="Uptake by injected activity per body weight")


class Flag(IntFlag):
    """What a user should know about an estimate; the estimate stays visible unless FAILED."""

    FAILED = 1
    """No estimate: all parameters are NaN."""
    NONFINITE_INPUT = 2
    """A frame with positive weight holds NaN or infinity."""
    FEW_FRAMES = 4
    """Fewer frames with positive weight than the model can use."""
    AT_BOUND = 8
    """The optimum lies on a bound of the search."""
    SINGULAR = 16
    """Parameters that the curve does not determine."""
    IMPLAUSIBLE = 32
    """R1, k2 or k2a is not positive."""
    IMPRECISE = 64
    """The standard error of BPND exceeds the stated share of the estimate."""
    NO_K2PRIME = 128
    """k2prime is not finite: R1 is zero."""


def flag_text(flags: int) -> str:
    """Names of the flags that are set, lower case, joined by commas; empty if none.

    Examples
    --------
    >>> flag_text(Flag.AT_BOUND | Flag.IMPRECISE)
    'at_bound,imprecise'
    """
    return ",".join(flag.name.lower() for flag in Flag if flag.name and flags & flag)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFit:
    """Estimates of one model for V curves, with all that a table tells about them."""

    estimates: Mapping[str, FloatArray]
    """Symbol to (V,) estimates, NaN where the fit failed."""
    standard_errors: Mapping[str, FloatArray]
    """Symbol to (V,) standard errors in the unit of the estimate; NaN where there are none."""
    goodness: Mapping[str, FloatArray]
    """Symbol of `pipeline.kinetics.goodness.GOODNESS` to (V,) values."""
    fitted: FloatArray
    """Model curves, (V, F), in the unit of the input; NaN where the model says nothing."""
    flags: NDArray[np.uint8] = field(repr=False)
    """`Flag` bits of every curve, (V,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelFit:
    """Estimates of one model for the V voxels of a map: the same ones, nothing else kept."""

    estimates: Mapping[str, FloatArray]
    """Symbol to (V,) estimates, NaN where the fit failed."""
    residual: FloatArray
    """Weighted root mean square of the residuals, (V,), in the unit of the input."""
    flags: NDArray[np.uint8] = field(repr=False)
    """`Flag` bits of every voxel, (V,); without standard errors none is `IMPRECISE`."""


class ReferenceModel(Protocol):
    """A reference-tissue model; options in the constructor, data in `fit`.

    Attributes
    ----------
    parameters : tuple of Parameter
        What it estimates, the main one first.
    map_parameters : tuple of str
        Symbols that are written as maps.
    """

    @property
    def model(self) -> str:
        """Its name in the settings."""
        ...

    parameters: ClassVar[tuple[Parameter, ...]]
    map_parameters: ClassVar[tuple[str, ...]]

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve.

        Parameters
        ----------
        tacs : (V, F) array
            Target curves, any activity unit, decay-corrected.
        ref : (F,) array
            Reference-region curve in the same unit.
        timing : FrameTiming
            The F frames.
        weights : (F,) array
            Weights of *squared* residuals (inverse variances); 0 leaves a frame out.

        Raises
        ------
        ValueError
            If the reference curve is not finite in a frame with weight.
        """
        ...

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; takes what `fit` takes and finds the same estimates."""
        ...


class ImageModel(Protocol):
    """A model that needs voxels beside their neighbours; regions take the means of its maps."""

    @property
    def model(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def margin_voxels(self) -> int:
        """How far around the mask the image must reach for estimates that do not depend on it."""
        ...

    parameters: ClassVar[tuple[Parameter, ...]]
    map_parameters: ClassVar[tuple[str, ...]]

    def fit_image(
        self,
        frames: FloatArray,
        mask: NDArray[np.bool_],
        ref: FloatArray,
        timing: FrameTiming,
        weights: FloatArray,
    ) -> VoxelFit:
        """Fit an image.

        Parameters
        ----------
        frames : (X, Y, Z, F) array
            Decay-corrected frames, float32, any activity unit; never changed or copied whole.
        mask : (X, Y, Z) array
            Voxels whose estimates are wanted, V of them; others support them.
        ref, timing, weights
            As for `ReferenceModel.fit`.

        Returns
        -------
        VoxelFit
            Of the V voxels of the mask, in C order.
        """
        ...


AnyModel = TypeVar("AnyModel", bound=ReferenceModel | ImageModel)

RESIDUAL = "residual"
"""Name of the map of `VoxelFit.residual`, which every model has."""


def is_image_model(model: ReferenceModel | ImageModel) -> TypeGuard[ImageModel]:
    """Whether a model needs voxels beside their neighbours, and so fits no curves alone."""
    return hasattr(model, "fit_image")


def in_table_order(models: Iterable[AnyModel]) -> list[AnyModel]:
    """Models that fit curves, then those that fit images: the order of tables and maps."""
    return sorted(models, key=is_image_model)


def curve_models(models: Iterable[ReferenceModel | ImageModel]) -> list[ReferenceModel]:
    """The models that fit curves."""
    return [cast(ReferenceModel, model) for model in models if not is_image_model(model)]


def map_symbols(model: ReferenceModel | ImageModel) -> tuple[str, ...]:
    """What is written as maps, in order: the model's parameters and its residual."""
    return (*model.map_parameters, RESIDUAL)
