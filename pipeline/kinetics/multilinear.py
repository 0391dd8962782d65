"""What MRTM1 and MRTM2 share: the curve regressed on integrals, its own among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import BoolArray, FloatArray
from pipeline.kinetics.contract import Flag, ModelFit, VoxelFit
from pipeline.kinetics.goodness import goodness_of_fit
from pipeline.kinetics.integrals import ReferenceIntegrals
from pipeline.kinetics.projection import standard_errors
from pipeline.kinetics.regression import Noise, Regression, covariance, regress


class Meaning(Protocol):
    """What the coefficients of a multilinear model mean."""

    def estimates(self, fit: Regression) -> dict[str, FloatArray]:
        """Symbol to (n,) estimates."""
        ...

    def gradients(self, fit: Regression) -> Mapping[str, tuple[FloatArray, ...]]:
        """Symbol to its derivatives by the coefficients, (n,) each; without those known."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Multilinear:
    """Regression of curves on S regressors of the reference and on their own integral."""

    reference: ReferenceIntegrals
    shared: FloatArray
    """(S, F) regressors of the reference."""
    weights: FloatArray
    """(F,) of the fit."""
    early: BoolArray
    """(F,) frames before the fit."""
    meaning: Meaning

    @classmethod
    def of(
        cls,
        reference: ReferenceIntegrals,
        shared: FloatArray,
        tstar_min: float,
        meaning: Meaning,
    ) -> Multilinear:
        """The regression that starts at a time, minutes after injection."""
        return cls(
            reference=reference,
            shared=shared,
            weights=reference.from_start(tstar_min, len(shared) + 1),
            early=reference.before(tstar_min),
            meaning=meaning,
        )

    def fit_voxels(self, tacs: FloatArray) -> VoxelFit:
        """Fit a chunk of voxels (n, F)."""
        fit = regress(self.shared, self.reference.of_curves(tacs), tacs, self.weights)
        estimates = self.meaning.estimates(fit)
        return VoxelFit(
            estimates=estimates,
            residual=np.sqrt(fit.residual_square / self.weights.sum()),
            flags=_flags(fit, estimates),
        )

    def fit(self, tacs: FloatArray, imprecise_share: float) -> ModelFit:
        """Fit a chunk of curves (n, F), with all that a table tells about them."""
        integrals = self.reference.of_curves(tacs)
        fit = regress(self.shared, integrals, tacs, self.weights)
        estimates = self.meaning.estimates(fit)
        flags = _flags(fit, estimates)
        none = np.full(len(tacs), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            gradients = self.meaning.gradients(fit)
            known = standard_errors(gradients, self._covariance(fit, integrals))
        errors = {symbol: known.get(symbol, none) for symbol in estimates}
        imprecise = errors["BPND"] > imprecise_share * np.abs(estimates["BPND"])
        flags |= imprecise * np.uint8(Flag.IMPRECISE)
        fitted = fit.coefficients[:, :-1] @ self.shared + fit.coefficients[:, [-1]] * integrals
        return ModelFit(
            estimates=estimates,
            standard_errors=errors,
            goodness=goodness_of_fit(tacs, fitted, self.weights, len(self.shared) + 1),
            fitted=np.where(self.early, np.nan, fitted),
            flags=flags,
        )

    def _covariance(self, fit: Regression, integrals: FloatArray) -> FloatArray:
        """Covariance of the coefficients, the noise of the integrals counted, (n, P, P)."""
        shared = (np.broadcast_to(x, integrals.shape) for x in self.shared)
        noise = Noise(
            direct=np.ones(len(integrals)),
            integrated=-fit.coefficients[:, -1],
            operator=self.reference.operator,
            weights=self.reference.weights,
        )
        design = np.stack([*shared, integrals], axis=-1)
        return covariance(design, self.weights, fit.residual_square, noise)


def _flags(fit: Regression, estimates: Mapping[str, FloatArray]) -> NDArray[np.uint8]:
    flags = fit.singular * np.uint8(Flag.SINGULAR)
    for symbol in ("R1", "k2", "k2a"):
        flags |= (estimates[symbol] <= 0) * np.uint8(Flag.IMPLAUSIBLE)
    flags |= ~np.isfinite(estimates["k2prime"]) * np.uint8(Flag.NO_K2PRIME)
    return np.asarray(flags, np.uint8)
