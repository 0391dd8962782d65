"""Standardised uptake value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import SUV, ModelFit, Parameter, VoxelFit
from pipeline.kinetics.suvr import MeanUptake, window_shares

_BQ_PER_KBQ = 1000.0


@dataclass(frozen=True, kw_only=True)
class Suv:
    r"""Mean uptake in a window by injected activity per body weight.

    .. math::
        SUV = \bar{C} \, [kBq/mL] \; / \; (A \, [MBq] / m \, [kg])

    Curves are in Bq/mL, decay-corrected to the injection, when the activity was `injected_mbq`.
    The reference curve plays no part. It has no standard error.
    """

    model: Literal["suv"] = "suv"
    start_min: float = 40.0
    """Start of the window, minutes after injection; only frames wholly inside count."""
    end_min: float = 90.0
    """End of the window, minutes after injection."""
    injected_mbq: float | None = None
    """Injected activity, MBq; without a value that of the scan."""
    body_weight_kg: float | None = None
    """Body weight, kg; without a value that of the scan."""

    parameters: ClassVar[tuple[Parameter, ...]] = (SUV,)
    map_parameters: ClassVar[tuple[str, ...]] = ("SUV",)
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 <= self.start_min < self.end_min < np.inf:
            raise ValueError("start_min must be zero or positive and below end_min")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """SUV of every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`.

        Raises
        ------
        ValueError
            If injected activity or body weight are not known, or no frame is in the window.
        """
        return self._uptake(timing, weights).fit(tacs)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """SUV of every voxel; raises what `fit` raises."""
        return self._uptake(timing, weights).fit_voxels(tacs)

    def _uptake(self, timing: FrameTiming, weights: FloatArray) -> MeanUptake:
        mbq_per_kg = self._dose_mbq() / self._weight_kg()
        weights = np.asarray(weights, float)
        unit = _BQ_PER_KBQ * mbq_per_kg
        return MeanUptake(
            parameter=SUV,
            weights=weights,
            shares=window_shares(timing, weights, self.start_min, self.end_min),
            unit_curve=np.full(len(timing), unit),
            unit_mean=unit,
        )

    def _dose_mbq(self) -> float:
        return _known(self.injected_mbq, "injected_mbq, the injected activity,")

    def _weight_kg(self) -> float:
        return _known(self.body_weight_kg, "body_weight_kg, the body weight,")


def _known(value: float | None, what: str) -> float:
    if value is None or not 0 < value < np.inf:
        raise ValueError(f"SUV needs {what} and the scan gives none")
    return value
