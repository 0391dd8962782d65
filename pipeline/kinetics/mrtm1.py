"""Multilinear reference tissue model with three parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import BPND, K2, K2A, K2PRIME, R1, ModelFit, Parameter, VoxelFit
from pipeline.kinetics.integrals import ReferenceIntegrals
from pipeline.kinetics.multilinear import Multilinear
from pipeline.kinetics.regression import Regression
from pipeline.kinetics.rows import Rows

_FREE = 3


@dataclass(frozen=True, kw_only=True)
class Mrtm1:
    r"""Multilinear reference tissue model (Ichise 2003).

    .. math::
        C_T = \gamma_1 \int C_R + \gamma_2 \int C_T + \gamma_3 C_R, \qquad
        BP_{ND} = -\gamma_1 / \gamma_2 - 1, \quad R_1 = \gamma_3, \quad k_2 = \gamma_1,
        \quad k_{2a} = -\gamma_2, \quad k_2' = \gamma_1 / \gamma_3

    The model of `pipeline.kinetics.srtm.Srtm` in integrated form. Standard errors count that the
    integral of a noisy curve is noisy: they are larger than those of the plain regression.

    A curve that is a multiple of the reference does not determine the rates; its BPND then comes
    from the integrals alone.

    References
    ----------
    .. [1] Ichise M et al (2003). J Cereb Blood Flow Metab 23:1096-1112.
    """

    model: Literal["mrtm1"] = "mrtm1"
    tstar_min: float = 0.0
    """Start of the fit, minutes after injection: earlier frames only enter the integrals."""
    imprecise_share: float = 0.5
    """A standard error of BPND above this share of the estimate raises the flag `imprecise`."""

    parameters: ClassVar[tuple[Parameter, ...]] = (BPND, R1, K2, K2A, K2PRIME)
    map_parameters: ClassVar[tuple[str, ...]] = ("BPND", "R1", "k2")
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 <= self.tstar_min < np.inf:
            raise ValueError("tstar_min must be zero or positive")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        regression = self._regression(ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            return regression.fit(chunk, self.imprecise_share)

        return Rows(tacs, regression.reference.weights, _FREE).fit(self.parameters, fit_chunk)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        regression = self._regression(ref, timing, weights)
        rows = Rows(tacs, regression.reference.weights, _FREE)
        return rows.fit_voxels(self.parameters, regression.fit_voxels)

    def _regression(
        self, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> Multilinear:
        reference = ReferenceIntegrals.of(ref, timing, weights)
        shared = np.stack([reference.integral, reference.ref])
        return Multilinear.of(reference, shared, self.tstar_min, _Meaning())


class _Meaning:
    def estimates(self, fit: Regression) -> dict[str, FloatArray]:
        g1, g3, g2 = fit.coefficients.T
        with np.errstate(divide="ignore", invalid="ignore"):
            # the integral of a singular curve is that of the reference, DVR times
            bpnd = np.where(fit.singular, fit.dependence[:, 0] - 1, -g1 / g2 - 1)
            k2, k2a = np.where(fit.singular, np.nan, (g1, -g2))
            return {"BPND": bpnd, "R1": g3, "k2": k2, "k2a": k2a, "k2prime": k2 / g3}

    def gradients(self, fit: Regression) -> dict[str, tuple[FloatArray, ...]]:
        g1, g3, g2 = fit.coefficients.T
        one, zero = np.ones_like(g1), np.zeros_like(g1)
        return {
            "BPND": (-1 / g2, zero, g1 / g2**2),
            "R1": (zero, one, zero),
            "k2": (one, zero, zero),
            "k2a": (zero, zero, -one),
            "k2prime": (1 / g3, -g1 / g3**2, zero),
        }
