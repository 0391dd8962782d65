"""Regions in PET space: what share of every PET voxel belongs to which label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from pipeline.core.labels import BRAIN_STEM, GREY_LABELS, PONS
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.mni_regions import (
    Body,
    Ellipsoid,
    LabelledBody,
    MniMask,
    MniRegion,
    share_inside,
)
from pipeline.imaging.reference import Landmarks, Trimmed, TrimRules, trim_reference


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
    codes: IntArray = np.zeros(int(numbers.max(initial=0)) + 1, np.int16)
    codes[numbers] = np.arange(numbers.size) + 1
    voxel = np.linalg.inv(labels.affine) @ grid2labels_xfm @ grid.affine
    box = _labelled_box(labels, grid.shape, np.linalg.inv(voxel))
    index = np.stack(np.meshgrid(*box, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
    flat: IntArray = np.asarray(np.ravel_multi_index(tuple(index.astype(np.int64).T), grid.shape))
    offsets = [voxel[:3, :3] @ offset for offset in _sample_offsets(supersampling)]
    coded = _Coded.of(codes[labels.data], np.ceil(np.max(np.abs(offsets), axis=0)).astype(int))
    parts = []
    for start in range(0, len(index), _VOXELS_AT_ONCE):
        points = apply_affine(voxel, index[start : start + _VOXELS_AT_ONCE])
        code, alone = coded.around(points)
        full, mixed = np.flatnonzero(alone & (code > 0)), np.flatnonzero(~alone)
        parts.append((np.ones(full.size), code[full] - 1, flat[start + full]))
        count = coded.counts(points[mixed], offsets, numbers.size + 1)
        place, row = np.nonzero(count[:, 1:])
        parts.append((count[place, row + 1] / len(offsets), row, flat[start + mixed[place]]))
    shape = (numbers.size, int(np.prod(grid.shape)))
    if not parts:
        nothing = sparse.csr_array(shape, dtype=np.float64)
        return LabelFractions((), nothing, grid.shape, grid.voxel_volume_mm3)
    share, rows, columns = (np.concatenate(of_parts) for of_parts in zip(*parts, strict=True))
    total = sparse.coo_array((share, (rows, columns)), shape=shape).tocsr()
    return LabelFractions(tuple(numbers.tolist()), total, grid.shape, grid.voxel_volume_mm3)


_VOXELS_AT_ONCE = 16384


@dataclass(frozen=True, eq=False)
class _Coded:
    """Codes of labels, with those about them: where all are the same, no point need be tried."""

    codes: IntArray
    """Padded, 0 for none."""
    lowest: IntArray
    """Lowest code within reach of every voxel."""
    highest: IntArray
    reach: IntArray
    """(3,) voxels, how far sample points lie from the middle of a voxel of the other grid."""

    @classmethod
    def of(cls, codes: IntArray, reach: IntArray) -> _Coded:
        padded = np.pad(codes, [(int(r), int(r)) for r in reach])
        size = (2 * reach + 1).tolist()
        lowest = ndimage.minimum_filter(padded, size, mode="constant")
        return cls(padded, lowest, ndimage.maximum_filter(padded, size, mode="constant"), reach)

    def around(self, points: FloatArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Lowest code about each point (N, 3), and whether it is the only one."""
        lowest = _nearest(self.lowest, points + self.reach)
        return lowest, lowest == _nearest(self.highest, points + self.reach)

    def counts(
        self, points: FloatArray, offsets: Sequence[FloatArray], n_codes: int
    ) -> NDArray[np.int64]:
        """How many of the sample points about each point hit each code, (N, n_codes)."""
        first = np.arange(len(points)) * n_codes
        keys = [first + _nearest(self.codes, points + (self.reach + o)) for o in offsets]
        counts = np.bincount(np.concatenate(keys), minlength=len(points) * n_codes)
        return counts.reshape(len(points), n_codes)


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
class RegionSpec:
    """Which regions to draw, and how."""

    labels: tuple[tuple[str, tuple[int, ...]], ...]
    """Region names and the label numbers they are made of."""
    mni: tuple[MniRegion, ...]
    reference_name: str
    reference: TrimRules
    supersampling: int
    least_share: float = 0.0
    """Share of a region that a voxel needs to count in full; 0 for counting by its share."""
    grey_masked: bool = False
    """Whether every region with a label of grey matter comes once more, as `gm<name>`, its voxels
    of grey matter."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every region, the reference last."""
        drawn = [name for name, _ in (*self.labels, *self.masked)]
        return (*drawn, *(shape.name for shape in self.mni), self.reference_name)

    @property
    def masked(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Regions that come once more with their grey matter alone: name there, and labels."""
        return tuple(
            (f"gm{name}", members)
            for name, members in self.labels
            if self.grey_masked and not GREY_LABELS.isdisjoint(members)
        )


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the T1w tells about places."""

    labels: Volume
    """FreeSurfer-numbered labels on the T1w grid."""
    t1w2mni: Field
    """On the T1w grid; a point of the T1w goes to its place in MNI152 space."""
    t1w2acpc_xfm: FloatArray
    """(4, 4), points of the T1w to anatomical axes, mm."""
    grey: Volume
    """Share of grey matter on the T1w grid."""
    mni_images: Mapping[str, Volume] = field(default_factory=dict)
    """Label images in MNI152 space, by the file that regions name."""
    pons: BoolArray | None = None
    """Voxels of the brain stem that are pons, (X, Y, Z), where somebody has told them apart."""

    def landmarks(self) -> Landmarks:
        """What the rules of the reference region look at."""
        stem = np.argwhere(self.labels.data == BRAIN_STEM).astype(float)
        in_mni = field_points(self.t1w2mni, apply_affine(self.labels.affine, stem))
        labels = self.labels
        if self.pons is not None:
            labels = labels.with_data(np.where(self.pons, PONS, labels.data))
        return Landmarks(labels, self.t1w2acpc_xfm, in_mni[:, 2] >= _PONS_FLOOR_MM, self.grey)


_PONS_FLOOR_MM = -49.0
"""Lower border of the pons in the mid-sagittal plane of MNI152NLin2009cAsym, z."""
GREY_SHARE = 0.5
"""Of a voxel of the T1w that counts as grey matter."""
LEAST_COVERED = 0.5
"""Of a region that voxels with a value must cover: a mean of less does not stand for it."""


def region_fractions(
    anatomy: Anatomy, grid: Volume, grid2t1w_xfm: FloatArray, spec: RegionSpec
) -> RegionFractions:
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
    RegionFractions

    Raises
    ------
    ValueError
        If the reference region is empty, or an image in MNI space lacks a region.
    """

    def carried(labels: Volume) -> LabelFractions:
        return label_fractions(labels, grid, grid2t1w_xfm, spec.supersampling)

    labels = carried(anatomy.labels)
    regions = {name: labels.of(members) for name, members in spec.labels}
    t1w_mm3 = _volumes_mm3(anatomy.labels, spec.labels)
    if spec.masked:
        grey = anatomy.grey.data >= GREY_SHARE
        grey_labels = anatomy.labels.with_data(np.where(grey, anatomy.labels.data, 0))
        masked = carried(grey_labels)
        regions |= {name: masked.of(members) for name, members in spec.masked}
        t1w_mm3 |= _volumes_mm3(grey_labels, spec.masked)
    if spec.mni:
        regions |= _mni_fractions(anatomy, grid, grid2t1w_xfm, spec)
        t1w_mm3 |= _mni_volumes_mm3(anatomy, spec)
    trimmed = trim_reference(anatomy.landmarks(), spec.reference)
    reference = anatomy.labels.with_data(trimmed.mask.astype(np.int32))
    regions[spec.reference_name] = carried(reference).of((1,))
    t1w_mm3 |= _volumes_mm3(reference, ((spec.reference_name, (1,)),))
    in_field = {
        name: float(share.sum()) * grid.voxel_volume_mm3 / t1w_mm3[name]
        for name, share in regions.items()
        if t1w_mm3[name] > 0
    }
    if spec.least_share > 0:
        # shares are sums of sample points: a hair's tolerance, or rounding would decide
        least = spec.least_share - 1e-9
        regions = {name: (share >= least).astype(float) for name, share in regions.items()}
    return RegionFractions(regions, labels, trimmed, t1w_mm3, in_field)


@dataclass(frozen=True, eq=False)
class RegionFractions:
    """Regions on the PET grid."""

    regions: dict[str, FloatArray]
    """Region to its share of every voxel, (X*Y*Z,), in the order of ``RegionSpec.names``."""
    labels: LabelFractions
    """Shares of all labels."""
    reference: Trimmed
    """The reference region on the T1w, and what its rules took away."""
    t1w_mm3: dict[str, float]
    """Region to its volume on the T1w."""
    in_field: dict[str, float]
    """Region to the share of that inside the field of view, to within the sampling; those that
    the T1w lacks are left out."""


def _volumes_mm3(labels: Volume, named: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, float]:
    """Volumes of sets of labels."""
    count = dict(zip(*np.unique(labels.data, return_counts=True), strict=True))
    return {
        name: float(sum(count.get(label, 0) for label in members)) * labels.voxel_volume_mm3
        for name, members in named
    }


def _mni_fractions(
    anatomy: Anatomy, grid: Volume, grid2t1w_xfm: FloatArray, spec: RegionSpec
) -> dict[str, FloatArray]:
    """Shares of the regions in MNI space, (X*Y*Z,) each."""
    regions: dict[str, FloatArray] = {}
    for name, near, inside in _mni_shares(anatomy, grid, grid2t1w_xfm, spec):
        share = np.zeros(grid.shape)
        share[tuple(near.T)] = inside
        regions[name] = share.ravel()
    return regions


def _mni_volumes_mm3(anatomy: Anatomy, spec: RegionSpec) -> dict[str, float]:
    """Volumes of the regions in MNI space on the T1w, from eight points a voxel."""
    coarse = replace(spec, supersampling=2)
    return {
        name: float(inside.sum()) * anatomy.labels.voxel_volume_mm3
        for name, _, inside in _mni_shares(anatomy, anatomy.labels, np.eye(4), coarse)
    }


def _mni_shares(
    anatomy: Anatomy, grid: Volume, grid2t1w_xfm: FloatArray, spec: RegionSpec
) -> Iterator[tuple[str, IntArray, FloatArray]]:
    """Every region in MNI space: name, voxels (N, 3) about it, share (N,) of each.

    A point goes PET to T1w to MNI in one go.
    """
    voxel = np.linalg.inv(anatomy.labels.affine) @ grid2t1w_xfm @ grid.affine
    box = _labelled_box(anatomy.labels, grid.shape, np.linalg.inv(voxel))
    index = np.stack(np.meshgrid(*box, indexing="ij"), axis=-1).reshape(-1, 3)

    def in_mni(voxels: FloatArray) -> FloatArray:
        return field_points(anatomy.t1w2mni, apply_affine(grid2t1w_xfm @ grid.affine, voxels))

    centres = in_mni(index.astype(float))
    reach = 2 * float(np.linalg.norm(grid.voxel_size_mm))
    offsets = _sample_offsets(spec.supersampling)
    for region in spec.mni:
        body = body_of(anatomy, region)
        near = index[np.all(np.abs(centres - body.centre_mm) <= body.half_mm + reach, axis=1)]
        yield region.name, near, share_inside(body, [in_mni(near + offset) for offset in offsets])


def body_of(anatomy: Anatomy, region: MniRegion) -> Body:
    """A region of MNI space as a body that points can be asked for."""
    if isinstance(region, MniMask):
        return LabelledBody.of(anatomy.mni_images[region.image], region.labels, region.image)
    return Ellipsoid(np.array(region.centre_mm), np.array(region.radii_mm))


@dataclass(frozen=True, eq=False)
class RegionStatistics:
    """What a frame shows of every region; NaN for a region without a voxel."""

    mean: FloatArray
    """(R,); voxels by their weights."""
    core_mean: FloatArray
    """(R,); plain, over the voxels of which the region holds half or more."""
    standard_deviation: FloatArray
    """(R,); between voxels, by their weights."""
    voxels: IntArray
    """(R,); with a value and some share of the region."""
    core_voxels: IntArray
    """(R,); with a value, of which the region holds half or more."""
    known: FloatArray
    """(R,); share of what the field of view holds of the region in voxels with a value."""


@dataclass(frozen=True, eq=False)
class RegionWeights:
    """Weights that turn a frame into regional means."""

    names: tuple[str, ...]
    weights: sparse.csr_array
    """(R, X*Y*Z); every row sums to one, or to zero for a region that is not there."""
    volume_mm3: FloatArray
    """(R,) volume inside the field of view."""
    voxel_volume_mm3: float
    t1w_mm3: FloatArray
    """(R,) volume on the T1w; NaN where it is not known."""
    in_field: FloatArray
    """(R,) share of that inside the field of view; NaN where it is not known."""

    @cached_property
    def core(self) -> sparse.csr_array:
        """(R, X*Y*Z), 1 in voxels of which the region holds half or more."""
        rows = np.repeat(np.arange(len(self.names)), np.diff(self.weights.indptr))
        share = self.weights.data * self.volume_mm3[rows] / self.voxel_volume_mm3
        # shares are sums of sample points: a hair's tolerance, or rounding would decide
        inside = share >= _HALF - 1e-9
        places = (rows[inside], self.weights.indices[inside])
        ones = np.ones(int(inside.sum()))
        return sparse.coo_array((ones, places), shape=self.weights.shape).tocsr()

    @classmethod
    def of(
        cls,
        fractions: Mapping[str, FloatArray],
        voxel_volume_mm3: float,
        t1w_mm3: Mapping[str, float] | None = None,
        in_field: Mapping[str, float] | None = None,
    ) -> RegionWeights:
        """From each region's share of every voxel, (X*Y*Z,)."""
        whole, seen = (
            np.array([(of_region or {}).get(name, np.nan) for name in fractions])
            for of_region in (t1w_mm3, in_field)
        )
        rows = [sparse.csr_array(f[None, :]) for f in fractions.values()]
        stacked = sparse.vstack(rows, format="csr")
        total = np.asarray(stacked.sum(axis=1)).ravel()
        scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        weights = sparse.csr_array(sparse.diags_array(scale) @ stacked)
        volume_mm3 = total * voxel_volume_mm3
        return cls(tuple(fractions), weights, volume_mm3, voxel_volume_mm3, whole, seen)

    def means(self, frame: FloatArray) -> FloatArray:
        """Regional means (R,) of a frame (X, Y, Z); NaN for a region that is not there."""
        values = np.asarray(self.weights @ frame.reshape(-1).astype(np.float64))
        return np.where(self.volume_mm3 > 0, values, np.nan)

    def statistics(self, frame: FloatArray) -> RegionStatistics:
        """Means and spread of a frame (X, Y, Z) over the voxels with a value."""
        flat = frame.reshape(-1).astype(np.float64)
        known = np.isfinite(flat)
        flat = np.where(known, flat, 0.0)
        share = np.asarray(self.weights @ known.astype(np.float64))
        there = share > 0
        mean, square = (
            np.divide(self.weights @ v, share, out=np.full(share.shape, np.nan), where=there)
            for v in (flat, flat**2)
        )
        voxels = self.weights.astype(bool).astype(np.int64) @ known.astype(np.int64)
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        count = np.asarray(self.core @ known.astype(np.float64))
        nothing = np.full(count.shape, np.nan)
        core_mean = np.divide(self.core @ flat, count, out=nothing, where=count > 0)
        return RegionStatistics(
            mean, core_mean, spread, np.asarray(voxels), np.rint(count).astype(np.int64), share
        )

    def covered(self, known: FloatArray) -> FloatArray:
        """Share of the whole regions (R,) with a value, from `RegionStatistics.known`."""
        # one that the T1w tells nothing of counts as inside the field of view
        return np.asarray(np.fmin(self.in_field, 1.0) * known)

    def usable(self, known: FloatArray, least_mm3: float) -> BoolArray:
        """Whether means stand for regions (R,): half of one and `least_mm3` have a value."""
        # weights are sums of sample points: a hair's tolerance, or rounding would decide
        enough = self.volume_mm3 * known >= least_mm3 - 1e-9 * self.volume_mm3
        return np.asarray(enough & (self.covered(known) >= LEAST_COVERED - 1e-9))

    def usable_means(self, estimates: FloatArray, least_mm3: float) -> FloatArray:
        """Like `means`, over the voxels (X, Y, Z) with a value; NaN for regions not `usable`."""
        found = self.statistics(estimates)
        return np.where(self.usable(found.known, least_mm3), found.mean, np.nan)


_HALF = 0.5


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
