"""Regions in PET space: what share of every PET voxel belongs to which label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.imaging.itk import Field


@dataclass(frozen=True, eq=False)
class LabelFractions:
    """Shares of labels in the voxels of a grid, sparse: most voxels hold one label or none."""

    labels: tuple[int, ...]
    """Label of every row."""
    fractions: sparse.csr_array
    """(L, X*Y*Z) shares between 0 and 1, voxels in C order."""
    grid_shape: tuple[int, int, int]
    voxel_volume_mm3: float

    def of(self, members: Sequence[int]) -> FloatArray:
        """Share of a set of labels in every voxel, (X*Y*Z,) float64."""
        rows = [row for row, label in enumerate(self.labels) if label in set(members)]
        return np.asarray(self.fractions[rows].sum(axis=0)).ravel()

    def volume_mm3(self, members: Sequence[int]) -> float:
        """Volume of a set of labels inside the field of view."""
        return float(self.of(members).sum()) * self.voxel_volume_mm3

    def winner(self) -> NDArray[np.int32]:
        """Label of the largest share in every voxel, (X, Y, Z); 0 if less than half has one."""
        total = np.asarray(self.fractions.sum(axis=0)).ravel()
        best = np.zeros(total.size, np.float64)
        winner = np.zeros(total.size, np.int32)
        for row, label in enumerate(self.labels):
            share = self.fractions[[row]].tocoo()
            larger = share.data > best[share.col]
            best[share.col[larger]] = share.data[larger]
            winner[share.col[larger]] = label
        winner[total < 0.5] = 0
        return winner.reshape(self.grid_shape)


def label_fractions(
    labels: Volume, grid: Volume, grid2labels_xfm: FloatArray, supersampling: int
) -> LabelFractions:
    """Carry labels to another grid without interpolating them.

    Every voxel of the grid is sampled at `supersampling` points along each edge, each of which
    takes the label of the voxel it falls into.

    Parameters
    ----------
    labels : Volume
        Label numbers, int; 0 is background.
    grid : Volume
        Its shape and affine are the target grid.
    grid2labels_xfm : (4, 4) array
        World points of the grid to world points of `labels`, mm.
    supersampling : int
        Sample points along each edge of a voxel.

    Returns
    -------
    LabelFractions
    """
    numbers = np.unique(labels.data)
    numbers = numbers[numbers != 0]
    rows: IntArray = np.full(int(numbers.max(initial=0)) + 1, -1, np.int32)
    rows[numbers] = np.arange(numbers.size)
    voxel = np.linalg.inv(labels.affine) @ grid2labels_xfm @ grid.affine
    box = _labelled_box(labels, grid.shape, np.linalg.inv(voxel))
    index = np.stack(np.meshgrid(*box, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    flat: IntArray = np.asarray(np.ravel_multi_index(tuple(index.astype(np.int64).T), grid.shape))
    shape = (numbers.size, int(np.prod(grid.shape)))
    total = sparse.csr_array(shape, dtype=np.float64)
    share = 1 / supersampling**3
    for offset in _sample_offsets(supersampling):
        point = apply_affine(voxel, index + offset)
        value = _nearest(labels.data, point)
        hit = value != 0
        row: IntArray = rows[value[hit]]
        entries = (np.full(row.size, share), (row, flat[hit]))
        total += sparse.coo_array(entries, shape=shape).tocsr()
    return LabelFractions(tuple(numbers.tolist()), total, grid.shape, grid.voxel_volume_mm3)


def ellipsoid_fraction(
    centre_mm: FloatArray, radii_mm: FloatArray, grid_points_mm: Sequence[FloatArray]
) -> FloatArray:
    """Share of every voxel inside an ellipsoid, from its sample points.

    Parameters
    ----------
    centre_mm, radii_mm : (3,) arrays
        Centre and half axes along x, y and z.
    grid_points_mm : sequence of (N, 3) arrays
        Sample points of the N voxels, in the world of the ellipsoid.

    Returns
    -------
    (N,) array
    """
    inside = [
        np.sum(((points - centre_mm) / radii_mm) ** 2, axis=-1) <= 1 for points in grid_points_mm
    ]
    return np.asarray(np.mean(inside, axis=0))


def field_points(field: Field, points_mm: FloatArray) -> FloatArray:
    """Images of points (N, 3) under a displacement field, linear between its voxels.

    Points outside the field move as its nearest edge does.
    """
    voxel = apply_affine(np.linalg.inv(field.affine), points_mm).T
    shift = [
        ndimage.map_coordinates(field.displacement_mm[..., axis], voxel, order=1, mode="nearest")
        for axis in range(3)
    ]
    return np.asarray(points_mm + np.stack(shift, axis=-1))


def _sample_offsets(supersampling: int) -> list[FloatArray]:
    """Where in a voxel its sample points lie, (3,) each, in voxels from its centre."""
    steps = (np.arange(supersampling) + 0.5) / supersampling - 0.5
    return [np.array(offset) for offset in product(steps, repeat=3)]


@dataclass(frozen=True)
class MniShape:
    """An ellipsoid in MNI152 space."""

    name: str
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]


@dataclass(frozen=True)
class RegionSpec:
    """Which regions to draw, and how."""

    labels: tuple[tuple[str, tuple[int, ...]], ...]
    """Region names and the label numbers they are made of."""
    mni: tuple[MniShape, ...]
    reference_name: str
    reference: tuple[int, ...]
    reference_erosion_mm: float
    supersampling: int

    @property
    def names(self) -> tuple[str, ...]:
        """Every region, the reference last."""
        drawn = [name for name, _ in self.labels] + [shape.name for shape in self.mni]
        return (*drawn, self.reference_name)


def trimmed_reference(labels: Volume, members: Sequence[int], erosion_mm: float) -> BoolArray:
    """Voxels of the reference that keep their distance from all other tissue, (X, Y, Z).

    Parameters
    ----------
    labels : Volume
        FreeSurfer-numbered labels.
    members : sequence of int
        Labels of the reference.
    erosion_mm : float
        How far its voxels keep from any other voxel, background included.

    Raises
    ------
    ValueError
        If nothing is left.
    """
    member = np.isin(labels.data, list(members))
    distance = ndimage.distance_transform_edt(member, sampling=labels.voxel_size_mm)
    # the centre of a voxel beside the border lies half a voxel inside the tissue
    trimmed = distance > erosion_mm + labels.voxel_size_mm.min() / 2
    if not trimmed.any():
        raise ValueError(
            f"the reference region is empty: {int(member.sum())} voxels before, none after an "
            f"erosion of {erosion_mm:g} mm; lower regions.reference_erosion_mm"
        )
    return np.asarray(trimmed)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the T1w tells about places."""

    labels: Volume
    """FreeSurfer-numbered labels on the T1w grid."""
    t1w2mni: Field
    """On the T1w grid; a point of the T1w goes to its place in MNI152 space."""


