"""Reference Logan plot, as a ratio or multilinear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import BoolArray, FloatArray, IntArray
from pipeline.kinetics.contract import (
    BPND,
    DVR,
    K2PRIME,
    TSTAR,
    Flag,
    ModelFit,
    Parameter,
    VoxelFit,
)
from pipeline.kinetics.goodness import GOODNESS, goodness_of_fit
from pipeline.kinetics.integrals import ReferenceIntegrals
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.regression import Noise, Regression, covariance, regress
from pipeline.kinetics.rows import Rows

_FREE = 2
_MIN_FRAMES = 5
"""Fewest frames of a line whose start is found; fewer tell a bend from noise no more."""


@dataclass(frozen=True, kw_only=True)
class Logan:
    r"""Reference Logan plot (Logan 1996).

    As a ratio, or multilinear (Turkheimer 2003), where noise of the target does not stand in a
    denominator and so biases DVR less:

    .. math::
        \frac{\int C_T}{C_T} = DVR \, \frac{\int C_R + C_R / k_2'}{C_T} + b, \qquad
        \int C_T = DVR \Big( \int C_R + C_R / k_2' \Big) + b \, C_T, \qquad BP_{ND} = DVR - 1

    Weights are those of the squared residuals of these equations, and the goodness of fit is
    that of the plot. Model curves are the plot solved for :math:`C_T`; before t* there are none.
    Standard errors count that both sides hold the noise of the target, and that its integral is
    noisy; they are those for a known :math:`k_2'` and t*.

    Where t* is not given, it is the start of the earliest frame from which no point lies further
    from the line through these points than `max_deviation` times the line, with at least five
    frames left. Where there is none, the last five frames are used and the flag `at_bound` is
    raised. Noise moves a t* that is found: for maps, give one.

    References
    ----------
    .. [1] Logan J et al (1996). J Cereb Blood Flow Metab 16:834-840.
    .. [2] Turkheimer FE et al (2003). J Cereb Blood Flow Metab 23:490-498.
    """

    model: Literal["logan"] = "logan"
    form: Literal["ratio", "multilinear"] = "ratio"
    """Whether both sides are divided by the target curve."""
    k2prime: K2Prime = field(default_factory=K2Prime)
    """Where the efflux rate of the reference region comes from; 0 leaves the term out."""
    tstar_min: float | None = None
    """Start of the linear part, minutes after injection: frames that start earlier only enter
    integrals. Without a value it is found curve by curve."""
    max_deviation: float = 0.1
    """Largest deviation of a point from the line, as a share of the line, where t* is found."""
    imprecise_share: float = 0.5
    """A standard error of BPND above this share of the estimate raises the flag `imprecise`."""

    parameters: ClassVar[tuple[Parameter, ...]] = (BPND, DVR, TSTAR, K2PRIME)
    map_parameters: ClassVar[tuple[str, ...]] = ("BPND", "DVR")
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.form not in ("ratio", "multilinear"):
            raise ValueError("form must be ratio or multilinear")
        if self.tstar_min is not None and not 0 <= self.tstar_min < np.inf:
            raise ValueError("tstar_min must be zero or positive")
        if not self.max_deviation > 0:
            raise ValueError("max_deviation must be positive")
        if not self.imprecise_share > 0:
            raise ValueError("imprecise_share must be positive")

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve; see `pipeline.kinetics.contract.ReferenceModel.fit`."""
        plot = self._plot(tacs, ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> ModelFit:
            return _with_errors(chunk, plot, self.imprecise_share)

        return Rows(tacs, plot.reference.weights, _FREE).fit(self.parameters, fit_chunk)

    def fit_voxels(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> VoxelFit:
        """Fit every voxel; see `pipeline.kinetics.contract.ReferenceModel.fit_voxels`."""
        plot = self._plot(tacs, ref, timing, weights)

        def fit_chunk(chunk: FloatArray) -> VoxelFit:
            result = VoxelFit(
                estimates={p.symbol: np.full(len(chunk), np.nan) for p in self.parameters},
                residual=np.full(len(chunk), np.nan),
                flags=np.zeros(len(chunk), np.uint8),
            )
            for part in _lines(chunk, plot):
                _put_estimates(result, part, plot)
                late = part.weights > 0
                difference = (part.tacs - part.fitted(plot))[:, late]
                square = difference**2 @ part.weights[late] / part.weights.sum()
                result.residual[part.rows] = np.sqrt(square)
            return result

        return Rows(tacs, plot.reference.weights, _FREE).fit_voxels(self.parameters, fit_chunk)

    def _plot(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> _Plot:
        reference = ReferenceIntegrals.of(ref, timing, weights)
        k2prime = self.k2prime.estimate(tacs, ref, timing, weights)
        given = self.tstar_min is not None
        late = reference.from_start(self.tstar_min or 0.0, _FREE)
        return _Plot(
            reference=reference,
            k2prime=k2prime,
            x=reference.with_delay(k2prime),
            ratio=self.form == "ratio",
            frames=np.flatnonzero(late),
            max_deviation=None if given else self.max_deviation,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plot:
    """What the plots of all curves share."""

    reference: ReferenceIntegrals
    k2prime: float
    """1/min"""
    x: FloatArray
    """(F,) integral of the reference with the term of k2prime."""
    ratio: bool
    frames: IntArray
    """Indices of the frames with weight that may take part, in order."""
    max_deviation: float | None
    """Without it, all frames take part."""

    def weights_from(self, frame: int) -> FloatArray:
        """Weights (F,) of a line that starts with a frame."""
        late = np.zeros(len(self.x))
        kept = self.frames[self.frames >= frame]
        late[kept] = self.reference.weights[kept]
        return late

    def regression(
        self, tacs: FloatArray, integrals: FloatArray, weights: FloatArray
    ) -> Regression:
        if not self.ratio:
            return regress(self.x[None], tacs, integrals, weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            return regress(np.ones((1, len(self.x))), self.x / tacs, integrals / tacs, weights)

    def line(self, fit: Regression) -> tuple[FloatArray, FloatArray]:
        """DVR and b, (n,) each."""
        first, second = fit.coefficients.T
        if self.ratio:
            return np.where(fit.singular, np.nan, second), first
        return first, second


@dataclass(frozen=True, kw_only=True, eq=False)
class _Line:
    """Lines through the same frames, for some rows of a chunk."""

    rows: IntArray
    tacs: FloatArray
    """(n, F)"""
    integrals: FloatArray
    """(n, F) of the curves."""
    weights: FloatArray
    """(F,), zero before t*."""
    start: int
    """First frame."""
    at_bound: BoolArray
    """(n,) whether no start gave points that lie on a line."""
    regression: Regression

    def fitted(self, plot: _Plot) -> FloatArray:
        """The plot solved for the curve, (n, F)."""
        dvr, b = plot.line(self.regression)
        with np.errstate(divide="ignore", invalid="ignore"):
            curve = (self.integrals - dvr[:, None] * plot.x) / b[:, None]
        curve[:, : self.start] = np.nan
        curve[~np.isfinite(curve)] = np.nan
        return np.asarray(curve)

    def error(self, plot: _Plot) -> FloatArray:
        """Standard error of DVR, (n,)."""
        _, b = plot.line(self.regression)
        noise = Noise(
            direct=-b,
            integrated=np.ones(len(b)),
            operator=plot.reference.operator,
            weights=plot.reference.weights,
        )
        design = np.stack([np.broadcast_to(plot.x, self.tacs.shape), self.tacs], axis=-1)
        weights = np.broadcast_to(self.weights, self.tacs.shape)
        if plot.ratio:
            # the ratio is the multilinear plot with both sides divided by the curve
            with np.errstate(divide="ignore", invalid="ignore"):
                weights = np.where(weights > 0, weights / self.tacs**2, 0.0)
        with np.errstate(invalid="ignore"):
            square = covariance(design, weights, self.regression.residual_square, noise)
            return np.asarray(np.sqrt(square[:, 0, 0]))


def _lines(tacs: FloatArray, plot: _Plot) -> Iterator[_Line]:
    """Lines of curves (n, F), those with the same start together."""
    integrals = plot.reference.of_curves(tacs)
    starts, at_bound = _starts(tacs, integrals, plot)
    for start in np.unique(starts):
        rows = np.flatnonzero(starts == start)
        weights = plot.weights_from(int(start))
        yield _Line(
            rows=rows,
            tacs=tacs[rows],
            integrals=integrals[rows],
            weights=weights,
            start=int(start),
            at_bound=at_bound[rows],
            regression=plot.regression(tacs[rows], integrals[rows], weights),
        )


def _starts(tacs: FloatArray, integrals: FloatArray, plot: _Plot) -> tuple[IntArray, BoolArray]:
    """First frame of the line of every curve (n,), and whether none was found."""
    frames = plot.frames
    starts = np.full(len(tacs), frames[0] if frames.size else 0)
    at_bound = np.zeros(len(tacs), bool)
    if plot.max_deviation is None:
        return starts, at_bound
    left = np.arange(len(tacs))
    last = max(frames.size - _MIN_FRAMES, 0)
    for i in range(last + 1):
        starts[left] = frames[i]
        late = plot.weights_from(int(frames[i]))
        dvr, b = plot.line(plot.regression(tacs[left], integrals[left], late))
        points = frames[i:]
        # deviations from the line as shares of it are the same in both forms
        line = dvr[:, None] * plot.x[points] + b[:, None] * tacs[left][:, points]
        distance = np.abs(integrals[left][:, points] - line)
        straight = (distance <= plot.max_deviation * np.abs(line)).all(axis=1)
        left = left[~straight]
        if left.size == 0:
            break
    at_bound[left] = True
    return starts, at_bound


def _put_estimates(result: ModelFit | VoxelFit, part: _Line, plot: _Plot) -> None:
    dvr, _ = plot.line(part.regression)
    rows, flags = part.rows, np.zeros(len(dvr), np.uint8)
    result.estimates["DVR"][rows] = dvr
    result.estimates["BPND"][rows] = dvr - 1
    result.estimates["tstar"][rows] = plot.reference.start_min[part.start]
    result.estimates["k2prime"][rows] = plot.k2prime
    flags |= part.at_bound * np.uint8(Flag.AT_BOUND)
    flags |= part.regression.singular * np.uint8(Flag.SINGULAR)
    flags |= (dvr <= 0) * np.uint8(Flag.IMPLAUSIBLE)
    if np.count_nonzero(part.weights) < _MIN_FRAMES:
        flags |= np.uint8(Flag.FEW_FRAMES)
    result.flags[rows] = flags


def _with_errors(tacs: FloatArray, plot: _Plot, imprecise_share: float) -> ModelFit:
    count = len(tacs)
    result = ModelFit(
        estimates={p.symbol: np.full(count, np.nan) for p in Logan.parameters},
        standard_errors={p.symbol: np.full(count, np.nan) for p in Logan.parameters},
        goodness={measure.symbol: np.full(count, np.nan) for measure in GOODNESS},
        fitted=np.full(tacs.shape, np.nan),
        flags=np.zeros(count, np.uint8),
    )
    for part in _lines(tacs, plot):
        _put_estimates(result, part, plot)
        dvr, b = plot.line(part.regression)
        error = part.error(plot)
        result.standard_errors["DVR"][part.rows] = error
        result.standard_errors["BPND"][part.rows] = error
        imprecise = error > imprecise_share * np.abs(dvr - 1)
        result.flags[part.rows] |= _as_flag(imprecise, Flag.IMPRECISE)
        result.fitted[part.rows] = part.fitted(plot)
        for symbol, values in _goodness(part, plot, dvr, b).items():
            result.goodness[symbol][part.rows] = values
    return result


def _as_flag(where: BoolArray, flag: Flag) -> NDArray[np.uint8]:
    return np.asarray(where * np.uint8(flag), np.uint8)


def _goodness(part: _Line, plot: _Plot, dvr: FloatArray, b: FloatArray) -> dict[str, FloatArray]:
    """Goodness of the line, in the coordinates of the regression."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = part.tacs if plot.ratio else 1.0
        measured = part.integrals / scale
        line = (dvr[:, None] * plot.x + b[:, None] * part.tacs) / scale
        return dict(goodness_of_fit(measured, line, part.weights, _FREE))
