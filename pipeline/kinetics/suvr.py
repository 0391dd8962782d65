"""Uptake relative to the reference region, and what it shares with SUV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import SUVR, ModelFit, Parameter, VoxelFit
from pipeline.kinetics.goodness import GOODNESS
from pipeline.kinetics.rows import Rows

_ROUNDING_S = 0.01
"""Starts and ends of frames are written with rounding errors."""


@dataclass(frozen=True, kw_only=True)
class Suvr:
    """Mean uptake in a window over that of the reference region.

    It tends to DVR where both regions are in equilibrium, and depends on blood flow and the
    window elsewhere: no BPND is derived from it. It has no standard error.
    """

    model: Literal["suvr"] = "suvr"
    start_min: float = 40.0
    """Start of the window, minutes after injection; only frames wholly inside count."""
    end_min: float = 90.0
    """End of the window, minutes after injection."""

    parameters: ClassVar[tuple[Parameter, ...]] = (SUVR,)
    map_parameters: ClassVar[tuple[str, ...]] = ("SUVR",)
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 <= self.start_min < self.end_min < np.inf:
            raise ValueError("start_min must be zero or positive and below end_min")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Ratio of every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        return self._uptake(ref, timing, weights).fit(tacs)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Ratio of every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        return self._uptake(ref, timing, weights).fit_voxels(tacs)

    def _uptake(self, ref: FloatArray, timing: FrameTiming, weights: FloatArray) -> MeanUptake:
        ref, weights = np.asarray(ref, float), np.asarray(weights, float)
        used = weights > 0
        if not np.isfinite(ref[used]).all():
            raise ValueError("the reference curve is not finite in a frame with weight")
        shares = window_shares(timing, weights, self.start_min, self.end_min)
        level = float(shares @ np.where(used, ref, 0.0))
        if not level > 0:
            raise ValueError(
                f"the reference curve holds no activity from {self.start_min:g} to "
                f"{self.end_min:g} min"
            )
        return MeanUptake(
            parameter=SUVR, weights=weights, shares=shares, unit_curve=ref, unit_mean=level
        )


def window_shares(
    timing: FrameTiming, weights: FloatArray, start_min: float, end_min: float
) -> FloatArray:
    """Shares (F,) of frames in the mean over a window, by duration; their sum is one.

    Raises
    ------
    ValueError
        If no frame with weight lies wholly inside the window.
    """
    inside = (timing.start_s >= 60 * start_min - _ROUNDING_S) & (
        timing.end_s <= 60 * end_min + _ROUNDING_S
    )
    duration = np.where(inside & (weights > 0), timing.duration_s, 0.0)
    if not duration.any():
        raise ValueError(
            f"no frame lies wholly from {start_min:g} to {end_min:g} min; the scan has frames "
            f"from {timing.start_min[0]:g} to {timing.end_min[-1]:g} min"
        )
    return np.asarray(duration / duration.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanUptake:
    """Means over a window in units of a curve."""

    parameter: Parameter
    weights: FloatArray
    """(F,); a frame with weight that is not finite spoils its row, inside the window or not."""
    shares: FloatArray
    """(F,) shares of the frames in the mean."""
    unit_curve: FloatArray
    """(F,) model curve of the value one, in the unit of the input."""
    unit_mean: float
    """Its mean over the window."""

    def fit(self, tacs: FloatArray) -> ModelFit:
        """Means of curves (V, F)."""

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            value, nan = chunk @ self.shares / self.unit_mean, np.full(len(chunk), np.nan)
            return ModelFit(
                estimates={self.parameter.symbol: value},
                standard_errors={self.parameter.symbol: nan},
                goodness={measure.symbol: nan for measure in GOODNESS},
                fitted=np.where(self.shares > 0, value[:, None] * self.unit_curve, np.nan),
                flags=np.zeros(len(chunk), np.uint8),
            )

        return Rows(tacs, self.weights, 0).fit((self.parameter,), fit_chunk)

    def fit_voxels(self, tacs: FloatArray) -> VoxelFit:
        """Means of voxels (V, F); the residual is within the window."""
        unit = np.where(self.shares > 0, self.unit_curve, 0.0)

        def fit_chunk(chunk: FloatArray) -> VoxelFit:
            value = chunk @ self.shares / self.unit_mean
            residual = chunk - value[:, None] * unit
            return VoxelFit(
                estimates={self.parameter.symbol: value},
                residual=np.sqrt(residual**2 @ self.shares),
                flags=np.zeros(len(chunk), np.uint8),
            )

        return Rows(tacs, self.weights, 0).fit_voxels((self.parameter,), fit_chunk)
