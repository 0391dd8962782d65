"""Variable projection: fits of models that are linear in all parameters but one rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray, IntArray

_STEP = 0.1
"""Largest step of the grid in log rate; curves of noise keep eight digits between its points."""
_REACH = 4
"""Neighbours on either side through which the polynomials pass; their degree is twice this."""
_TO_POLYNOMIAL = np.linalg.inv(np.vander(np.arange(-_REACH, _REACH + 1.0), increasing=True))
"""Values at the neighbours to coefficients, constant first."""
_RIVAL = 0.9
"""A second peak this close to the highest one on the grid may be higher between its points."""
_UNDETERMINED = 1e-6
"""Share of a curve below which what a rate explains is no more than rounding of float32."""
_CONVERGED = 1e-6
"""Last step towards an optimum, in steps of the grid: the error left goes with its square."""
_STEPS_TOGETHER = 4
"""Steps before the rows that are still under way are picked out."""
_MAX_STEPS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class RateGrid:
    """Rates at even steps of their logarithm, a few of them beyond the bounds of the search."""

    log_rate: FloatArray
    """(K + 2 reach,) logarithms of rates in 1/min; the inner K span the bounds."""
    step: float

    @classmethod
    def between(cls, low_per_min: float, high_per_min: float) -> RateGrid:
        """Grid whose inner part spans two rates, 1/min."""
        low, high = np.log(low_per_min), np.log(high_per_min)
        steps = max(int(np.ceil((high - low) / _STEP)), 2)
        step = (high - low) / steps
        return cls(log_rate=low + step * np.arange(-_REACH, steps + _REACH + 1), step=step)

    @property
    def rate_per_min(self) -> FloatArray:
        """Rates of the grid, 1/min."""
        return np.exp(self.log_rate)

    def rate_at(self, place: Place) -> FloatArray:
        """Rates (V,) in 1/min."""
        return np.exp(self.log_rate[place.node + _REACH] + self.step * place.offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One rate for each of V curves: a point of the grid, and the way from it."""

    node: IntArray
    """(V,) index into the inner grid."""
    offset: FloatArray
    """(V,) in steps of the grid, from -1 to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpolant:
    """A smooth function of the rate, by polynomials through its values on a grid."""

    coefficients: FloatArray
    """(degree + 1, K, ...), constant first, of the polynomial around every inner point."""
    step: float

    @classmethod
    def through(cls, values: FloatArray, grid: RateGrid) -> Interpolant:
        """The function with the values (K + 2 reach, ...) on the grid."""
        windows = np.lib.stride_tricks.sliding_window_view(values, 2 * _REACH + 1, axis=0)
        coefficients = np.moveaxis(windows @ _TO_POLYNOMIAL.T, -1, 0)
        return cls(coefficients=np.ascontiguousarray(coefficients), step=grid.step)

    def at(self, place: Place) -> FloatArray:
        """Values (V, ...)."""
        return self._horner(self.coefficients, place)

    def slope_at(self, place: Place) -> FloatArray:
        """Derivatives by log rate (V, ...)."""
        order = np.arange(1, len(self.coefficients), dtype=float)
        order = order.reshape(-1, *[1] * (self.coefficients.ndim - 1))
        return self._horner(order * self.coefficients[1:], place) / self.step

    @staticmethod
    def _horner(coefficients: FloatArray, place: Place) -> FloatArray:
        x = place.offset.reshape(-1, *[1] * (coefficients.ndim - 2))
        total: FloatArray = coefficients[-1].take(place.node, axis=0)
        for coefficient in coefficients[-2::-1]:
            total *= x
            total += coefficient.take(place.node, axis=0)
        return total


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """The rate of each of V curves whose direction explains most of it."""

    place: Place
    projection: FloatArray
    """(V,) component of the weighted curve along the direction."""
    at_bound: NDArray[np.bool_]
    """(V,) whether the optimum lies on a bound of the search."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Search for the rate whose direction explains most of a curve.

    What is left of a curve after the linear parameters are fitted is smallest where its
    projection on one direction, a function of the rate alone, is largest. So one matrix product
    gives the projections of all curves at all rates of a grid. Around its highest point the
    projection is a polynomial in log rate, and Newton's method finds where that turns.
    """

    directions: FloatArray
    """(F, K + 2 reach), of length one after weighting, times the root of the weights."""

    @classmethod
    def along(cls, weighted: FloatArray, root: FloatArray) -> tuple[Search, FloatArray]:
        """Search along vectors (K + 2 reach, F) of weighted curves, and their lengths.

        A vector without length, which no curve has a component of, stays zero.
        """
        length = np.linalg.norm(weighted, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.where(length[:, None] > 0, weighted / length[:, None], 0.0)
        return cls(directions=np.ascontiguousarray((unit * root).T)), length

    def best(self, tacs: FloatArray) -> Optimum:
        """Optima of curves (V, F), float64."""
        projection = tacs @ self.directions
        first, rivals, second = _peaks(projection[:, _REACH:-_REACH])
        every = np.arange(len(tacs))
        found = _refined(
            projection, np.concatenate([every, rivals]), np.concatenate([first, second])
        )
        # a rival takes the place of the highest point of the grid where it turns out higher
        height = np.abs(found.projection)
        source = every.copy()
        higher = height[len(tacs) :] > height[rivals]
        source[rivals[higher]] = len(tacs) + np.flatnonzero(higher)
        return Optimum(
            place=Place(node=found.place.node[source], offset=found.place.offset[source]),
            projection=found.projection[source],
            at_bound=found.at_bound[source],
        )


def undetermined(projection: FloatArray, square: FloatArray) -> NDArray[np.bool_]:
    """Curves (V,) of which no rate explains anything.

    Parameters
    ----------
    projection : (V,) array
        Of an `Optimum`.
    square : (V,) array
        Squared length of the weighted curve.
    """
    return projection**2 <= _UNDETERMINED**2 * square


def _peaks(projection: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Highest point of every row in absolute value; rows with a rival peak; its point there."""
    height = np.abs(projection)
    first = np.argmax(height, axis=1)
    limit = _RIVAL * height[np.arange(len(height)), first]
    # one pass over the rows laid end to end; what it says of their last points is not used
    falls = np.empty(height.shape, bool)
    np.less(height.ravel()[1:], height.ravel()[:-1], out=falls.ravel()[:-1])
    falls[:, -1] = True
    # a peak is where a row falls after it rose; before its first point it rose
    peak = height >= limit[:, None]
    peak &= falls
    peak[:, 1:] &= ~falls[:, :-1]
    peaks = np.bincount(np.flatnonzero(peak) // peak.shape[1], minlength=len(peak))
    rivals = np.flatnonzero(peaks > 1)
    height = np.where(peak[rivals], height[rivals], 0.0)
    height[np.arange(rivals.size), first[rivals]] = 0.0
    return first, rivals, np.argmax(height, axis=1)


def _refined(projection: FloatArray, rows: IntArray, node: IntArray) -> Optimum:
    """Turning points near points of the inner grid, for some rows of projections."""
    last = projection.shape[1] - 2 * _REACH - 1
    start = rows * projection.shape[1] + node
    values = projection.ravel().take(start[:, None] + np.arange(2 * _REACH + 1))
    sign = np.where(values[:, _REACH] < 0, -1.0, 1.0)
    polynomial = np.ascontiguousarray((values @ _TO_POLYNOMIAL.T).T) * sign
    low = np.where(node == 0, 0.0, -1.0)
    high = np.where(node == last, 0.0, 1.0)
    # the highest point of all lies on a bound if it would still rise beyond it
    at_bound = np.where(node == 0, polynomial[1] <= 0, False)
    at_bound |= np.where(node == last, polynomial[1] >= 0, False)
    offset = np.where(at_bound, 0.0, _turning_point(polynomial, low, high))
    value = _value(polynomial, offset)
    # a row that is nothing but rounding may turn lower than where it began
    lower = value < polynomial[0]
    return Optimum(
        place=Place(node=node, offset=np.where(lower, 0.0, offset)),
        projection=sign * np.where(lower, polynomial[0], value),
        at_bound=at_bound,
    )


def _turning_point(polynomial: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Where polynomials (D + 1, n) turn from rising to falling between bounds; (n,).

    Newton's method on the slope, by halves where it would leave the bracket. Every row stops by
    itself, so that it does not matter which other rows are there.
    """
    order = np.arange(1.0, len(polynomial))[:, None]
    slope = order * polynomial[1:]
    bend = order[:-1] * slope[1:]
    result = np.empty(low.size)
    rows = np.arange(low.size)
    x = np.zeros(low.size)
    for step in range(_MAX_STEPS):
        rise, curvature = _value(slope, x), _value(bend, x)
        rising = rise > 0
        low, high = np.where(rising, x, low), np.where(rising, high, x)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            target = x - rise / curvature
        inside = (target >= low) & (target <= high)
        target = np.where(inside, target, (low + high) / 2)
        moves = np.abs(target - x) > _CONVERGED
        x = target
        if step + 1 < _STEPS_TOGETHER:
            continue
        result[rows] = x
        if not moves.any():
            break
        rows, x, low, high = rows[moves], x[moves], low[moves], high[moves]
        slope, bend = slope[:, moves], bend[:, moves]
    return result


def _value(polynomial: FloatArray, x: FloatArray) -> FloatArray:
    total: FloatArray = polynomial[-1].copy()
    for coefficient in polynomial[-2::-1]:
        total *= x
        total += coefficient
    return total


def covariance(
    jacobian: FloatArray, residual: FloatArray, weights: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Covariance of the parameters of weighted fits.

    Parameters
    ----------
    jacobian : (V, F, P) array
        Derivatives of the model curves by the parameters.
    residual : (V, F) array
        Measured less model curves.
    weights : (F,) array
        Weights of squared residuals.

    Returns
    -------
    covariance : (V, P, P) array
        NaN where the curve does not determine the parameters.
    singular : (V,) array
        Where that is so.
    """
    used = weights > 0
    parameters = jacobian.shape[-1]
    j = jacobian[:, used] * np.sqrt(weights[used])[:, None]
    information = j.transpose(0, 2, 1) @ j
    scale = np.sqrt(np.einsum("vii->vi", information))
    scale = np.where(scale > 0, scale, 1.0)
    outer = scale[:, :, None] * scale[:, None, :]
    normed = information / outer
    singular = ~(np.linalg.det(normed) > 1e-14)
    normed[singular] = np.eye(parameters)
    freedom = max(np.count_nonzero(used) - parameters, 1)
    variance = residual[:, used] ** 2 @ weights[used] / freedom
    result = np.linalg.inv(normed) / outer * variance[:, None, None]
    result[singular] = np.nan
    return result, singular


def standard_errors(
    gradients: Mapping[str, tuple[FloatArray, ...]], covariance: FloatArray
) -> dict[str, FloatArray]:
    """Standard errors (V,) by the delta method.

    Parameters
    ----------
    gradients : mapping
        Symbol to the derivatives of what it stands for by the P parameters, (V,) each.
    covariance : (V, P, P) array
        Of the parameters.
    """
    errors = {}
    for symbol, gradient in gradients.items():
        g = np.stack(gradient, axis=-1)
        with np.errstate(invalid="ignore"):
            errors[symbol] = np.sqrt(np.einsum("vi,vij,vj->v", g, covariance, g))
    return errors
