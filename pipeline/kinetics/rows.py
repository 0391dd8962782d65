"""Curves in chunks: bad rows set aside, good ones fitted, results put where they belong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import Flag, ModelFit, Parameter, VoxelFit
from pipeline.kinetics.goodness import GOODNESS

_CHUNK = 8192
"""Rows turned to float64 at a time: 2.5 MB of 38 frames, which stays in cache."""
_FEW_FRAMES = 5


@dataclass(frozen=True, eq=False)
class Rows:
    """The curves of a fit, checked.

    Parameters
    ----------
    tacs : (V, F) array
        Target curves; never copied as a whole.
    weights : (F,) array
        Weights of squared residuals.
    free : int
        Free parameters of the model.
    """

    tacs: FloatArray
    weights: FloatArray
    free: int

    def fit(
        self, parameters: tuple[Parameter, ...], fit_chunk: Callable[[FloatArray], ModelFit]
    ) -> ModelFit:
        """Fit every row by `fit_chunk`, which takes (n, F) finite float64 curves."""
        curves, frames = self.tacs.shape
        result = ModelFit(
            estimates=_nan(parameters, curves),
            standard_errors=_nan(parameters, curves),
            goodness=_nan(GOODNESS, curves),
            fitted=np.full((curves, frames), np.nan),
            flags=np.zeros(curves, np.uint8),
        )
        for block, chunk, flags in self._chunks():
            part = fit_chunk(chunk)
            failed = _put_estimates(result, part, block, flags)
            _put(result.standard_errors, part.standard_errors, block, failed)
            _put(result.goodness, part.goodness, block, failed)
            result.fitted[block] = np.where(failed[:, None], np.nan, part.fitted)
        return result

    def fit_voxels(
        self, parameters: tuple[Parameter, ...], fit_chunk: Callable[[FloatArray], VoxelFit]
    ) -> VoxelFit:
        """Like `fit`, for a `fit_chunk` that gives no more than maps need."""
        curves = len(self.tacs)
        result = VoxelFit(
            estimates=_nan(parameters, curves, np.float32),
            residual=np.full(curves, np.nan, np.float32),
            flags=np.zeros(curves, np.uint8),
        )
        for block, chunk, flags in self._chunks():
            part = fit_chunk(chunk)
            failed = _put_estimates(result, part, block, flags)
            result.residual[block] = np.where(failed, np.nan, part.residual)
        return result

    def _chunks(self) -> Iterator[tuple[slice, FloatArray, NDArray[np.uint8]]]:
        """Blocks of rows, their curves, and what is known of them before the fit.

        Frames without weight and rows that cannot be fitted are zeros in the curves, so that
        what is in them reaches no sum.
        """
        used = self.weights > 0
        n_used = np.count_nonzero(used)
        known = Flag.FEW_FRAMES if n_used < _FEW_FRAMES else Flag(0)
        if n_used <= self.free:
            known |= Flag.FEW_FRAMES | Flag.FAILED
        for start in range(0, len(self.tacs), _CHUNK):
            block = slice(start, start + _CHUNK)
            chunk = np.array(self.tacs[block], float, order="C")
            chunk[:, ~used] = 0
            # one pass for both: a sum of squares keeps what is not finite, and is zero for zeros
            with np.errstate(invalid="ignore", over="ignore"):
                square = np.einsum("vf,vf->v", chunk, chunk)
            finite = np.isfinite(square)
            flags = np.full(len(chunk), known, np.uint8)
            flags[~finite] |= np.uint8(Flag.NONFINITE_INPUT | Flag.FAILED)
            flags[square == 0] |= np.uint8(Flag.FAILED)
            chunk[~finite] = 0
            yield block, chunk, flags


def _nan(
    parameters: tuple[Parameter, ...], curves: int, dtype: type = float
) -> dict[str, FloatArray]:
    return {parameter.symbol: np.full(curves, np.nan, dtype) for parameter in parameters}


def _put_estimates(
    result: ModelFit | VoxelFit,
    part: ModelFit | VoxelFit,
    block: slice,
    flags: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """Put the estimates and flags of a block in place; returns which rows failed, (n,)."""
    main = next(iter(result.estimates))
    failed = (flags & np.uint8(Flag.FAILED) > 0) | ~np.isfinite(part.estimates[main])
    _put(result.estimates, part.estimates, block, failed)
    # the rest of what a failed fit says of itself says nothing
    result.flags[block] = np.where(failed, flags | np.uint8(Flag.FAILED), flags | part.flags)
    return failed


def _put(
    target: Mapping[str, FloatArray],
    part: Mapping[str, FloatArray],
    block: slice,
    failed: NDArray[np.bool_],
) -> None:
    for symbol, values in target.items():
        values[block] = np.where(failed, np.nan, part[symbol])
