"""Simplified reference tissue model, by its full nonlinear optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray, IntArray
from pipeline.kinetics.contract import BPND, K2, K2A, K2PRIME, R1, Flag, ModelFit, Parameter
from pipeline.kinetics.convolution import ReferenceCurve

_RATES = 256
_CHUNK = 8192
_PARAMETERS = 3


@dataclass(frozen=True, kw_only=True)
class Srtm:
    r"""Simplified reference tissue model (Lammertsma & Hume 1996).

    .. math::
        C_T = R_1 C_R + (k_2 - R_1 k_{2a}) \, C_R \otimes e^{-k_{2a} t},
        \qquad k_{2a} = k_2 / (1 + BP_{ND})

    For a given :math:`k_{2a}` the model is linear in the other two parameters, so the fit is a
    search along one axis whose inner step is a projection (variable projection, Golub & Pereyra
    1973): all curves at once, the best of a dense grid, then the optimum between its points.

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
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 < self.k2a_min < self.k2a_max:
            raise ValueError("k2a_min must be positive and below k2a_max")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        weights = np.asarray(weights, float)
        used = weights > 0
        if not np.isfinite(np.asarray(ref)[used]).all():
            raise ValueError("the reference curve is not finite in a frame with weight")
        basis = _Basis.of(ReferenceCurve(ref, timing), np.asarray(ref, float), weights, self)
        curves, frames = tacs.shape
        result = _empty_fit(self.parameters, curves, frames)
        finite = np.isfinite(tacs[:, used]).all(axis=1)
        result.flags[~finite] |= np.uint8(Flag.NONFINITE_INPUT | Flag.FAILED)
        if np.count_nonzero(used) <= _PARAMETERS:
            result.flags[:] |= np.uint8(Flag.FEW_FRAMES | Flag.FAILED)
            return result
        if np.count_nonzero(used) < _PARAMETERS + 2:
            result.flags[:] |= np.uint8(Flag.FEW_FRAMES)
        rows = np.flatnonzero(finite)
        for start in range(0, rows.size, _CHUNK):
            chunk = rows[start : start + _CHUNK]
            self._fit_chunk(np.asarray(tacs[chunk], float), basis, result, chunk)
        return result

    def _fit_chunk(
        self, tacs: FloatArray, basis: _Basis, result: ModelFit, rows: IntArray
    ) -> None:
        log_k2a, at_bound = basis.best_rates(tacs)
        k2a = np.exp(log_k2a)
        response, response_slope = basis.responses(log_k2a)
        theta1, theta2 = basis.linear_parameters(tacs, response)
        fitted = theta1[:, None] * basis.ref + theta2[:, None] * response
        with np.errstate(divide="ignore", invalid="ignore"):
            k2 = theta2 + theta1 * k2a
            values = {
                "R1": theta1,
                "k2": k2,
                "k2a": k2a,
                "k2prime": k2 / theta1,
                "BPND": k2 / k2a - 1,
            }
        # d/d(k2a) is d/d(log k2a) / k2a
        jacobian = np.stack(
            [
                np.broadcast_to(basis.ref, response.shape),
                response,
                theta2[:, None] * response_slope / k2a[:, None],
            ],
            axis=-1,
        )
        covariance, singular = _covariance(jacobian, tacs - fitted, basis.weights)
        errors = _standard_errors(theta1, theta2, k2a, covariance)

        failed = ~np.isfinite(values["BPND"]) | ~np.any(tacs[:, basis.weights > 0], axis=1)
        flags = at_bound * np.uint8(Flag.AT_BOUND)
        flags |= singular * np.uint8(Flag.SINGULAR)
        implausible = (theta1 <= 0) | (k2 <= 0) | ~np.isfinite(values["k2prime"])
        flags |= implausible * np.uint8(Flag.IMPLAUSIBLE)
        imprecise = errors["BPND"] > self.imprecise_share * np.abs(values["BPND"])
        flags |= imprecise * np.uint8(Flag.IMPRECISE)
        flags[failed] = np.uint8(Flag.FAILED)
        result.flags[rows] |= flags
        for symbol, estimate in values.items():
            result.estimates[symbol][rows] = np.where(failed, np.nan, estimate)
            result.standard_errors[symbol][rows] = np.where(failed, np.nan, errors[symbol])
        result.fitted[rows] = np.where(failed[:, None], np.nan, fitted)


