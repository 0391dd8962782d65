"""Multilinear reference tissue model with the efflux of the reference region fixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import BPND, K2, K2A, K2PRIME, R1, ModelFit, Parameter, VoxelFit
from pipeline.kinetics.integrals import ReferenceIntegrals
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.multilinear import Multilinear
from pipeline.kinetics.regression import Regression
from pipeline.kinetics.rows import Rows

_FREE = 2


@dataclass(frozen=True, kw_only=True)
class Mrtm2:
    r"""Multilinear reference tissue model with one k2prime for all curves (Ichise 2003).

    .. math::
        C_T = \gamma_1 \Big( \int C_R + C_R / k_2' \Big) + \gamma_2 \int C_T, \qquad
        BP_{ND} = -\gamma_1 / \gamma_2 - 1, \quad R_1 = \gamma_1 / k_2', \quad k_2 = \gamma_1,
        \quad k_{2a} = -\gamma_2

    Standard errors count that the integral of a noisy curve is noisy. They are those for a known
    :math:`k_2'`, which has none itself.

    References
    ----------
    .. [1] Ichise M et al (2003). J Cereb Blood Flow Metab 23:1096-1112.
    """

    model: Literal["mrtm2"] = "mrtm2"
    k2prime: K2Prime = field(default_factory=K2Prime)
    """Where the efflux rate of the reference region comes from."""
    tstar_min: float = 0.0
    """Start of the fit, minutes after injection: earlier frames only enter the integrals."""
    imprecise_share: float = 0.5
    """A standard error of BPND above this share of the estimate raises the flag `imprecise`."""

    parameters: ClassVar[tuple[Parameter, ...]] = (BPND, R1, K2, K2A, K2PRIME)
    map_parameters: ClassVar[tuple[str, ...]] = ("BPND", "R1", "k2")
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.k2prime.per_min == 0:
            raise ValueError("MRTM2 needs a k2prime per_min above zero")
        if not 0 <= self.tstar_min < np.inf:
            raise ValueError("tstar_min must be zero or positive")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        regression = self._regression(tacs, ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            return regression.fit(chunk, self.imprecise_share)

        return Rows(tacs, regression.reference.weights, _FREE).fit(self.parameters, fit_chunk)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        regression = self._regression(tacs, ref, timing, weights)
        rows = Rows(tacs, regression.reference.weights, _FREE)
        return rows.fit_voxels(self.parameters, regression.fit_voxels)

    def _regression(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> Multilinear:
        reference = ReferenceIntegrals.of(ref, timing, weights)
        k2prime = self.k2prime.estimate(tacs, ref, timing, weights)
        shared = reference.with_delay(k2prime)[None]
        return Multilinear.of(reference, shared, self.tstar_min, _Meaning(k2prime))


@dataclass(frozen=True)
class _Meaning:
    k2prime: float
    """1/min"""

    def estimates(self, fit: Regression) -> dict[str, FloatArray]:
        g1, g2 = np.where(fit.singular, np.nan, fit.coefficients.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            bpnd = -g1 / g2 - 1
        return {
            "BPND": bpnd,
            "R1": g1 / self.k2prime,
            "k2": g1,
            "k2a": -g2,
            "k2prime": np.full(g1.size, self.k2prime),
        }

    def gradients(self, fit: Regression) -> dict[str, tuple[FloatArray, ...]]:
        g1, g2 = fit.coefficients.T
        one, zero = np.ones_like(g1), np.zeros_like(g1)
        return {
            "BPND": (-1 / g2, g1 / g2**2),
            "R1": (one / self.k2prime, zero),
            "k2": (one, zero),
            "k2a": (zero, -one),
        }
