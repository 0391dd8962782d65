"""Individual heads: a warped template with skull and scalp, or a given T1w and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.simulation.regions import (
    BRAIN_STEM,
    CSF,
    SKULL,
    SOFT_TISSUE,
    as_freesurfer,
    brain_stem_part,
    known_labels,
)
from pipeline.simulation.template import LabelledTemplate

_HEAD_CENTRE_MM = np.array([0.0, -18.0, 8.0])
_FOV_MM = np.array([196.0, 240.0, 232.0])
_FOV_CENTRE_MM = np.array([0.0, -18.0, -2.0])
# MNI152 is larger than heads are, by about a fifth in volume
_SCALE_MEAN, _SCALE_SD, _SHEAR_SD = 0.06, 0.035, 0.015
_WARP_SD_MM, _WARP_FWHM_MM, _LATTICE_MM = 2.5, 50.0, 6.0
_LEAST_JACOBIAN = 0.3
_SHIFT_SD_MM, _TILT_SD_DEG = 5.0, 3.0
_FLUID_MM, _SKULL_MM, _SCALP_MM = 2.0, 5.5, 5.5
_FLUID_SD_MM, _BONE_SD_MM = 0.5, 1.0
_SHELLS_END_MM = 1.75 * (_FLUID_MM + _SKULL_MM + _SCALP_MM)
_BIAS_SD, _BIAS_FWHM_MM = 0.10, 130.0
_NOISE_SD = 0.025
_WHITE_INTENSITY = 1000.0
_TEMPLATE_SHARE = 0.5
_SLAB = 16

# T1w intensity relative to white matter at 3 T, by label; 0.68 for cortical grey matter
_GREY_INTENSITY = 0.68
_INTENSITY = {
    0: 0.01, 2: 1.0, 41: 1.0, 7: 0.98, 46: 0.98, 77: 1.0,
    251: 1.02, 252: 1.02, 253: 1.02, 254: 1.02, 255: 1.02,
    10: 0.83, 49: 0.83, 11: 0.71, 50: 0.71, 12: 0.76, 51: 0.76, 13: 0.91, 52: 0.91,
    28: 0.88, 60: 0.88, 118: 0.84, 173: 0.90, 174: 0.93, 175: 0.92, 85: 0.90,
    4: 0.27, 43: 0.27, 5: 0.27, 44: 0.27, 14: 0.27, 15: 0.27, CSF: 0.27, 31: 0.38, 63: 0.38,
    SKULL: 0.10, SOFT_TISSUE: 0.85,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Head:
    """One head as the scanners see it, in T1w space.

    Parameters
    ----------
    t1w : Volume
        float32, arbitrary units.
    sources : Volume
        int16 numbers of `SOURCE_NAMES` on the same grid; zero is air.
    """

    t1w: Volume
    sources: Volume

    @property
    def labels(self) -> Volume:
        """The brain in FreeSurfer's numbers, int16."""
        return self.sources.with_data(as_freesurfer(self.sources.data))

    @property
    def centre_mm(self) -> FloatArray:
        """Centre of the brain, (3,), T1w world."""
        return np.asarray(
            apply_affine(
                self.sources.affine, np.array(ndimage.center_of_mass(self.labels.data > 0))
            )
        )