@dataclass(frozen=True, eq=False)
class _Basis:
    """The reference curve's responses at a grid of rates, and their splines in log k2a."""

    ref: FloatArray
    """(F,)"""
    weights: FloatArray
    """(F,)"""
    log_k2a: FloatArray
    """(K,)"""
    spline: CubicSpline
    """log k2a to (F,) responses."""
    direction: FloatArray
    """(K, F) weighted responses, orthogonal to the weighted reference, of length one."""
    direction_slope: FloatArray
    """(K, F) derivative of `direction` by log k2a."""

    @classmethod
    def of(
        cls, curve: ReferenceCurve, ref: FloatArray, weights: FloatArray, model: Srtm
    ) -> _Basis:
        log_k2a = np.linspace(np.log(model.k2a_min), np.log(model.k2a_max), _RATES)
        ref = np.where(weights > 0, ref, curve.frame_means())
        root = np.sqrt(weights)
        responses = curve.convolved(np.exp(log_k2a))
        first = ref * root / np.linalg.norm(ref * root)
        direction = responses * root
        direction -= (direction @ first)[:, None] * first
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return cls(
            ref=ref,
            weights=weights,
            log_k2a=log_k2a,
            spline=CubicSpline(log_k2a, responses),
            direction=direction,
            direction_slope=CubicSpline(log_k2a, direction)(log_k2a, 1),
        )

    def best_rates(self, tacs: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """log k2a (V,) of the smallest residual, and which of them lie on a bound (V,).

        The share of a curve that a rate explains is its projection squared. Its largest value on
        the grid is found first; between that point and the neighbour uphill the projection is a
        cubic known by two values and two slopes, whose turning point has a closed form.
        """
        weighted = np.where(self.weights > 0, tacs, 0.0) * np.sqrt(self.weights)
        projection = weighted @ self.direction.T
        slope = weighted @ self.direction_slope.T
        rows = np.arange(len(tacs))
        best = np.argmax(np.abs(projection), axis=1)
        uphill = np.sign(projection[rows, best]) * slope[rows, best] > 0
        other = np.where(uphill, best + 1, best - 1)
        at_bound = (other < 0) | (other >= _RATES)
        other = np.clip(other, 0, _RATES - 1)
        step = (self.log_k2a[1] - self.log_k2a[0]) * np.where(uphill, 1.0, -1.0)
        offset = _turning_point(
            projection[rows, best],
            projection[rows, other],
            slope[rows, best] * step,
            slope[rows, other] * step,
        )
        log_k2a = self.log_k2a[best] + np.where(at_bound, 0.0, offset * step)
        return log_k2a, at_bound

    def responses(self, log_k2a: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Responses (V, F) at the given rates and their derivative by log k2a (V, F)."""
        return self.spline(log_k2a), self.spline(log_k2a, 1)

    def linear_parameters(
        self, tacs: FloatArray, response: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Weighted least squares of each curve on the reference and its response, (V,) each."""
        w = self.weights
        tacs = np.where(w > 0, tacs, 0.0)
        rr = np.sum(w * self.ref**2)
        rb = response @ (w * self.ref)
        bb = np.sum(w * response**2, axis=1)
        ry = tacs @ (w * self.ref)
        by = np.sum(w * response * tacs, axis=1)
        determinant = rr * bb - rb**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return (bb * ry - rb * by) / determinant, (rr * by - rb * ry) / determinant


def _turning_point(
    start: FloatArray, end: FloatArray, start_slope: FloatArray, end_slope: FloatArray
) -> FloatArray:
    """Where in [0, 1] a cubic, uphill from its start in absolute value, turns; all (V,)."""
    difference = end - start
    cubic = start_slope + end_slope - 2 * difference
    square = 3 * difference - 2 * start_slope - end_slope
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(square**2 - 3 * cubic * start_slope, 0))
        # The form without cancellation; of the two roots the one that starts at zero slope
        q = -(square + np.where(square >= 0, root, -root))
        first, second = q / (3 * cubic), start_slope / q
    inside_first = np.isfinite(first) & (first >= 0) & (first <= 1)
    inside_second = np.isfinite(second) & (second >= 0) & (second <= 1)
    return np.where(inside_second, second, np.where(inside_first, first, 0.0))


def _covariance(
    jacobian: FloatArray, residual: FloatArray, weights: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Covariance (V, 3, 3) of the weighted fit, and which curves do not determine it (V,)."""
    used = weights > 0
    j, r, w = jacobian[:, used], residual[:, used], weights[used]
    information = np.einsum("vfi,f,vfj->vij", j, w, j)
    scale = np.sqrt(np.einsum("vii->vi", information))
    scale = np.where(scale > 0, scale, 1.0)
    outer = scale[:, :, None] * scale[:, None, :]
    normed = information / outer
    singular = ~(np.linalg.det(normed) > 1e-14)
    normed[singular] = np.eye(_PARAMETERS)
    variance = (r**2 @ w) / (np.count_nonzero(used) - _PARAMETERS)
    covariance = np.linalg.inv(normed) / outer * variance[:, None, None]
    covariance[singular] = np.nan
    return covariance, singular


def _standard_errors(
    theta1: FloatArray, theta2: FloatArray, k2a: FloatArray, covariance: FloatArray
) -> dict[str, FloatArray]:
    """Standard errors (V,) of the published parameters by the delta method."""
    one, zero = np.ones_like(k2a), np.zeros_like(k2a)
    with np.errstate(divide="ignore", invalid="ignore"):
        gradients = {
            "R1": (one, zero, zero),
            "k2": (k2a, one, theta1),
            "k2a": (zero, zero, one),
            "k2prime": (-theta2 / theta1**2, 1 / theta1, one),
            "BPND": (one, 1 / k2a, -theta2 / k2a**2),
        }
        errors = {}
        for symbol, gradient in gradients.items():
            g = np.stack(gradient, axis=-1)
            errors[symbol] = np.sqrt(np.einsum("vi,vij,vj->v", g, covariance, g))
    return errors


def _empty_fit(parameters: tuple[Parameter, ...], curves: int, frames: int) -> ModelFit:
    return ModelFit(
        estimates={p.symbol: np.full(curves, np.nan) for p in parameters},
        standard_errors={p.symbol: np.full(curves, np.nan) for p in parameters},
        fitted=np.full((curves, frames), np.nan, np.float32 if curves > _CHUNK else float),
        flags=np.zeros(curves, np.uint8),
    )
