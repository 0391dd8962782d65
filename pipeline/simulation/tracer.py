"""Curves of the tracer, on a grid of time fine enough to be taken as continuous.

Deliberately apart from `pipeline.kinetics`: what a fit is tested with must not come from the code
that fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray

_STEP_MIN = 0.5 / 60


@dataclass(frozen=True)
class _FengInput:
    """Plasma input of Feng et al. 1993 and the one-tissue kinetics of the reference region.

    Values: example of the reference curve in kinfitr's ``feng_1tc_tac_model``; kBq/mL, minutes.
    """

    delay_min: float = 0.231658
    a: float = 6301.66
    b: float = 432.478
    c: float = -432.166
    alpha: float = 18.6677
    beta: float = 0.162028
    gamma: float = 0.161412
    k1: float = 0.572642
    k2: float = 0.007747

    def plasma(self, time_min: FloatArray) -> FloatArray:
        x = np.maximum(time_min - self.delay_min, 0.0)
        curve = (
            (self.a * x - self.b - self.c) * np.exp(-self.alpha * x)
            + self.b * np.exp(-self.beta * x)
            + self.c * np.exp(-self.gamma * x)
        )
        return np.where(time_min > self.delay_min, curve, 0.0)


def _convolve_decay(values: FloatArray, rate_per_min: float) -> FloatArray:
    """Convolution of a curve, straight between grid points, with exp(-rate t); exact."""
    x = rate_per_min * _STEP_MIN
    decay = np.exp(-x)
    ramp = (x + np.expm1(-x)) / x**2
    start = -np.expm1(-x) / x - ramp
    response = lfilter([ramp, start], [1.0, -decay], values)
    # the recursion starts before the first sample, where the curve is not yet there
    response -= ramp * values[0] * decay ** np.arange(values.size)
    return np.asarray(response * _STEP_MIN)


def _frame_means(values: FloatArray, timing: FrameTiming) -> FloatArray:
    grid = np.arange(values.size) * _STEP_MIN
    area = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2) * _STEP_MIN])
    after, before = np.interp(timing.end_min, grid, area), np.interp(timing.start_min, grid, area)
    return np.asarray((after - before) / timing.duration_min)


@dataclass(frozen=True, eq=False)
class TissueKinetics:
    """Parameters of the simplified reference tissue model for T tissues.

    Parameters
    ----------
    r1, bpnd : (T,) arrays
        Relative delivery and binding potential.
    k2prime_per_min : float
        Efflux rate of the reference tissue, 1/min, one for the subject.
    """

    r1: FloatArray
    bpnd: FloatArray
    k2prime_per_min: float

    @property
    def k2_per_min(self) -> FloatArray:
        """Efflux rate, (T,), 1/min."""
        return self.r1 * self.k2prime_per_min

    @property
    def k2a_per_min(self) -> FloatArray:
        """Apparent efflux rate, (T,), 1/min."""
        return self.k2_per_min / (1 + self.bpnd)


def tissue_curves(
    kinetics: TissueKinetics, timing: FrameTiming, reference_scale: float = 1.0
) -> FloatArray:
    r"""Mean activity of every tissue in every frame, decay-corrected to injection.

    .. math::
        C_T = R_1 C_R + (k_2 - R_1 k_{2a}) \, C_R \otimes e^{-k_{2a} t}

    Parameters
    ----------
    kinetics : TissueKinetics
        Of T tissues.
    timing : FrameTiming
        F frames; activity before injection is zero.
    reference_scale : float
        Height of the reference curve relative to about 10 kBq/mL at its peak.

    Returns
    -------
    (T, F) array
        Bq/mL.

    References
    ----------
    .. [1] Lammertsma AA, Hume SP (1996). NeuroImage 4:153-158.
    .. [2] Feng D, Huang SC, Wang X (1993). Int J Biomed Comput 32:95-110.
    """
    time_min = np.arange(0.0, timing.end_min[-1] + 2 * _STEP_MIN, _STEP_MIN)
    plasma = _FengInput()
    reference = plasma.k1 * _convolve_decay(plasma.plasma(time_min), plasma.k2)
    curves = np.empty((kinetics.r1.size, len(timing)))
    for tissue, (r1, k2, k2a) in enumerate(
        zip(kinetics.r1, kinetics.k2_per_min, kinetics.k2a_per_min, strict=True)
    ):
        target = r1 * reference + (k2 - r1 * k2a) * _convolve_decay(reference, float(k2a))
        curves[tissue] = _frame_means(target, timing)
    return curves * (1000.0 * reference_scale)
