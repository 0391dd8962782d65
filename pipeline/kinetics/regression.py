"""Weighted linear regression of many curves that share all regressors but one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray

_COLLINEAR = 1e-6
"""Share of a regressor that may differ from the others by no more than rounding of float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Weighted fits of n curves on S shared regressors and one of their own, P = S + 1."""

    coefficients: FloatArray
    """(n, P), of the shared regressors, then of the own one, which is 0 where singular."""
    dependence: FloatArray
    """(n, S) coefficients of the own regressor on the shared ones."""
    singular: NDArray[np.bool_]
    """(n,) whether the own regressor is a combination of the shared ones."""
    residual_square: FloatArray
    """(n,) weighted sum of squared residuals."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    r"""How noise of the measured curves gets into residuals that hold running integrals.

    Noise :math:`\epsilon` of a curve is independent from frame to frame; where the curve also
    enters by its integral, the residual is :math:`\alpha \epsilon + \beta \int \epsilon`,
    whose frames are not independent.
    """

    direct: FloatArray
    r"""(n,) :math:`\alpha`."""
    integrated: FloatArray
    r"""(n,) :math:`\beta`, 1/min times the unit of :math:`\alpha`."""
    operator: FloatArray
    """(F, F) running integral, minutes."""
    weights: FloatArray
    """(F,) inverse variances of the frames, to a factor; 0 for frames that enter nothing."""


def covariance(
    design: FloatArray, weights: FloatArray, residual_square: FloatArray, noise: Noise
) -> FloatArray:
    r"""Covariance of the coefficients of weighted fits, (n, P, P); NaN where undetermined.

    With the residual :math:`A \epsilon`, :math:`A = \alpha I + \beta L`, coefficients move by
    :math:`(X^T W X)^{-1} X^T W A \epsilon`. The size of :math:`\epsilon` is that which explains
    the residual. Without integrals this is the usual covariance of weighted least squares; with
    them that one would take the noise of integrals for none and come out too small.

    Parameters
    ----------
    design : (n, F, P) array
        Regressors.
    weights : (n, F) or (F,) array
        Weights of squared residuals; 0 leaves a frame out.
    residual_square : (n,) array
        Weighted sum of squared residuals.
    noise : Noise
        Of the n curves.
    """
    used, noisy = weights > 0, noise.weights > 0
    root = np.sqrt(weights)
    rows = np.where(used[..., None], design * root[..., None], 0.0)
    lost = ~np.isfinite(rows).all(axis=(1, 2))
    rows[lost] = 0.0
    size = np.linalg.norm(rows, axis=1)
    size[size == 0] = 1.0
    basis, upper = np.linalg.qr(rows / size[:, None, :])
    singular = ~(np.abs(np.einsum("nii->ni", upper)) > _COLLINEAR).all(axis=1)
    upper[singular] = np.eye(design.shape[-1])
    # A, then the deviation of the noise: from residuals back to independent noise of size one
    deviation = np.where(noisy, 1 / np.sqrt(np.where(noisy, noise.weights, 1.0)), 0.0)
    direct, integrated = noise.direct[:, None], noise.integrated[:, None]
    pulled = root[..., None] * basis
    path = direct[..., None] * pulled + integrated[..., None] * (noise.operator.T @ pulled)
    path *= deviation[:, None]
    spread = path.transpose(0, 2, 1) @ path
    own = (direct + 2 * integrated * np.diag(noise.operator)) * direct * deviation**2
    whole = own + integrated**2 * ((noise.operator * deviation) ** 2).sum(axis=1)
    left = (whole * np.where(used, weights, 0.0)).sum(axis=1) - np.einsum("nii->n", spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(singular | lost | ~(left > 0), np.nan, residual_square / left)
    back = np.linalg.inv(upper) / size[:, :, None]
    return np.asarray(back @ spread @ back.transpose(0, 2, 1) * variance[:, None, None])


def regress(
    shared: FloatArray, own: FloatArray, response: FloatArray, weights: FloatArray
) -> Regression:
    r"""Weighted least squares of every curve.

    .. math::
        \sum_f w_f \Big( y_f - \sum_s \beta_s X_{sf} - \beta_P u_f \Big)^2 \to \min

    Parameters
    ----------
    shared : (S, F) array
        Regressors of all curves.
    own : (n, F) array
        One regressor of every curve.
    response : (n, F) array
        What is described.
    weights : (F,) array
        Weights of squared residuals; frames with weight 0 may hold anything.

    Returns
    -------
    Regression
        All singular if there are fewer frames than shared regressors.

    Raises
    ------
    ValueError
        If the shared regressors are combinations of each other in the frames with weight.

    Notes
    -----
    Own regressor and response are made orthogonal to the shared ones, which are orthonormalised
    once; what is left is one quotient per curve (Frisch & Waugh 1933, Econometrica 1:387-401).
    The condition is that of the regressors, not of its square as with normal equations.
    """
    used = weights > 0
    root = np.sqrt(weights[used])
    x = (shared[:, used] * root).T
    if x.shape[0] < x.shape[1]:
        return _nothing(len(own), len(shared))
    size = np.linalg.norm(x, axis=0)
    if not (size > 0).all():
        raise ValueError("the reference curve holds no activity in the frames of the fit")
    basis, upper = np.linalg.qr(x / size)
    if not (np.abs(np.diag(upper)) > _COLLINEAR).all():
        raise ValueError("the reference curve is too simple to tell the parameters apart")
    to_coefficients = np.linalg.inv(upper).T / size
    u, y = own[:, used] * root, response[:, used] * root
    u_along, u_across = _split(u, basis)
    y_along, y_across = _split(y, basis)
    own_square = np.einsum("nf,nf->n", u_across, u_across)
    singular = ~(own_square > _COLLINEAR**2 * np.einsum("nf,nf->n", u, u))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.einsum("nf,nf->n", u_across, y_across) / own_square
    slope = np.where(singular, 0.0, slope)
    y_across -= slope[:, None] * u_across
    levels = (y_along - slope[:, None] * u_along) @ to_coefficients
    return Regression(
        coefficients=np.column_stack([levels, slope]),
        dependence=u_along @ to_coefficients,
        singular=singular,
        residual_square=np.einsum("nf,nf->n", y_across, y_across),
    )


def _nothing(rows: int, shared: int) -> Regression:
    return Regression(
        coefficients=np.full((rows, shared + 1), np.nan),
        dependence=np.full((rows, shared), np.nan),
        singular=np.ones(rows, bool),
        residual_square=np.full(rows, np.nan),
    )


def _split(rows: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates (n, S) of rows along a basis, and what is orthogonal to it, (n, F)."""
    along = rows @ basis
    across = rows - along @ basis.T
    # once more: the first pass leaves rounding of the size of what was taken away
    rest = across @ basis
    across -= rest @ basis.T
    return along + rest, across
