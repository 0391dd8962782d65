"""Wavelet-aided parametric imaging: reference Logan plots of wavelet coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import BoolArray, FloatArray
from pipeline.kinetics.contract import BPND, DVR, Flag, Parameter, VoxelFit
from pipeline.kinetics.integrals import ReferenceIntegrals
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.wavelets import StationaryWavelet

_MIN_FRAMES = 3
_CHUNK = 32768
"""Coefficients turned to float64 at a time."""
_COLLINEAR = 1e-8
"""Squared sine of the angle to the reference below which a curve is taken as parallel to it."""
_BLOCK_VOXELS = 16
"""Edge of the blocks whose mean curves give k2prime."""


@dataclass(frozen=True, kw_only=True)
class Wapi:
    r"""Wavelet-aided parametric imaging (Cselényi 2002).

    Frames are split into sub-bands by an undecimated wavelet transform; every coefficient has a
    curve, whose multilinear reference Logan plot over the last frames gives its DVR:

    .. math::
        \int W = DVR \left(\int C_R + C_R / k_2'\right) + b W

    The inverse transform of these coefficients is the DVR of every voxel. In the sub-bands the
    signal gathers in few coefficients and a plot does not see the noise of one voxel alone, so
    that maps are less noisy than voxel by voxel, without a smoothing filter.

    The k2prime term is kept by default: without it, DVR depends on when the plot starts and is off
    by up to 0.65 % on realistic curves. ``k2prime.per_min = 0`` leaves it out, as published maps
    of this method mostly do.

    References
    ----------
    .. [1] Cselényi Z, Olsson H, Farde L, Gulyás B (2002). NeuroImage 17:47-60.
    .. [2] Cselényi Z, Olsson H, Halldin C, Gulyás B, Farde L (2006). NeuroImage 32:1690-1708.
    .. [3] Turkheimer FE et al (2003). J Cereb Blood Flow Metab 23:490-498.
    """

    model: Literal["wapi"] = "wapi"
    depth: int = 3
    """Levels of the transform; the coarsest details span 2^depth voxels."""
    n_frames: int = 10
    """Last frames with weight that make the plot, at least 3."""
    k2prime: K2Prime = field(default_factory=K2Prime)
    """Efflux rate constant of the reference region."""
    threshold_share: float = 0.01
    """Coefficients whose integral is below this share of the mean magnitude of their sub-band in
    the mask are set to zero, as they tell nothing; 0 keeps all."""
    margin_voxels: int = 16
    """Voxels around the mask that take part, where the image has them. More of them change the DVR
    of a brain in its head by 2 % of its noise, of a small mask amid tissue by 8 %; none at all
    changes it by 19 and 53 %."""

    parameters: ClassVar[tuple[Parameter, ...]] = (BPND, DVR)
    map_parameters: ClassVar[tuple[str, ...]] = ("BPND", "DVR")
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError("depth must be at least 1")
        if self.n_frames < _MIN_FRAMES:
            raise ValueError(f"n_frames must be at least {_MIN_FRAMES}")
        if not 0 <= self.threshold_share < 0.1:
            raise ValueError("threshold_share must be from 0 to below 0.1")
        if self.margin_voxels < 0:
            raise ValueError("margin_voxels must not be negative")

    def fit_image(
        self,
        frames: FloatArray,
        mask: BoolArray,
        ref: FloatArray,
        timing: FrameTiming,
        weights: FloatArray,
    ) -> VoxelFit:
        """Fit an image.

        Parameters
        ----------
        frames : (X, Y, Z, F) array
            Decay-corrected frames, any activity unit; never changed or copied whole.
        mask : (X, Y, Z) array
            Voxels whose estimates are wanted, V of them; those around support them.
        ref : (F,) array
            Reference-region curve in the same unit.
        timing : FrameTiming
            The F frames.
        weights : (F,) array
            Weights of *squared* residuals; 0 leaves a frame out.

        Returns
        -------
        VoxelFit
            Of the V voxels of the mask, in C order. The residual is that of the plot at the DVR
            that was found, solved for the curve.

        Raises
        ------
        ValueError
            If the reference curve is not finite in a frame with weight, shapes do not match, or
            k2prime cannot be estimated.
        """
        mask = np.asarray(mask, bool)
        used = (weights > 0) & (timing.end_min > 0)
        if frames.shape != (*mask.shape, len(timing)):
            raise ValueError(f"frames of shape {frames.shape} and a mask of shape {mask.shape}")
        voxels = int(np.count_nonzero(mask))
        if np.count_nonzero(used) < _MIN_FRAMES or not voxels:
            return _no_fit(voxels)
        few = np.uint8(Flag.FEW_FRAMES if np.count_nonzero(used) < self.n_frames else 0)
        box = _box(mask, self.margin_voxels)
        frames, mask = frames[box], mask[box]
        plot = _LatePlot(
            reference=ReferenceIntegrals.of(ref, timing, weights),
            n_frames=self.n_frames,
            k2prime=self._k2prime(frames, mask, ref, timing, weights),
        )
        stack, finite = _stack(frames, plot.combinations, used)
        dvr = self._dvr(stack, mask, plot)
        fit = _voxel_fit(dvr[mask], stack[:, mask], finite[mask], plot)
        return replace(fit, flags=fit.flags | few)

    def _k2prime(
        self,
        frames: FloatArray,
        mask: BoolArray,
        ref: FloatArray,
        timing: FrameTiming,
        weights: FloatArray,
    ) -> float:
        """Given value, 1/min, or that of the mean curves of the blocks of the mask."""
        if self.k2prime.per_min is not None:
            return self.k2prime.per_min
        return self.k2prime.estimate(_block_curves(frames, mask), ref, timing, weights)

    def _dvr(self, stack: FloatArray, mask: BoolArray, plot: _LatePlot) -> FloatArray:
        """DVR image of the shape of the mask."""
        widths = _pad_widths(mask.shape)
        padded = tuple(int(n + sum(w)) for n, w in zip(mask.shape, widths, strict=True))
        wavelet = StationaryWavelet(shape=(padded[0], padded[1], padded[2]), depth=self.depth)
        spectra = [wavelet.spectrum(np.pad(image, widths, mode="reflect")) for image in stack]
        inside = tuple(slice(w[0], w[0] + n) for n, w in zip(mask.shape, widths, strict=True))
        support = np.zeros(padded, bool)
        support[inside] = mask
        total = np.zeros_like(spectra[0])
        coefficients = np.empty((len(spectra), *padded), np.float32)
        for band in wavelet.sub_bands:
            for image, spectrum in zip(coefficients, spectra, strict=True):
                image[...] = wavelet.coefficients(spectrum, band)
            flat = coefficients.reshape(len(spectra), -1)
            dvr = plot.solve(flat)
            dvr[self._negligible(plot.areas(flat), support.ravel())] = 0
            total += wavelet.restored(dvr.reshape(padded), band)
        return wavelet.volume(total)[inside]

    def _negligible(self, areas: FloatArray, support: BoolArray) -> BoolArray:
        """Which coefficients hold next to nothing, (N,)."""
        magnitude = np.abs(areas)
        return np.asarray(magnitude < self.threshold_share * magnitude[support].mean(dtype=float))


@dataclass(frozen=True, kw_only=True, eq=False)
class _LatePlot:
    """The multilinear plot of the last frames, on few linear combinations of all frames.

    Every running integral of the last frames is a combination of these frames and of what came
    before them, which is one image for all of them: K = n + 1 images hold the whole plot.
    """

    reference: ReferenceIntegrals
    n_frames: int
    k2prime: float
    """1/min; 0 leaves the term out."""

    @cached_property
    def _late(self) -> NDArray[np.intp]:
        """Indices of the last frames with weight, (n,)."""
        return np.flatnonzero(self.reference.weights)[-self.n_frames :]

    @cached_property
    def _integral(self) -> FloatArray:
        """Frames to their integrals up to the last mid-frames, (n, F), minutes."""
        return self.reference.operator[self._late]

    @cached_property
    def _early(self) -> tuple[FloatArray, FloatArray]:
        """Integrals before the last frames as (n, r) shares of (r, F) combinations of frames."""
        early = self._integral.copy()
        early[:, self._late] = 0
        shares, size, combinations = np.linalg.svd(early, full_matrices=False)
        rank = np.count_nonzero(size > 1e-9 * max(size[0], 1e-300))
        return shares[:, :rank] * size[:rank], combinations[:rank]

    @cached_property
    def combinations(self) -> FloatArray:
        """Frames to the images of the plot, (K, F): the last frames, then what came before."""
        return np.vstack((np.eye(len(self.reference.ref))[self._late], self._early[1]))

    @cached_property
    def _regressor(self) -> FloatArray:
        """Integral of the reference with the term of k2prime, (n,)."""
        return self.reference.with_delay(self.k2prime)[self._late]

    @cached_property
    def _maps(self) -> tuple[FloatArray, FloatArray]:
        """Images to curves and to their integrals, (n, K) both."""
        curve = np.eye(len(self._late), len(self.combinations))
        return curve, np.hstack((self._integral[:, self._late], self._early[0]))

    def solve(self, images: FloatArray) -> FloatArray:
        """DVR of curves, (N,) float32, from (K, N) images.

        Where a curve runs parallel to the reference it tells nothing of `b`, which is then zero.
        """
        root = np.sqrt(self.reference.weights[self._late])
        x = root * self._regressor
        along = x / (x @ x)
        across = np.eye(len(x)) - np.outer(x, along)
        curve, integral = (root[:, None] * m for m in self._maps)
        dvr = np.empty(images.shape[1], np.float32)
        for block in _blocks(images.shape[1]):
            part = images[:, block].astype(float)
            w, y = across @ curve @ part, across @ integral @ part
            squares = np.einsum("nv,nv->v", w, w)
            whole = np.einsum("nv,nv->v", curve @ part, curve @ part)
            flat = squares <= _COLLINEAR * whole
            b = np.einsum("nv,nv->v", w, y) / np.where(flat, np.inf, squares)
            dvr[block] = along @ integral @ part - b * (along @ curve @ part)
        return dvr

    def areas(self, images: FloatArray) -> FloatArray:
        """Integrals of curves up to the last frame, (N,), from (K, N) images."""
        return np.asarray(self._maps[1][-1].astype(images.dtype) @ images)

    def residual(self, dvr: FloatArray, images: FloatArray) -> FloatArray:
        """Weighted root mean square residual of the plot solved for the curve, (N,)."""
        weights = self.reference.weights[self._late, None]
        result = np.empty(images.shape[1], np.float32)
        for block in _blocks(images.shape[1]):
            part = images[:, block].astype(float)
            curve, integral = (m @ part for m in self._maps)
            x = integral - dvr[block] * self._regressor[:, None]
            squares = (weights * x**2).sum(axis=0)
            slope = (weights * x * curve).sum(axis=0) / np.where(squares > 0, squares, np.inf)
            residual = curve - slope * x
            result[block] = np.sqrt((weights * residual**2).sum(axis=0) / weights.sum())
        return result


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, length, _CHUNK))


def _no_fit(voxels: int) -> VoxelFit:
    return VoxelFit(
        estimates={p.symbol: np.full(voxels, np.nan, np.float32) for p in Wapi.parameters},
        residual=np.full(voxels, np.nan, np.float32),
        flags=np.full(voxels, np.uint8(Flag.FEW_FRAMES | Flag.FAILED)),
    )


def _voxel_fit(
    dvr: FloatArray, images: FloatArray, finite: BoolArray, plot: _LatePlot
) -> VoxelFit:
    """Estimates of the V voxels of the mask, from their (K, V) images of the plot."""
    failed = ~finite | ~images.any(axis=0) | ~np.isfinite(dvr)
    residual = plot.residual(dvr, images)
    dvr = np.where(failed, np.nan, dvr)
    flags = np.where(failed, np.uint8(Flag.FAILED), np.uint8(0))
    flags[~finite] |= np.uint8(Flag.NONFINITE_INPUT)
    flags[dvr <= 0] |= np.uint8(Flag.IMPLAUSIBLE)
    return VoxelFit(
        estimates={"BPND": dvr - 1, "DVR": dvr},
        residual=np.where(failed, np.nan, residual),
        flags=flags,
    )


def _box(mask: BoolArray, margin: int) -> tuple[slice, slice, slice]:
    """Bounding box of a mask with a margin."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    x, y, z = (slice(max(s.start - margin, 0), s.stop + margin) for s in box)
    return x, y, z


def _pad_widths(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Voxels to add before and after every axis, for lengths whose spectrum is fast."""
    widths = []
    for n in shape:
        more = fft.next_fast_len(n, real=True) - n
        widths.append((more // 2, more - more // 2))
    return widths


def _stack(
    frames: FloatArray, combinations: FloatArray, used: BoolArray
) -> tuple[FloatArray, BoolArray]:
    """Combinations of frames, (K, X, Y, Z) float32, and which voxels are finite, (X, Y, Z).

    Voxels that are not finite are zero: in a sum they would spoil all others.
    """
    stack = np.empty((len(combinations), *frames.shape[:3]), np.float32)
    finite = np.empty(frames.shape[:3], bool)
    slowest = int(np.argmax(np.abs(frames.strides[:3])))
    for source, target, good in zip(
        np.moveaxis(frames, slowest, 0),
        np.moveaxis(stack, slowest + 1, 0),
        np.moveaxis(finite, slowest, 0),
        strict=True,
    ):
        slab = np.where(used, source, 0)
        good[...] = np.isfinite(slab).all(axis=-1)
        slab[~good] = 0
        target[...] = np.moveaxis(slab @ combinations.T, -1, 0)
    return stack, finite


def _block_curves(frames: FloatArray, mask: BoolArray) -> FloatArray:
    """Mean curves of the blocks of a mask, (B, F): with as little noise as those of regions."""
    corners = [n // _BLOCK_VOXELS + 1 for n in mask.shape]
    block = np.ravel_multi_index(
        tuple(index // _BLOCK_VOXELS for index in np.nonzero(mask)), tuple(corners)
    )
    size = np.bincount(block)
    sums = [np.bincount(block, frames[..., f][mask]) for f in range(frames.shape[-1])]
    large = size >= size.max() / 2
    return np.asarray((np.stack(sums, axis=1)[large]) / size[large, None])