def region_fractions(
    anatomy: Anatomy, grid: Volume, grid2t1w_xfm: FloatArray, spec: RegionSpec
) -> tuple[dict[str, FloatArray], LabelFractions]:
    """Share of every region in every voxel of the PET grid.

    Parameters
    ----------
    anatomy : Anatomy
        Labels and the way to MNI152 space.
    grid : Volume
        PET grid.
    grid2t1w_xfm : (4, 4) array
        World points of the PET to world points of the T1w, mm.
    spec : RegionSpec
        The regions.

    Returns
    -------
    dict of str to (X*Y*Z,) array
        Region to its shares, in the order of ``spec.names``.
    LabelFractions
        Shares of all labels.

    Raises
    ------
    ValueError
        If the reference region is empty.
    """
    fractions = label_fractions(anatomy.labels, grid, grid2t1w_xfm, spec.supersampling)
    regions = {name: fractions.of(members) for name, members in spec.labels}
    if spec.mni:
        regions |= _mni_fractions(anatomy, grid, grid2t1w_xfm, spec)
    trimmed = trimmed_reference(anatomy.labels, spec.reference, spec.reference_erosion_mm)
    reference = anatomy.labels.with_data(trimmed.astype(np.int32))
    carried = label_fractions(reference, grid, grid2t1w_xfm, spec.supersampling)
    regions[spec.reference_name] = carried.of((1,))
    return regions, fractions


