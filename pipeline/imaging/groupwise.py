"""Rigid alignment of the frames of one scan to their common mean, by least squares.

Between two frames a head moves rigidly and its tracer is redistributed. Near the right pose a
frame is, to first order in its motion c,

    frame(x) = g(x) mean(x) + a + b mean(x)^2 + sum_i c_i d(mean(x))/d(motion_i)

with g a polynomial of place of second degree. Fitting all terms at once tells the motion from the
redistribution, which a fit to the mean alone would take for motion. Undoing c is the
Gauss-Newton step of a separable least squares problem (Golub and Pereyra, 1973) that has the
gains eliminated. Gradients come from the mean, so they carry little noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, Volume

_LARGEST_STEP = np.repeat([8.0, 0.12], 3)  # mm, rad; the model is good to about its smoothness
_RIDGE = 1e-6
_NOISE_FLOOR = 0.1
_INSIDE_SHARE = 0.5
_GAIN_LENGTH_MM = 50.0


@dataclass(frozen=True, eq=False)
class Poses:
    """Where every frame of a group lies."""

    reference2frame_xfms: FloatArray
    """(F, 4, 4), world RAS+ mm."""
    standard_error_mm: FloatArray
    """(F,); root mean square shift of the head, as if voxels had independent noise; inf without
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

    Raises
    ------
    ValueError
        If no voxel of the mask is left.
    """

    def __init__(self, frames: list[Volume], mask: BoolArray) -> None:
        self._affine, self._shape = frames[0].affine, frames[0].shape
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
            Frames without signal in the head stay where they were.
        """
        errors = np.full(len(xfms), np.inf)
        for _ in range(steps):
            change, errors = self._step(xfms)
            xfms = xfms @ _small_motions(change, self.centre_mm)
            if np.abs(change * np.repeat([1.0, 70.0], 3)).max() < tolerance_mm:
                break
        return Poses(xfms, errors)

    def _step(self, xfms: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Motions (F, 6) that undo what is left, and standard errors (F,), mm."""
        sampled, seen = self._samples(xfms)
        level = sampled[:, self._is_compared].mean(axis=1, dtype=np.float64)
        good = (level > 0) & (seen.mean(axis=1) > _INSIDE_SHARE)
        change, errors = np.zeros((len(xfms), 6)), np.full(len(xfms), np.inf)
        if not good.any():
            return change, errors
        mean = _weighted_mean(sampled[good], level[good], self._is_compared)
        design = self._design(mean)
        # frames may look past the end of the scanner: only what all of them saw is compared
        relative = mean[self._is_compared] / mean[self._is_compared].mean()
        weight = seen[good].all(axis=0) / np.maximum(relative, _NOISE_FLOOR)
        frames = sampled[good][:, self._is_compared].astype(np.float64)
        weighted = design * weight
        normal = np.einsum("pn,qn->pq", weighted, design)
        right = np.einsum("pn,fn->pf", weighted, frames)
        scale = np.sqrt(np.diag(normal)) + np.finfo(float).tiny
        normal = normal / np.outer(scale, scale) + _RIDGE * np.eye(len(scale))
        inverse = np.linalg.inv(normal)
        fitted = (inverse @ (right / scale[:, None])) / scale[:, None]
        left = np.einsum("n,fn,fn->f", weight, frames, frames) - (fitted * right).sum(axis=0)
        gain = fitted[6]
        variance = np.maximum(left, 0) / max(np.count_nonzero(weight) - len(scale), 1)
        covariance = inverse[:6, :6] / np.outer(scale[:6], scale[:6])
        spread = np.sqrt(np.trace(covariance @ self._mean_square_shift))
        moved = gain > 0
        where = np.flatnonzero(good)[moved]
        steps = -fitted[:6, moved] / gain[moved]
        change[where] = np.clip(steps.T, -_LARGEST_STEP, _LARGEST_STEP)
        errors[where] = np.sqrt(variance[moved]) * spread / gain[moved]
        return change, errors

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

    def _design(self, mean: FloatArray) -> FloatArray:
        """Columns of the model at the compared points, (P, N): six motions, then the gains."""
        image = np.zeros(self._shape)
        image[self._sampled] = mean
        slopes = np.stack(
            [
                (np.roll(image, -1, axis) - np.roll(image, 1, axis))[self._compared] / 2
                for axis in range(3)
            ]
        )
        gradient = np.linalg.inv(self._affine[:3, :3]).T @ slopes
        x, y, z = self._arms / _GAIN_LENGTH_MM
        here = image[self._compared]
        gains = [np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
        other = [np.full_like(here, here.mean()), here**2 / here.mean()]
        turning = np.cross(self._arms, gradient, axis=0)
        return np.concatenate([gradient, turning, np.stack(gains) * here, np.stack(other)])


def _weighted_mean(values: FloatArray, level: FloatArray, compared: BoolArray) -> FloatArray:
    """Estimate of the common image (S,) where frame f is level[f] times it, plus noise.

    The noise of a frame is what differs from the plain mean; weights follow Gauss-Markov.
    """
    rough = values.sum(axis=0, dtype=np.float64) / level.sum()
    differs = values[:, compared] - level[:, None] * rough[compared]
    variance = np.einsum("fn,fn->f", differs, differs) / differs.shape[1] + level**2 * 1e-6
    weight = level / variance
    return np.asarray(np.einsum("f,fn->n", weight, values) / (weight @ level))


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
