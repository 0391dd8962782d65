"""Simplified reference tissue model, by its full nonlinear optimum."""

from __future__ import annotations

from dataclasses import dataclass
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

_FREE = 3


@dataclass(frozen=True, kw_only=True)
class Srtm:
    r"""Simplified reference tissue model (Lammertsma & Hume 1996).

    .. math::
        C_T = R_1 C_R + (k_2 - R_1 k_{2a}) \, C_R \otimes e^{-k_{2a} t},
        \qquad k_{2a} = k_2 / (1 + BP_{ND})

    For a given :math:`k_{2a}` the model is linear in the other two parameters, so the fit is a
    search along one axis whose inner step is a projection (variable projection, Golub & Pereyra
    1973): see `pipeline.kinetics.projection.Search`.

    References
    ----------
    .. [1] Lammertsma AA, Hume SP (1996). NeuroImage 4:153-158.
    .. [2] Golub GH, Pereyra V (1973). SIAM J Numer Anal 10:413-432.
    """

    model: Literal["srtm"] = "srtm"
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
        if not 0 < self.k2a_min < self.k2a_max < np.inf:
            raise ValueError("k2a_min must be positive and below k2a_max")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        plane = self._plane(ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            return _with_errors(_Solution.of(chunk, plane), plane, self.imprecise_share)

        return Rows(tacs, plane.weights, _FREE).fit(self.parameters, fit_chunk)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        plane = self._plane(ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> VoxelFit:
            solution = _Solution.of(chunk, plane)
            return VoxelFit(
                estimates=solution.estimates(),
                residual=solution.residual / np.sqrt(plane.weights.sum()),
                flags=solution.flags(),
            )

        return Rows(tacs, plane.weights, _FREE).fit_voxels(self.parameters, fit_chunk)

    def _plane(self, ref: FloatArray, timing: FrameTiming, weights: FloatArray) -> _Plane:
        ref, weights = np.asarray(ref, float), np.asarray(weights, float)
        if not np.isfinite(ref[weights > 0]).all():
            raise ValueError("the reference curve is not finite in a frame with weight")
        grid = RateGrid.between(self.k2a_min, self.k2a_max)
        return _Plane.of(ReferenceCurve(ref, timing), ref, weights, grid)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plane:
    """The reference curve and, for every rate, its response: what the model curves consist of."""

    ref: FloatArray
    """(F,)"""
    weights: FloatArray
    """(F,)"""
    grid: RateGrid
    response: Interpolant
    """Rate to response (F,), in the unit of the reference times minutes."""
    search: Search
    """Along the part of the weighted response that is orthogonal to the weighted reference."""
    across: Interpolant
    """Rate to the length of that part."""
    along: Interpolant
    """Rate to the component of the weighted response along the weighted reference."""
    ref_length: float
    """Length of the weighted reference."""

    @classmethod
    def of(
        cls, curve: ReferenceCurve, ref: FloatArray, weights: FloatArray, grid: RateGrid
    ) -> _Plane:
        ref = np.where(weights > 0, ref, curve.frame_means())
        root = np.sqrt(weights)
        length = float(np.linalg.norm(ref * root))
        if not length > 0:
            raise ValueError("the reference curve holds no activity in frames with weight")
        first = ref * root / length
        response = curve.convolved(grid.rate_per_min)
        weighted = response * root
        along = weighted @ first
        across = weighted - along[:, None] * first
        across -= (across @ first)[:, None] * first
        search, across_length = Search.along(across, root)
        return cls(
            ref=ref,
            weights=weights,
            grid=grid,
            response=Interpolant.through(response, grid),
            search=search,
            across=Interpolant.through(across_length, grid),
            along=Interpolant.through(along, grid),
            ref_length=length,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solution:
    """Optima of n curves: C_T = r1 C_R + amount C_R (x) exp(-k2a t)."""

    tacs: FloatArray
    optimum: Optimum
    r1: FloatArray
    amount: FloatArray
    """(n,) 1/min"""
    k2a: FloatArray
    """(n,) 1/min; NaN where the curve is the reference itself, to a factor."""
    residual: FloatArray
    """(n,) length of the weighted residual."""

    @classmethod
    def of(cls, tacs: FloatArray, plane: _Plane) -> _Solution:
        optimum = plane.search.best(tacs)
        square = tacs**2 @ plane.weights
        with_ref = tacs @ (plane.ref * plane.weights) / plane.ref_length
        nothing = undetermined(optimum.projection, square)
        with np.errstate(divide="ignore", invalid="ignore"):
            amount = optimum.projection / plane.across.at(optimum.place)
        amount[nothing] = 0.0
        k2a = plane.grid.rate_at(optimum.place)
        k2a[nothing] = np.nan
        left = square - with_ref**2 - optimum.projection**2
        return cls(
            tacs=tacs,
            optimum=optimum,
            r1=(with_ref - amount * plane.along.at(optimum.place)) / plane.ref_length,
            amount=amount,
            k2a=k2a,
            residual=np.sqrt(np.maximum(left, 0)),
        )

    def estimates(self) -> dict[str, FloatArray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            k2 = self.amount + self.r1 * self.k2a
            return {
                "BPND": self.r1 - 1 + np.where(self.amount == 0, 0.0, self.amount / self.k2a),
                "R1": self.r1,
                "k2": k2,
                "k2a": self.k2a,
                "k2prime": k2 / self.r1,
            }

    def flags(self) -> NDArray[np.uint8]:
        nothing = np.isnan(self.k2a)
        with np.errstate(divide="ignore", invalid="ignore"):
            k2 = self.amount + self.r1 * self.k2a
            lost = ~np.isfinite(k2 / self.r1)
        flags = (self.optimum.at_bound & ~nothing) * np.uint8(Flag.AT_BOUND)
        flags |= nothing * np.uint8(Flag.SINGULAR)
        flags |= ((self.r1 <= 0) | (k2 <= 0)) * np.uint8(Flag.IMPLAUSIBLE)
        flags |= lost * np.uint8(Flag.NO_K2PRIME)
        return flags


def _with_errors(solution: _Solution, plane: _Plane, imprecise_share: float) -> ModelFit:
    r1, amount, k2a = solution.r1, solution.amount, solution.k2a
    place = solution.optimum.place
    response = plane.response.at(place)
    fitted = r1[:, None] * plane.ref + amount[:, None] * response
    slope = (amount / k2a)[:, None] * plane.response.slope_at(place)
    jacobian = np.stack([np.broadcast_to(plane.ref, fitted.shape), response, slope], axis=-1)
    jacobian[np.isnan(k2a)] = 0.0
    cov, singular = covariance(jacobian, solution.tacs - fitted, plane.weights)
    one, zero = np.ones_like(k2a), np.zeros_like(k2a)
    with np.errstate(divide="ignore", invalid="ignore"):
        gradients = {
            "BPND": (one, 1 / k2a, -amount / k2a**2),
            "R1": (one, zero, zero),
            "k2": (k2a, one, r1),
            "k2a": (zero, zero, one),
            "k2prime": (-amount / r1**2, 1 / r1, one),
        }
    errors = standard_errors(gradients, cov)
    estimates, flags = solution.estimates(), solution.flags()
    flags |= singular * np.uint8(Flag.SINGULAR)
    imprecise = errors["BPND"] > imprecise_share * np.abs(estimates["BPND"])
    flags |= imprecise * np.uint8(Flag.IMPRECISE)
    return ModelFit(
        estimates=estimates,
        standard_errors=errors,
        goodness=goodness_of_fit(solution.tacs, fitted, plane.weights, _FREE),
        fitted=fitted,
        flags=flags,
    )
