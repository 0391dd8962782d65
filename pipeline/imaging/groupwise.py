"""Rigid alignment of the frames of one scan to their common mean, by least squares.

Between two frames a head moves rigidly and its tracer is redistributed. At the right pose a frame
is, but for noise,

    frame(x) = h(mean(x)) + g(x) mean(x)

with h a line through a few knots, which may turn the contrast of tissues round, and g a polynomial
of place of second degree. Poses and gains are found together by Gauss-Newton steps that have the
gains eliminated (variable projection; Golub and Pereyra, 1973); a fit to the mean alone would
take redistribution for motion. Slopes come from what the model makes of the mean, so they carry
little noise and have the sign that the frame has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume

_LARGEST_STEP = np.repeat([8.0, 0.12], 3)  # mm, rad; the model is good to about its smoothness
_RIDGE = 1e-6
_NOISE_FLOOR = 0.1
_INSIDE_SHARE = 0.5
_COMPARED_SHARE = 0.3  # of the head in all frames; the less of it, the better anything fits
_GAIN_LENGTH_MM = 50.0
_BLOCK_MM = 20.0
_KNOTS_PERCENT = (0, 25, 50, 75, 95, 100)


@dataclass(frozen=True, eq=False)
class Poses:
    """Where every frame of a group lies."""

    reference2frame_xfms: FloatArray
    """(F, 4, 4), world RAS+ mm."""
    covariance: FloatArray
    """(F, 6, 6); of shifts, mm, and turns, rad, about the centre of the head; inf without
    signal."""
    standard_error_mm: FloatArray
    """(F,); root mean square shift of the head that `covariance` stands for."""
    misfit: FloatArray
    """(F,); mean squared residual relative to the squared mean of the frame; NaN without
    signal."""


def recentred(xfms: FloatArray, weights: FloatArray, centre_mm: FloatArray) -> FloatArray:
    """Transforms (F, 4, 4) from a new reference that lies at the weighted mean of all poses.

    The poses relative to each other stay as they are.
    """
    mean = np.eye(4)
    mean[:3, :3] = Rotation.from_matrix(xfms[:, :3, :3]).mean(weights).as_matrix()
    centres = xfms[:, :3, :3] @ centre_mm + xfms[:, :3, 3]
    mean[:3, 3] = np.average(centres, axis=0, weights=weights) - mean[:3, :3] @ centre_mm
    return np.asarray(xfms @ np.linalg.inv(mean))


class FrameGroup:
    """Frames of one scan and the voxels where they are compared.

    Parameters
    ----------
    frames : list of Volume
        F frames on one grid, finite.
    mask : (X, Y, Z) bool array
        The head on the grid of the frames; voxels on the border of the grid are left out.
    precision : (F,) array
        Weight of every frame in the mean that all are compared with, such as its counts.

    Raises
    ------
    ValueError
        If no voxel of the mask is left.
    """

    def __init__(self, frames: list[Volume], mask: BoolArray, precision: FloatArray) -> None:
        self._affine, self._shape = frames[0].affine, frames[0].shape
        self._precision = precision
        self._splines = [ndimage.spline_filter(v.data, order=3, output=np.float32) for v in frames]
        self._compared = np.zeros(self._shape, bool)
        self._compared[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
        if not self._compared.any():
            raise ValueError("no voxel of the head lies inside the field of view")
        self._sampled = ndimage.binary_dilation(self._compared)  # gradients need neighbours
        self._index = np.argwhere(self._sampled).astype(np.float64)
        self._is_compared = self._compared[self._sampled]
        points = apply_affine(self._affine, self._index[self._is_compared])
        self.centre_mm: FloatArray = points.mean(axis=0)
        self._arms = (points - self.centre_mm).T
        self._mean_square_shift = _mean_square_shift(self._arms)
        self._blocks = _blocks(self._arms)

    def align(self, xfms: FloatArray, steps: int, tolerance_mm: float) -> Poses:
        """Best poses near a start.

        Parameters
        ----------
        xfms : (F, 4, 4) array
            First guess of the transforms from the reference to every frame.
        steps : int
            The most Gauss-Newton steps.
        tolerance_mm : float
            Stop when no frame moved by more than this, at the centre of the head or 70 mm off.

        Returns
        -------
        Poses
            Frames without signal in the head stay where they were. A pose that still moved when
            the steps were used up is no better known than by its last step.
        """
        moved_mm = np.zeros(len(xfms))
        for _ in range(steps):
            fits = self._fitted(xfms)
            change = np.array([np.zeros(6) if fit is None else fit.undoing for fit in fits])
            xfms = xfms @ _small_motions(change, self.centre_mm)
            moved_mm = np.abs(change * np.repeat([1.0, 70.0], 3)).max(axis=1)
            if moved_mm.max() < tolerance_mm:
                break
        found = self._judged(xfms)
        return replace(found, standard_error_mm=np.maximum(found.standard_error_mm, moved_mm))

    def _fitted(self, xfms: FloatArray) -> list[_Fit | None]:
        """The model at given poses and the motions that improve it; None for no head."""
        sampled, seen = self._samples(xfms)
        level = sampled[:, self._is_compared].mean(axis=1, dtype=np.float64)
        good = (level > 0) & (seen.mean(axis=1) > _INSIDE_SHARE)
        precision = np.where(good, self._precision, 0.0)
        if not precision.any():
            return [None] * len(xfms)
        # a frame of n counts is level times the mean, with a variance of level^2 / n
        share = np.divide(precision, level, out=np.zeros(len(level)), where=precision > 0)
        mean = np.einsum("f,fn->n", share, sampled) / precision.sum()
        # frames may look past the end of the scanner: only what all of them saw is compared
        in_all = seen[good].all(axis=0)
        if in_all.mean() < _COMPARED_SHARE:
            return [None] * len(xfms)
        weight = in_all / np.maximum(mean[self._is_compared], _NOISE_FLOOR)
        gains = _Gains.of(self._gains(mean), self._is_compared, weight)
        return [
            self._fit(gains, sampled[f].astype(np.float64)) if good[f] else None
            for f in range(len(xfms))
        ]

    def _fit(self, gains: _Gains, frame: FloatArray) -> _Fit:
        """Motion of one frame (S,) against what the gains make of the mean."""
        data = frame[self._is_compared]
        coefficients = gains.fitted(data)
        slopes = self._slopes(coefficients @ gains.sampled)
        motions = np.concatenate([slopes, np.cross(self._arms, slopes, axis=0)])
        # what the gains can do as well is not evidence of motion
        motions -= np.stack([gains.fitted(m) for m in motions]) @ gains.columns
        weighted = motions * gains.weight
        normal = np.einsum("pn,qn->pq", weighted, motions)
        scale = np.sqrt(np.diag(normal)) + np.finfo(float).tiny
        normal = normal / np.outer(scale, scale) + _RIDGE * np.eye(6)
        influence = np.linalg.inv(normal) / np.outer(scale, scale) @ weighted
        residual = data - coefficients @ gains.columns
        motion = influence @ residual
        return _Fit(motion, influence, residual - motion @ motions, gains.weight, data.mean())

    def _judged(self, xfms: FloatArray) -> Poses:
        """Poses with their errors, from the residuals of the fit.

        Noise of reconstructed images is correlated, and a model of the redistribution leaves
        some of it: sums over blocks of the head, several times as wide as either, are taken as
        independent (Liang and Zeger, 1986), not voxels.
        """
        covariance = np.full((len(xfms), 6, 6), np.inf)
        errors, misfit = np.full(len(xfms), np.inf), np.full(len(xfms), np.nan)
        for f, fit in enumerate(self._fitted(xfms)):
            if fit is not None:
                covariance[f] = fit.covariance(self._blocks)
                errors[f] = np.sqrt(np.trace(covariance[f] @ self._mean_square_shift))
                misfit[f] = fit.misfit
        return Poses(xfms, covariance, errors, misfit)

    def _samples(self, xfms: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Values (F, S) of the frames at the sampled points, and which compared ones they saw."""
        values = np.empty((len(xfms), len(self._index)), np.float32)
        seen = np.empty((len(xfms), np.count_nonzero(self._is_compared)), bool)
        last = np.array(self._shape)[:, None] - 0.5
        for f, (spline, xfm) in enumerate(zip(self._splines, xfms, strict=True)):
            voxel = np.linalg.inv(self._affine) @ xfm @ self._affine
            at = apply_affine(voxel, self._index).T
            values[f] = ndimage.map_coordinates(
                spline, at, order=3, mode="nearest", prefilter=False
            )
            at = at[:, self._is_compared]
            seen[f] = ((at > -0.5) & (at < last)).all(axis=0)
        return values, seen

    def _gains(self, mean: FloatArray) -> FloatArray:
        """Columns of the redistribution at the sampled points, (Q, S), unitless."""
        inside = mean[self._is_compared]
        knots = np.unique(np.percentile(inside, _KNOTS_PERCENT))
        steps = [np.interp(mean, knots, hat) for hat in np.eye(len(knots))]
        points = apply_affine(self._affine, self._index) - self.centre_mm
        x, y, z = points.T / _GAIN_LENGTH_MM
        places = [x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
        return np.stack([*steps, *(place * mean for place in places)])

    def _slopes(self, values: FloatArray) -> FloatArray:
        """Gradient of an image (S,) at the compared points, (3, N), per mm."""
        image = np.zeros(self._shape)
        image[self._sampled] = values
        slopes = np.stack(
            [
                (np.roll(image, -1, axis) - np.roll(image, 1, axis))[self._compared] / 2
                for axis in range(3)
            ]
        )
        return np.asarray(np.linalg.inv(self._affine[:3, :3]).T @ slopes)


@dataclass(frozen=True, eq=False)
class _Gains:
    """Redistribution of the mean: weighted least squares by shared columns."""

    sampled: FloatArray
    """(Q, S); with neighbours, for slopes."""
    columns: FloatArray
    """(Q, N); at the compared points."""
    weight: FloatArray
    """(N,)."""
    inverse: FloatArray
    """(Q, N); from data to coefficients."""

    @classmethod
    def of(cls, sampled: FloatArray, compared: BoolArray, weight: FloatArray) -> _Gains:
        columns = sampled[:, compared]
        weighted = columns * weight
        normal = np.einsum("pn,qn->pq", weighted, columns)
        scale = np.sqrt(np.diag(normal)) + np.finfo(float).tiny
        normal = normal / np.outer(scale, scale) + _RIDGE * np.eye(len(scale))
        inverse = np.linalg.inv(normal) / np.outer(scale, scale) @ weighted
        return cls(sampled, columns, weight, inverse)

    def fitted(self, data: FloatArray) -> FloatArray:
        """Coefficients (Q,) of data (N,)."""
        return self.inverse @ data


@dataclass(frozen=True, eq=False)
class _Fit:
    """Motion of one frame at one pose."""

    motion: FloatArray
    """(6,); shifts, mm, and turns, rad."""
    influence: FloatArray
    """(6, N); what a unit of residual at a point adds to it."""
    residual: FloatArray
    """(N,)."""
    weight: FloatArray
    """(N,)."""
    level: float
    """Mean of the frame."""

    @property
    def undoing(self) -> FloatArray:
        """The motion that takes it away, (6,), no further than the model is good."""
        return np.clip(-self.motion, -_LARGEST_STEP, _LARGEST_STEP)

    @property
    def misfit(self) -> float:
        """Mean squared residual relative to the squared mean of the frame."""
        return float(self.weight @ self.residual**2 / self.weight.sum() / self.level**2)

    def covariance(self, blocks: IntArray) -> FloatArray:
        """Of the motion, (6, 6), with blocks (N,) of points as independent."""
        count = int(blocks.max()) + 1
        parts = self.influence * self.residual
        sums = np.stack([np.bincount(blocks, part, count) for part in parts])
        return np.asarray(sums @ sums.T * (count / max(count - 6, 1)))


def _blocks(arms_mm: FloatArray) -> IntArray:
    """Number of the cube of `_BLOCK_MM` that every point (3, N) lies in, (N,)."""
    cube = np.floor(arms_mm / _BLOCK_MM).astype(int)
    return np.asarray(np.unique(cube, axis=1, return_inverse=True)[1]).ravel()


def _mean_square_shift(arms_mm: FloatArray) -> FloatArray:
    """Quadratic form (6, 6) that takes shifts and small rotations to a mean square shift, mm^2.

    Points (3, N) are relative to the centre of rotation, their mean.
    """
    second = np.einsum("an,bn->ab", arms_mm, arms_mm) / arms_mm.shape[1]
    form = np.eye(6)
    form[3:, 3:] = np.trace(second) * np.eye(3) - second
    return form


def _small_motions(change: FloatArray, centre_mm: FloatArray) -> FloatArray:
    """Rigid transforms (F, 4, 4) from shifts and rotation vectors about a centre (F, 6)."""
    motions = np.tile(np.eye(4), (len(change), 1, 1))
    turns = Rotation.from_rotvec(change[:, 3:]).as_matrix()
    motions[:, :3, :3] = turns
    motions[:, :3, 3] = change[:, :3] + centre_mm - turns @ centre_mm
    return motions