def _mni_fractions(
    anatomy: Anatomy, grid: Volume, grid2t1w_xfm: FloatArray, spec: RegionSpec
) -> dict[str, FloatArray]:
    """Shares of the MNI shapes; a point goes PET to T1w to MNI in one go."""
    voxel = np.linalg.inv(anatomy.labels.affine) @ grid2t1w_xfm @ grid.affine
    box = _labelled_box(anatomy.labels, grid.shape, np.linalg.inv(voxel))
    index = np.stack(np.meshgrid(*box, indexing="ij"), axis=-1).reshape(-1, 3)
    centres = field_points(
        anatomy.t1w2mni, apply_affine(grid2t1w_xfm @ grid.affine, index.astype(float))
    )
    reach = 2 * float(np.linalg.norm(grid.voxel_size_mm))
    regions: dict[str, FloatArray] = {}
    for shape in spec.mni:
        centre, radii = np.array(shape.centre_mm), np.array(shape.radii_mm)
        near = index[np.all(np.abs(centres - centre) <= radii + reach, axis=1)]
        points = [
            field_points(anatomy.t1w2mni, apply_affine(grid2t1w_xfm @ grid.affine, near + offset))
            for offset in _sample_offsets(spec.supersampling)
        ]
        share = np.zeros(grid.shape)
        share[tuple(near.T)] = ellipsoid_fraction(centre, radii, points)
        regions[shape.name] = share.ravel()
    return regions


@dataclass(frozen=True, eq=False)
class RegionWeights:
    """Weights that turn a frame into regional means."""

    names: tuple[str, ...]
    weights: sparse.csr_array
    """(R, X*Y*Z); every row sums to one, or to zero for a region that is not there."""
    volume_mm3: FloatArray
    """(R,) volume inside the field of view."""

    @classmethod
    def of(cls, fractions: Mapping[str, FloatArray], voxel_volume_mm3: float) -> RegionWeights:
        """From each region's share of every voxel, (X*Y*Z,)."""
        rows = [sparse.csr_array(f[None, :]) for f in fractions.values()]
        stacked = sparse.vstack(rows, format="csr")
        total = np.asarray(stacked.sum(axis=1)).ravel()
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        weights = sparse.csr_array(sparse.diags_array(scale) @ stacked)
        return cls(tuple(fractions), weights, total * voxel_volume_mm3)

    def means(self, frame: FloatArray) -> FloatArray:
        """Regional means (R,) of a frame (X, Y, Z); NaN for a region that is not there."""
        values = np.asarray(self.weights @ frame.reshape(-1).astype(np.float64))
        return np.where(self.volume_mm3 > 0, values, np.nan)

    def finite_means(self, estimates: FloatArray) -> FloatArray:
        """Like `means`, over the voxels (X, Y, Z) with a value; NaN for a region without one."""
        flat = estimates.reshape(-1).astype(np.float64)
        known = np.isfinite(flat)
        share = np.asarray(self.weights @ known.astype(np.float64))
        total = np.asarray(self.weights @ np.where(known, flat, 0.0))
        mean = np.full(share.shape, np.nan)
        np.divide(total, share, out=mean, where=share > 0)
        return mean


def _labelled_box(
    labels: Volume, shape: tuple[int, int, int], labels2grid: FloatArray
) -> list[IntArray]:
    """Index ranges of the grid that can hold labels."""
    where = np.argwhere(labels.data != 0)
    if where.size == 0:
        return [np.arange(0)] * 3
    low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
    corners = np.array(list(product(*zip(low, high, strict=True))))
    points = apply_affine(labels2grid, corners)
    first = np.clip(np.floor(points.min(axis=0)).astype(int) - 1, 0, shape)
    last = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, 0, shape)
    return [np.arange(a, b) for a, b in zip(first, last, strict=True)]


def _nearest(data: IntArray, voxel: FloatArray) -> IntArray:
    """Values (N,) at the voxels that points (N, 3) fall into; 0 outside."""
    index = np.floor(voxel + 0.5).astype(np.int64)
    inside = np.all((index >= 0) & (index < data.shape), axis=1)
    value: IntArray = np.zeros(len(index), data.dtype)
    value[inside] = data[tuple(index[inside].T)]
    return value
