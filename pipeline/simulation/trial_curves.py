"""Curves whose fits are parameters drawn beforehand, so that their tables have true errors.

What is drawn are the estimates of a trial, noise and all. The curves behind them get noise from
which everything is taken that would move the optimum of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.decay import decay_constant_per_s, frame_decay_factors
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import ModelFit
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.srtm import Srtm
from pipeline.kinetics.weights import frame_weights
from pipeline.simulation.tracer import TissueKinetics, tissue_curves

NUCLIDE = "C11"
NOISE = {"ACC": 0.117, "DBS": 0.329, "HIP": 0.126, "VST": 0.271}
"""Region to the standard deviation of 1 kBq/mL over one minute at the injection, kBq/mL."""

_BRAIN = (0.9, 1.1)
_LEAST_BQML = 300.0
_STEP = 1e-4
_SAME = 1e-6
_HALVINGS = 20


@dataclass(frozen=True, eq=False)
class ScanBackground:
    """What the regions of a scan share."""

    reference_bqml: FloatArray
    """(F,) curve of the reference region."""
    timing: FrameTiming
    weights: FloatArray
    """(F,)"""

    @classmethod
    def of(
        cls, k2prime_per_min: float, timing: FrameTiming, reference_scale: float, weights: str
    ) -> ScanBackground:
        """Reference curve without noise, and weights by the curve of a brain like cortex."""
        r1, bpnd = np.array([[1.0, _BRAIN[0]], [0.0, _BRAIN[1]]])
        kinetics = TissueKinetics(r1, bpnd, k2prime_per_min)
        reference, brain = tissue_curves(kinetics, timing, reference_scale)
        by_frame = frame_weights(weights, brain, timing, decay_constant_per_s(NUCLIDE))
        return cls(reference, timing, by_frame)


def fit_as_drawn(
    rng: np.random.Generator,
    model: Srtm,
    kinetics: TissueKinetics,
    noise: FloatArray,
    scan: ScanBackground,
) -> ModelFit:
    """Fit of noisy curves whose estimates are the kinetics that are given.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the noise.
    model : Srtm
        What is fitted.
    kinetics : TissueKinetics
        Of V regions: the estimates.
    noise : (V,) array
        As in `NOISE`.
    scan : ScanBackground
        Reference curve, frames and weights.

    Notes
    -----
    Weighted residuals that are orthogonal to the derivatives of the model curve leave its optimum
    where it is. A curve that another optimum would fit better still, as may be where there is
    next to no binding, has its noise halved until the one drawn is the best.
    """
    clean, tangents = _model_curves(kinetics, scan)
    error = _noise(rng, clean, noise, scan.timing)
    for place, tangent in enumerate(tangents):
        error[place] -= _explained(error[place], tangent, scan.weights)
    for _ in range(_HALVINGS):
        fit = model.fit(clean + error, scan.reference_bqml, scan.timing, scan.weights)
        near = np.abs(fit.estimates["BPND"] - kinetics.bpnd) < _SAME * (1 + np.abs(kinetics.bpnd))
        if near.all():
            return fit
        error[~near] /= 2
    raise ValueError("a curve determines no binding, however little noise it has")


def _model_curves(kinetics: TissueKinetics, scan: ScanBackground) -> tuple[FloatArray, FloatArray]:
    """Model curves (V, F), and what changes of the parameters add to them, (V, 3, F)."""
    curve, rate = ReferenceCurve(scan.reference_bqml, scan.timing), kinetics.k2a_per_min
    response = curve.convolved(rate)
    higher, lower = (curve.convolved(rate * (1 + step)) for step in (_STEP, -_STEP))
    reference = np.broadcast_to(scan.reference_bqml, response.shape)
    amount = kinetics.k2_per_min - kinetics.r1 * rate
    clean = kinetics.r1[:, None] * reference + amount[:, None] * response
    return clean, np.stack([reference, response, higher - lower], axis=1)


def _noise(
    rng: np.random.Generator, clean: FloatArray, noise: FloatArray, timing: FrameTiming
) -> FloatArray:
    factors = frame_decay_factors(timing, decay_constant_per_s(NUCLIDE))
    kbqml = np.maximum(clean, _LEAST_BQML) / 1000
    sd = noise[:, None] * np.sqrt(kbqml * factors / timing.duration_min)
    return np.asarray(1000 * sd * rng.standard_normal(clean.shape))


def _explained(error: FloatArray, tangent: FloatArray, weights: FloatArray) -> FloatArray:
    """Part of an error (F,) that the rows of a tangent (3, F) make up, by weighted squares."""
    root = np.sqrt(weights)
    length = np.linalg.norm(tangent * root, axis=1, keepdims=True)
    share, *_ = np.linalg.lstsq((tangent / length * root).T, error * root, rcond=None)
    return np.asarray(share @ (tangent / length))