@dataclass(frozen=True, eq=False)
class SmoothField:
    """Smooth random values in space, unit variance, on a lattice between which they are linear."""

    values: NDArray[np.float32]
    origin_mm: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator, fwhm_mm: float) -> SmoothField:
        """A field over the template's head, correlated over `fwhm_mm`."""
        half = _FOV_MM / 2 + 40.0
        shape = tuple(int(n) for n in np.ceil(2 * half / _LATTICE_MM) + 1)
        sigma = fwhm_mm / _LATTICE_MM / np.sqrt(8 * np.log(2)) / np.sqrt(2)
        values = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
        return cls((values / values.std()).astype(np.float32), _FOV_CENTRE_MM - half)

    def at(self, points_mm: FloatArray) -> NDArray[np.float32]:
        """Values at points (3, ...), linear between lattice points."""
        index = (points_mm - self.origin_mm.reshape(3, *[1] * (points_mm.ndim - 1))) / _LATTICE_MM
        return np.asarray(
            ndimage.map_coordinates(self.values, index, order=1, mode="nearest", output=np.float32)
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """How one person's head differs from the template.

    Parameters
    ----------
    affine : (4, 4) array
        Head to template, millimetres.
    warp_mm : three SmoothField
        Displacement along x, y and z, in units of `amplitude_mm`.
    amplitude_mm : float
        SD of the displacement.
    shells : three SmoothField
        Thickness of fluid, skull and scalp about their means.
    """

    affine: FloatArray
    warp: tuple[SmoothField, ...]
    amplitude_mm: float
    shells: tuple[SmoothField, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """A random anatomy whose warp folds nowhere."""
        linear = np.diag(np.exp(rng.normal(_SCALE_MEAN, _SCALE_SD, 3)))
        linear += np.triu(rng.normal(0, _SHEAR_SD, (3, 3)), 1)
        affine = np.eye(4)
        affine[:3, :3] = linear
        affine[:3, 3] = _HEAD_CENTRE_MM - linear @ _HEAD_CENTRE_MM
        warp = tuple(SmoothField.draw(rng, _WARP_FWHM_MM) for _ in range(3))
        shells = tuple(SmoothField.draw(rng, _WARP_FWHM_MM) for _ in range(3))
        amplitude = _WARP_SD_MM
        while _least_jacobian(warp, amplitude) < _LEAST_JACOBIAN:
            amplitude *= 0.8
        return cls(affine, warp, amplitude, shells)

    def to_template(self, points_mm: FloatArray) -> FloatArray:
        """Template coordinates of head points (3, ...), millimetres."""
        moved = np.tensordot(self.affine[:3, :3], points_mm, 1)
        moved += self.affine[:3, 3].reshape(3, *[1] * (points_mm.ndim - 1))
        warp = np.stack([field.at(moved) for field in self.warp])
        return np.asarray(moved + self.amplitude_mm * warp)


def _least_jacobian(warp: tuple[SmoothField, ...], amplitude_mm: float) -> float:
    gradient = np.array(
        [np.gradient(field.values * (amplitude_mm / _LATTICE_MM)) for field in warp]
    )
    jacobian = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3)
    return float(np.linalg.det(jacobian).min())


def make_head(
    template: LabelledTemplate, anatomy: Anatomy, voxel_mm: float, rng: np.random.Generator
) -> Head:
    """T1w and sources of one person lying in an MR scanner.

    Parameters
    ----------
    template : LabelledTemplate
        What every head is made from.
    anatomy : Anatomy
        The person.
    voxel_mm : float
        Edge of the T1w's cubic voxels.
    rng : Generator
        Position of the head, receive field and noise of this one acquisition.

    Returns
    -------
    Head
        Axes of storage along x, y and z; the world is the scanner's.
    """
    shape = tuple(int(n) for n in np.ceil(_FOV_MM / voxel_mm))
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = _FOV_CENTRE_MM - voxel_mm * (np.array(shape) - 1) / 2
    head2scanner = rigid_matrix(
        rng.normal(0, _SHIFT_SD_MM, 3),
        np.deg2rad(rng.normal(0, _TILT_SD_DEG, 3)),
        _HEAD_CENTRE_MM,
    )
    index2head = np.linalg.inv(head2scanner) @ affine
    bias = SmoothField.draw(rng, _BIAS_FWHM_MM)
    sources = np.empty(shape, np.int16)
    texture, gain = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for start in range(0, shape[0], _SLAB):
        slab = slice(start, start + _SLAB)
        grid = np.indices(sources[slab].shape, dtype=np.float32)
        grid[0] += start
        head_mm = np.tensordot(index2head[:3, :3].astype(np.float32), grid, 1)
        head_mm += index2head[:3, 3].astype(np.float32).reshape(3, 1, 1, 1)
        sources[slab], texture[slab] = _sample(template, anatomy, head_mm)
        gain[slab] = np.exp(_BIAS_SD * bias.at(head_mm))
    t1w = _t1w(sources, texture, voxel_mm) * gain
    return Head(Volume(_rician(t1w, rng), affine), Volume(sources, affine))


def _sample(
    template: LabelledTemplate, anatomy: Anatomy, head_mm: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Sources and brain texture at head points (3, ...)."""
    points = anatomy.to_template(head_mm)
    affine = template.sources.affine
    index = (points - affine[:3, 3].reshape(3, 1, 1, 1)) / np.diag(affine)[:3].reshape(3, 1, 1, 1)
    sources = ndimage.map_coordinates(template.sources.data, index, order=0, mode="nearest")
    texture = ndimage.map_coordinates(template.texture.data, index, order=1, mode="nearest")
    outside = ndimage.map_coordinates(template.outside_mm.data, index, order=1, mode="nearest")
    shell = (outside > 0) & (outside < _SHELLS_END_MM)
    shell &= (sources == 0) | (sources == SOFT_TISSUE)
    layers = _layers(anatomy, points[:, shell], outside[shell])
    # the neck begins outside the skull
    sources[shell] = np.where(layers == 0, sources[shell], layers)
    return sources, texture


def _layers(anatomy: Anatomy, points_mm: FloatArray, outside_mm: FloatArray) -> IntArray:
    """Fluid, skull and scalp by distance from the brain, (N,); zero beyond."""
    edge = np.zeros_like(outside_mm)
    layers = np.zeros(outside_mm.shape, np.int16)
    for mean, spread, field, number in zip(
        (_FLUID_MM, _SKULL_MM, _SCALP_MM),
        (_FLUID_SD_MM, _BONE_SD_MM, _BONE_SD_MM),
        anatomy.shells,
        (CSF, SKULL, SOFT_TISSUE),
        strict=True,
    ):
        inner = edge
        edge = inner + np.clip(mean + spread * field.at(points_mm), 0.25 * mean, 1.75 * mean)
        layers[(outside_mm >= inner) & (outside_mm < edge)] = number
    return layers


def _t1w(sources: IntArray, texture: FloatArray, voxel_mm: float) -> NDArray[np.float32]:
    """Noise-free T1w: class means and, in the brain, an equal share of the template itself."""
    lookup = np.full(2036, _GREY_INTENSITY, np.float32)
    lookup[list(_INTENSITY)] = list(_INTENSITY.values())
    ideal = ndimage.gaussian_filter(lookup[sources], 0.5 / max(voxel_mm, 0.5))
    brain = (as_freesurfer(sources) > 0) & (texture > 0.05)
    ideal[brain] += _TEMPLATE_SHARE * (texture[brain] - ideal[brain])
    return np.asarray(ideal)


def _rician(t1w: FloatArray, rng: np.random.Generator) -> NDArray[np.float32]:
    real, imaginary = (
        _NOISE_SD * rng.standard_normal(t1w.shape, dtype=np.float32) for _ in range(2)
    )
    return np.asarray(_WHITE_INTENSITY * np.hypot(t1w + real, imaginary), np.float32)


def head_from_labels(t1w: Volume, dseg: Volume, template: LabelledTemplate) -> Head:
    """A given head: its T1w as it is, sources from its labels.

    Soft tissue is where the T1w is bright outside the brain. The brain stem is divided by an
    affine to MNI152 that brings the centres of the labels together.

    Parameters
    ----------
    t1w : Volume
        T1w.
    dseg : Volume
        FreeSurfer label numbers on the same grid.
    template : LabelledTemplate
        For the centres of the labels in MNI152.

    Raises
    ------
    ValueError
        If the grids differ, a label is unknown, or too few structures are labelled.
    """
    if t1w.shape != dseg.shape or not np.allclose(t1w.affine, dseg.affine, atol=1e-3):
        raise ValueError("the T1w and its labels lie on different grids")
    sources = known_labels(dseg.data)
    world2mni = _landmark_affine(Volume(sources, dseg.affine), template.sources)
    stem = np.argwhere(sources == BRAIN_STEM)
    mni = apply_affine(world2mni @ dseg.affine, stem.astype(float))
    brain = sources > 0
    sources[tuple(stem.T)] = brain_stem_part(*mni.T)
    # a closing of 4 mm joins the sulci to the brain
    steps = int(np.ceil(4.0 / float(dseg.voxel_size_mm.min())))
    closed = _closing(brain, steps)
    sources[closed & ~brain] = CSF
    grey = float(np.median(t1w.data[sources >= 1001]))
    bright = ndimage.gaussian_filter(t1w.data.astype(np.float32), 1.0) > 0.4 * grey
    sources[bright & ~closed] = SOFT_TISSUE
    return Head(t1w, Volume(sources, dseg.affine))


def _closing(mask: BoolArray, steps: int) -> BoolArray:
    padded = np.pad(mask, steps)
    closed = ndimage.binary_closing(padded, iterations=steps)
    inner = tuple(slice(steps, n + steps) for n in mask.shape)
    return np.asarray(closed[inner])


_LANDMARKS = (8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 28, 60, BRAIN_STEM)


def _landmark_affine(labels: Volume, template_sources: Volume) -> FloatArray:
    """Affine from a head to MNI152 by least squares on the centres of deep structures, (4, 4)."""
    template = template_sources.with_data(as_freesurfer(template_sources.data))
    present = [n for n in _LANDMARKS if (labels.data == n).any()]
    if len(present) < 8 or BRAIN_STEM not in present:
        raise ValueError(
            "the brain stem (16) or most deep structures are not labelled; a FreeSurfer aseg is "
            "needed"
        )
    ours, theirs = (
        apply_affine(v.affine, np.array(ndimage.center_of_mass(v.data > 0, v.data, present)))
        for v in (labels, template)
    )
    solution = np.linalg.lstsq(np.column_stack([ours, np.ones(len(ours))]), theirs, rcond=None)[0]
    affine = np.eye(4)
    affine[:3] = solution.T
    return affine
