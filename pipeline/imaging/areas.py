"""The head cut into areas that do not overlap: what partial-volume correction tells apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from pipeline.core.labels import structure_of
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.mni_regions import Body
from pipeline.imaging.point_spread import axis_spread, reach_voxels, spread_body
from pipeline.imaging.regions import GREY_SHARE, Anatomy, RegionSpec, body_of, field_points

Tags = frozenset[str]
"""What is true of a place: its regions, or its structure where it is in none."""
Psf = tuple[float, float, float]
"""Full width at half maximum of the scanner's Gaussian along the axes of the PET grid, mm."""

_WHITE, _FLUID, _SULCI = "white-matter", "fluid", "sulci"
_JOINED = {
    **dict.fromkeys(
        ("Cerebral-White-Matter", "WM-hypointensities", "Optic-Chiasm", "CC_Posterior",
         "CC_Mid_Posterior", "CC_Central", "CC_Mid_Anterior", "CC_Anterior"), _WHITE),
    **dict.fromkeys(
        ("Lateral-Ventricle", "Inf-Lat-Vent", "3rd-Ventricle", "4th-Ventricle", "CSF",
         "choroid-plexus"), _FLUID),
}  # fmt: skip
"""Structures that make one area where they are in no region; any other is an area of its own."""
_SHELLS_MM = (5.0, 25.0)
"""Around the brain: what is blurred into it, and what is blurred into that."""
_FINEST_MM = 0.7
"""Largest distance between the points that are asked for their area."""
_LEAST_SEEN = 1e-5


@dataclass(frozen=True, eq=False)
class Areas:
    """Areas on the PET grid, and the regions that are made of them."""

    names: tuple[str, ...]
    """Of the A areas: what is true of them, joined by ``+``."""
    shares: sparse.csr_array
    """(A, X*Y*Z): share of every area in every voxel, float32, voxels in C order."""
    blurred: sparse.csr_array
    """(A, X*Y*Z): an area of activity one as the scanner shows it, float32."""
    volume_mm3: FloatArray
    """(A,) inside the field of view."""
    regions: tuple[str, ...]
    """Of the R regions."""
    parts_mm3: FloatArray
    """(R, A): volume that a region has in an area, inside the field of view."""


@dataclass(frozen=True, eq=False)
class Head:
    """What the T1w tells of the head, all on one grid."""

    anatomy: Anatomy
    brain: Volume
    """Mask with sulcal fluid."""
    reference: Volume
    """Mask of the trimmed reference region."""


@dataclass(frozen=True, eq=False)
class Scanner:
    """Where the PET sees the head, and how sharply."""

    grid: Volume
    """PET grid."""
    grid2t1w_xfm: FloatArray
    """(4, 4), world points of the PET to world points of the T1w, mm."""
    psf_fwhm_mm: Psf

    @property
    def reach(self) -> tuple[int, ...]:
        """How many voxels away a body can be seen, along each axis."""
        sizes = self.grid.voxel_size_mm.tolist()
        return tuple(map(reach_voxels, self.psf_fwhm_mm, sizes))


def cut_into_areas(head: Head, scanner: Scanner, spec: RegionSpec, least_mm3: float) -> Areas:
    """Cut the head into areas, and blur each.

    Labels of the same regions make one area. Those in no region are told apart by structure, with
    white matter and fluid joined. The trimmed reference region and regions in MNI space cut areas
    in two. Unlabelled brain is sulcal fluid; two shells lie around it. An area of less than
    `least_mm3` joins the one most like it, of which its regions then have a part.

    Parameters
    ----------
    head : Head
        Labels, brain and reference region.
    scanner : Scanner
        Grid and resolution.
    spec : RegionSpec
        The regions; `least_share` and `supersampling` are not asked.
    least_mm3 : float
        Least volume of an area.

    Returns
    -------
    Areas
    """
    on_t1w = _tagged(head, spec)
    points = _carried(on_t1w, head.anatomy.labels.affine, scanner)
    for region in spec.mni:
        points = _split(points, region.name, body_of(head.anatomy, region), head.anatomy, scanner)
    return areas_of(points, scanner, spec.names, least_mm3)


