"""SRTM with the efflux of the reference region fixed to one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import (
    BPND,
    K2,
    K2A,
    K2PRIME,
    R1,
    Flag,
    ModelFit,
    Parameter,
    VoxelFit,
)
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.goodness import goodness_of_fit
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.projection import (
    Interpolant,
    Optimum,
    RateGrid,
    Search,
    covariance,
    standard_errors,
    undetermined,
)
from pipeline.kinetics.rows import Rows

_FREE = 2


@dataclass(frozen=True, kw_only=True)
class Srtm2:
    r"""Simplified reference tissue model with one k2prime for all curves (Wu & Carson 2002).

    .. math::
        C_T = R_1 \, [C_R + (k_2' - k_{2a}) \, C_R \otimes e^{-k_{2a} t}],
        \qquad BP_{ND} = R_1 k_2' / k_{2a} - 1

    The efflux rate of the reference region is one number in truth; fixed to it, the other
    estimates scatter less. For a given :math:`k_{2a}` only a factor is left, so the fit is the
    search of `pipeline.kinetics.projection.Search`. Standard errors are those for a known
    :math:`k_2'`; it has none itself.

    References
    ----------
    .. [1] Wu Y, Carson RE (2002). J Cereb Blood Flow Metab 22:1440-1452.
    """

    model: Literal["srtm2"] = "srtm2"
    k2prime: K2Prime = field(default_factory=K2Prime)
    """Where the efflux rate of the reference region comes from."""
    k2a_min: float = 0.006
    """Smallest apparent efflux rate tried, 1/min."""
    k2a_max: float = 0.6
    """Largest apparent efflux rate tried, 1/min."""
    imprecise_share: float = 0.5
    """A standard error of BPND above this share of the estimate raises the flag `imprecise`."""

    parameters: ClassVar[tuple[Parameter, ...]] = (BPND, R1, K2, K2A, K2PRIME)
    map_parameters: ClassVar[tuple[str, ...]] = ("BPND", "R1", "k2")
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.k2prime.per_min == 0:
            raise ValueError("SRTM2 needs a k2prime per_min above zero")
        if not 0 < self.k2a_min < self.k2a_max < np.inf:
            raise ValueError("k2a_min must be positive and below k2a_max")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        family = self._family(tacs, ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            return _with_errors(_Solution.of(chunk, family), family, self.imprecise_share)

        return Rows(tacs, family.weights, _FREE).fit(self.parameters, fit_chunk)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        family = self._family(tacs, ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> VoxelFit:
            solution = _Solution.of(chunk, family)
            return VoxelFit(
                estimates=solution.estimates(family.k2prime),
                residual=solution.residual / np.sqrt(family.weights.sum()),
                flags=solution.flags(),
            )

        return Rows(tacs, family.weights, _FREE).fit_voxels(self.parameters, fit_chunk)

    def _family(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> _Family:
        ref, weights = np.asarray(ref, float), np.asarray(weights, float)
        if not np.isfinite(ref[weights > 0]).all():
            raise ValueError("the reference curve is not finite in a frame with weight")
        curve = ReferenceCurve(ref, timing)
        ref = np.where(weights > 0, ref, curve.frame_means())
        k2prime = self.k2prime.estimate(tacs, ref, timing, weights)
        grid = RateGrid.between(self.k2a_min, self.k2a_max)
        return _Family.of(curve, ref, weights, k2prime, grid)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Family:
    """The model curve with R1 = 1, for every rate."""

    weights: FloatArray
    """(F,)"""
    k2prime: float
    grid: RateGrid
    curve: Interpolant
    """Rate to curve (F,)."""
    search: Search
    """Along the weighted curves."""
    length: Interpolant
    """Rate to the length of the weighted curve."""

    @classmethod
    def of(
        cls,
        curve: ReferenceCurve,
        ref: FloatArray,
        weights: FloatArray,
        k2prime: float,
        grid: RateGrid,
    ) -> _Family:
        rate = grid.rate_per_min
        curves = ref + (k2prime - rate)[:, None] * curve.convolved(rate)
        root = np.sqrt(weights)
        search, length = Search.along(curves * root, root)
        return cls(
            weights=weights,
            k2prime=k2prime,
            grid=grid,
            curve=Interpolant.through(curves, grid),
            search=search,
            length=Interpolant.through(length, grid),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solution:
    """Optima of n curves."""

    tacs: FloatArray
    optimum: Optimum
    r1: FloatArray
    k2a: FloatArray
    """(n,) 1/min; NaN where nothing of the curve is explained."""
    residual: FloatArray
    """(n,) length of the weighted residual."""

    @classmethod
    def of(cls, tacs: FloatArray, family: _Family) -> _Solution:
        optimum = family.search.best(tacs)
        square = tacs**2 @ family.weights
        k2a = family.grid.rate_at(optimum.place)
        k2a[undetermined(optimum.projection, square)] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            r1 = optimum.projection / family.length.at(optimum.place)
        return cls(
            tacs=tacs,
            optimum=optimum,
            r1=r1,
            k2a=k2a,
            residual=np.sqrt(np.maximum(square - optimum.projection**2, 0)),
        )

    def estimates(self, k2prime: float) -> dict[str, FloatArray]:
        k2 = self.r1 * k2prime
        return {
            "BPND": k2 / self.k2a - 1,
            "R1": self.r1,
            "k2": k2,
            "k2a": self.k2a,
            "k2prime": np.full(k2.size, k2prime),
        }

    def flags(self) -> NDArray[np.uint8]:
        flags = self.optimum.at_bound * np.uint8(Flag.AT_BOUND)
        flags |= (self.r1 <= 0) * np.uint8(Flag.IMPLAUSIBLE)
        return flags


def _with_errors(solution: _Solution, family: _Family, imprecise_share: float) -> ModelFit:
    r1, k2a = solution.r1, solution.k2a
    place = solution.optimum.place
    curve = family.curve.at(place)
    fitted = r1[:, None] * curve
    slope = (r1 / k2a)[:, None] * family.curve.slope_at(place)
    jacobian = np.stack([curve, slope], axis=-1)
    jacobian[np.isnan(k2a)] = 0.0
    cov, singular = covariance(jacobian, solution.tacs - fitted, family.weights)
    one, zero = np.ones_like(k2a), np.zeros_like(k2a)
    k2prime = family.k2prime
    gradients = {
        "BPND": (k2prime / k2a, -r1 * k2prime / k2a**2),
        "R1": (one, zero),
        "k2": (k2prime * one, zero),
        "k2a": (zero, one),
        "k2prime": (np.nan * one, zero),
    }
    errors = standard_errors(gradients, cov)
    estimates, flags = solution.estimates(k2prime), solution.flags()
    flags |= singular * np.uint8(Flag.SINGULAR)
    imprecise = errors["BPND"] > imprecise_share * np.abs(estimates["BPND"])
    flags |= imprecise * np.uint8(Flag.IMPRECISE)
    return ModelFit(
        estimates=estimates,
        standard_errors=errors,
        goodness=goodness_of_fit(solution.tacs, fitted, family.weights, _FREE),
        fitted=fitted,
        flags=flags,
    )
