"""Frame means of the reference curve convolved with an exponential, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray

_SERIES_LIMIT = 0.3
"""Below this exponent the closed forms lose digits to cancellation and series take over."""


class ReferenceCurve:
    r"""A reference TAC joined by straight lines, ready to be convolved.

    The curve runs from zero at the injection through the frame means at mid-frame and stays
    level after the last middle. Between these knots it is linear, so that

    .. math::
        y(t) = \int_0^t C_R(s) \, e^{-k (t - s)} ds

    and its means over the frames have closed forms: no time grid, frames of any lengths, with
    gaps or a late start.

    Parameters
    ----------
    ref : (F,) array
        Reference TAC, frame means. A value that is not finite is bridged by its neighbours.
    timing : FrameTiming
        The F frames.
    """

    def __init__(self, ref: FloatArray, timing: FrameTiming) -> None:
        ref = np.asarray(ref, float)
        usable = np.isfinite(ref) & (timing.end_min > 0)
        if not usable.any():
            raise ValueError("the reference curve holds no finite value after injection")
        # A frame that straddles the injection has its activity after it
        start = np.maximum(timing.start_min, 0.0)
        mid = (start + timing.end_min) / 2
        times = np.concatenate([[0.0], mid[usable]])
        values = np.concatenate([[0.0], ref[usable]])
        edges = np.concatenate([start, np.maximum(timing.end_min, 0.0)])
        knots = np.unique(np.concatenate([times, edges]))
        self._step = np.diff(knots)
        self._value = np.interp(knots, times, values)
        self._slope = np.diff(self._value) / self._step
        self._first = np.searchsorted(knots, start)
        self._last = np.searchsorted(knots, np.maximum(timing.end_min, 0.0))
        self._duration = timing.duration_min

    def frame_means(self) -> FloatArray:
        """The curve's own mean over every frame, (F,)."""
        area = self._step * (self._value[:-1] + self._value[1:]) / 2
        return self._per_frame(np.concatenate([[0.0], np.cumsum(area)]))

    def convolved(self, rate_per_min: FloatArray) -> FloatArray:
        """Frame means of the curve convolved with exp(-rate t).

        Parameters
        ----------
        rate_per_min : (V,) array
            Decay rates of the exponential, 1/min; zero or positive.

        Returns
        -------
        (V, F) array
            In the unit of the curve times minutes.
        """
        return self._recursion(np.atleast_1d(np.asarray(rate_per_min, float)))

    def _recursion(self, rate: FloatArray) -> FloatArray:
        x = rate[:, None] * self._step
        decay = np.exp(-x)
        phi1, phi2, phi3 = _phi(x, decay)
        h, c, slope = self._step, self._value[:-1], self._slope
        # y and its running integral, knot to knot: variation of constants on one segment
        gain = h * (phi1 * c + h * phi2 * slope)
        area_gain = h**2 * (phi2 * c + h * phi3 * slope)
        area_decay = h * phi1
        y = np.zeros(rate.size)
        area = np.zeros((self._step.size + 1, rate.size))
        for k in range(self._step.size):
            area[k + 1] = area[k] + area_decay[:, k] * y + area_gain[:, k]
            y = decay[:, k] * y + gain[:, k]
        return self._per_frame(area).T

    def _per_frame(self, area: FloatArray) -> FloatArray:
        total = area[self._last] - area[self._first]
        duration = self._duration if area.ndim == 1 else self._duration[:, None]
        return np.asarray(total / duration)


def _phi(x: FloatArray, decay: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Functions :math:`\phi_n(x) = \int_0^1 e^{-x(1-s)} s^{n-1}/(n-1)! \, ds`, n = 1, 2, 3."""
    small = x < _SERIES_LIMIT
    safe: NDArray[np.float64] = np.where(small, 1.0, x)
    phi1 = np.where(small, _series(x, 1), (1 - decay) / safe)
    phi2 = np.where(small, _series(x, 2), (1 - phi1) / safe)
    phi3 = np.where(small, _series(x, 3), (0.5 - phi2) / safe)
    return phi1, phi2, phi3


def _series(x: FloatArray, order: int) -> FloatArray:
    """Taylor series of phi around zero; twelve terms are exact to 1e-16 below the limit."""
    factorial = 1.0
    for n in range(2, order + 1):
        factorial *= n
    term = np.full_like(x, 1 / factorial)
    total = term.copy()
    for n in range(1, 13):
        term = -term * x / (order + n)
        total += term
    return total