@dataclass(frozen=True, eq=False)
class Tagged:
    """Points, and what is true of each."""

    numbers: IntArray
    """(X', Y', Z') places in `tags`."""
    tags: tuple[Tags, ...]
    """The first is empty: outside the head."""
    first: tuple[int, ...] = (0, 0, 0)
    """PET voxel, maybe outside the field of view, at which the points start."""
    parts: int = 1
    """Every PET voxel is cut into so many points along each axis."""

    def refined(self, inside: BoolArray, name: str) -> Tagged:
        """The same points, those inside with one more tag."""
        split = 2 * self.numbers.astype(np.int32) + inside
        tags = [told for tag in self.tags for told in (tag, tag | {name})]
        return self._with(split, tags)

    def _with(self, numbers: IntArray, tags: Sequence[Tags]) -> Tagged:
        """Points by numbers into a list of tags, equal ones under one number."""
        seen = np.flatnonzero(np.bincount(numbers.ravel(), minlength=len(tags)))
        kept = tuple(dict.fromkeys([Tags(), *(tags[number] for number in seen.tolist())]))
        place = {tag: number for number, tag in enumerate(kept)}
        lookup = np.array([place.get(tag, 0) for tag in tags], np.int16)
        return replace(self, numbers=lookup[numbers], tags=kept)

    def told_by(self, regions: Sequence[str]) -> Tagged:
        """Points with the tags of their regions only, where they are in any."""
        known = frozenset(regions)
        return self._with(self.numbers, [tag & known or tag for tag in self.tags])

    def edges(self, axis: int) -> FloatArray:
        """Where the points along an axis begin and end, PET voxels."""
        cells = np.arange(self.numbers.shape[axis] + 1)
        return np.asarray(self.first[axis] - 0.5 + cells / self.parts)

    def within(self, shape: tuple[int, ...]) -> IntArray:
        """Numbers of the points inside the field of view."""
        box = tuple(
            slice(max(0, -first) * self.parts, max(0, size - first) * self.parts)
            for first, size in zip(self.first, shape, strict=True)
        )
        return self.numbers[box]


def _tagged(head: Head, spec: RegionSpec) -> Tagged:
    """Structures, regions of labels and the reference region on the grid of the T1w."""
    labels = head.anatomy.labels
    found = np.unique(labels.data)
    found = found[found != 0]
    tags = [Tags(), *(_tags_of(int(label), spec) for label in found)]
    lookup: IntArray = np.zeros(int(found.max(initial=0)) + 1, np.int16)
    lookup[found] = np.arange(found.size) + 1
    numbers = lookup[labels.data]
    brain = (head.brain.data > 0) | (labels.data != 0)
    away = distance_mm(~brain, labels.voxel_size_mm)
    inner = 0.0
    for outer in _SHELLS_MM:
        numbers[(away > inner) & (away <= outer)] = len(tags)
        tags.append(Tags({f"around-{outer:g}mm"}))
        inner = outer
    numbers[brain & (labels.data == 0)] = len(tags)
    tagged = Tagged(numbers, (*tags, Tags({_SULCI})))
    for name, members in spec.masked:
        grey = head.anatomy.grey.data >= GREY_SHARE
        tagged = tagged.refined(np.isin(labels.data, members) & grey, name)
    return tagged.refined(head.reference.data > 0, spec.reference_name)


def _tags_of(label: int, spec: RegionSpec) -> Tags:
    structure = structure_of(label)
    regions = (name for name, members in spec.labels if label in members)
    return Tags({_JOINED.get(structure, structure), *regions})


def _carried(on_t1w: Tagged, affine: FloatArray, scanner: Scanner) -> Tagged:
    """Points as finely as the T1w is worth, in and around the field of view."""
    grid = scanner.grid
    parts = max(1, int(np.ceil(grid.voxel_size_mm.max() / _FINEST_MM - 0.05)))
    to_t1w = np.linalg.inv(affine) @ scanner.grid2t1w_xfm @ grid.affine
    first, last = _head_box(on_t1w.numbers, np.linalg.inv(to_t1w), scanner)
    cells = np.diag([1 / parts] * 3 + [1.0])
    cells[:3, 3] = first + (1 / parts - 1) / 2
    matrix = to_t1w @ cells
    numbers = ndimage.affine_transform(
        on_t1w.numbers, matrix[:3, :3], matrix[:3, 3], tuple((last - first) * parts),
        order=0, mode="grid-constant",
    )  # fmt: skip
    return Tagged(numbers, on_t1w.tags, tuple(first.tolist()), parts)


def _head_box(
    numbers: IntArray, to_grid: FloatArray, scanner: Scanner
) -> tuple[IntArray, IntArray]:
    """First and last voxel plus one of the PET grid that the head can reach by its blur."""
    sides = ndimage.find_objects((numbers > 0).astype(np.uint8))[0]
    ends = np.array([[side.start - 0.5, side.stop - 0.5] for side in sides])
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    reached = apply_affine(to_grid, corners)
    reach, shape = np.array(scanner.reach), np.array(scanner.grid.shape)
    first = np.clip(np.floor(reached.min(axis=0)).astype(int), -reach, shape + reach)
    last = np.clip(np.ceil(reached.max(axis=0)).astype(int) + 1, -reach, shape + reach)
    return first, np.maximum(last, first + 1)


def _split(points: Tagged, name: str, body: Body, anatomy: Anatomy, scanner: Scanner) -> Tagged:
    """The points with those of a body in MNI space told apart."""
    to_t1w = scanner.grid2t1w_xfm @ scanner.grid.affine

    def in_mni(axes: Iterable[FloatArray]) -> FloatArray:
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return field_points(anatomy.t1w2mni, apply_affine(to_t1w, voxels))

    edges = [points.edges(axis) for axis in range(3)]
    centres = [(edge[:-1] + edge[1:]) / 2 for edge in edges]
    # every voxel's middle first, then every point near the body
    middles = [edge[: -1 : points.parts] + 0.5 for edge in edges]
    slack = 2 * float(np.linalg.norm(scanner.grid.voxel_size_mm))
    near = np.all(np.abs(in_mni(middles) - body.centre_mm) <= body.half_mm + slack, axis=1)
    inside = np.zeros(points.numbers.shape, bool)
    if near.any():
        (box,) = ndimage.find_objects(near.reshape([len(m) for m in middles]).astype(np.uint8))
        fine = tuple(slice(s.start * points.parts, s.stop * points.parts) for s in box)
        asked = in_mni([centre[side] for centre, side in zip(centres, fine, strict=True)])
        inside[fine] = body.contains(asked).reshape(inside[fine].shape)
    return points.refined(inside, name)


def areas_of(points: Tagged, scanner: Scanner, regions: Sequence[str], least_mm3: float) -> Areas:
    """Areas of tagged points: one for every kind, small kinds with the one most like them."""
    grid = scanner.grid
    points = points.told_by(regions)
    kinds = len(points.tags)
    point_mm3 = grid.voxel_volume_mm3 / points.parts**3
    whole_mm3 = np.bincount(points.numbers.ravel(), minlength=kinds) * point_mm3
    seen_mm3 = np.bincount(points.within(grid.shape).ravel(), minlength=kinds) * point_mm3
    area_of = _joined_small(points.tags, whole_mm3, least_mm3)
    kept = np.unique(area_of[1:])
    place = np.append(0, np.searchsorted(kept, area_of[1:]) + 1)
    volume_mm3 = np.asarray(np.bincount(place, seen_mm3, kept.size + 1)[1:], float)
    parts_mm3 = np.zeros((len(regions), kept.size))
    for kind, tag in enumerate(points.tags):
        for row in (regions.index(name) for name in tag if name in regions):
            parts_mm3[row, place[kind] - 1] += seen_mm3[kind]
    numbers = place.astype(np.int16)[points.numbers]
    shares, blurred = (
        _as_seen(replace(points, numbers=numbers), kept.size, replace(scanner, psf_fwhm_mm=fwhm))
        for fwhm in ((0.0, 0.0, 0.0), scanner.psf_fwhm_mm)
    )
    names = tuple("+".join(sorted(points.tags[kind])) for kind in kept)
    return Areas(names, shares, blurred, volume_mm3, tuple(regions), parts_mm3)


def _joined_small(tags: Sequence[Tags], volume_mm3: FloatArray, least_mm3: float) -> IntArray:
    """The kind that every kind is counted with, (K,): itself, if it is not too small."""
    area_of = np.arange(len(tags))
    large = [kind for kind in area_of[1:].tolist() if volume_mm3[kind] >= least_mm3]
    for kind in set(area_of[1:].tolist()) - set(large):
        alike = {
            other: len(tags[kind] & tags[other]) / len(tags[kind] | tags[other]) for other in large
        }
        best = max(large, key=lambda other: (alike[other], volume_mm3[other]), default=kind)
        if alike.get(best, 0) > 0:
            area_of[kind] = best
    return area_of


def _as_seen(points: Tagged, count: int, scanner: Scanner) -> sparse.csr_array:
    """Every area of activity one, (A, X*Y*Z), after the scanner's blur."""
    grid = scanner.grid
    spreads = [
        axis_spread(size, points.edges(axis), fwhm, voxel_mm)
        for axis, (size, fwhm, voxel_mm) in enumerate(
            zip(grid.shape, scanner.psf_fwhm_mm, grid.voxel_size_mm.tolist(), strict=True)
        )
    ]
    where: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    for number, box in enumerate(ndimage.find_objects(points.numbers, count), start=1):
        if box is None:
            where.append(np.empty(0, np.int32))
            values.append(np.empty(0, np.float32))
            continue
        own = [spread[:, side] for spread, side in zip(spreads, box, strict=True)]
        (x, y, z), seen = spread_body(points.numbers[box] == number, own)
        place = np.nonzero(seen > _LEAST_SEEN)
        corner = np.array([x.start, y.start, z.start])[:, None]
        flat = np.ravel_multi_index(tuple(np.array(place) + corner), grid.shape)
        where.append(flat.astype(np.int32))
        values.append(seen[place])
    starts = np.cumsum([0, *(len(flat) for flat in where)])
    shape = (count, int(np.prod(grid.shape)))
    return sparse.csr_array((np.concatenate(values), np.concatenate(where), starts), shape=shape)
