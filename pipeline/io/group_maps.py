"""Maps of a cohort in MNI152 space: means, changes, and regions to mark on them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.labels import BRAIN_STEM, GREY_LABELS, sided
from pipeline.core.transforms import same_grid
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.mni_regions import Body, Ellipsoid, LabelledBody, MniMask, MniRegion
from pipeline.imaging.resampling import resample_rigid, smooth
from pipeline.imaging.warp import grid_points_mm
from pipeline.io.images import read_grid, read_labels, read_volume
from pipeline.io.map_inference import varying_voxels

LEAST_SHARE = 0.5
"""Share of the subjects that must have a value where there is a mean."""
_NOT_WHITE = tuple(sorted((*GREY_LABELS, BRAIN_STEM, *sided("VentralDC"))))
Runs = Sequence[str | Path]
"""Maps of one subject and session, one for each run."""


@dataclass(frozen=True, eq=False)
class MeanMap:
    """Mean over subjects, on the grid of their maps."""

    mean: Volume
    """float32; NaN where too few subjects have a value."""
    count: Volume
    """Subjects with a value, int16."""


def mean_map(subjects: Sequence[Runs]) -> MeanMap:
    """Mean of the maps of several subjects, of each the mean of the runs; one is held at a time.

    A voxel gets a mean where at least half of the subjects have a value.

    Raises
    ------
    DataError
        If there is no map, a map cannot be read, or lies on another grid than the first.
    """
    grid = _common_grid(subjects)
    total, count = np.zeros(grid.shape), np.zeros(grid.shape, np.int16)
    for runs in subjects:
        data = mean_of_runs(runs, grid)
        known = np.isfinite(data)
        total[known] += data[known]
        count += known
    enough = count >= max(1, LEAST_SHARE * len(subjects))
    mean = np.full(grid.shape, np.nan, np.float32)
    np.divide(total, count, out=mean, where=enough, casting="same_kind")
    return MeanMap(Volume(mean, grid.affine), Volume(count, grid.affine))


def mean_of_runs(runs: Runs, grid: Volume) -> NDArray[np.float32]:
    """Mean of the runs of a session (X, Y, Z), of those with a value in each voxel.

    Raises
    ------
    DataError
        If a map cannot be read, or lies on another grid.
    """
    first, *others = (_read_on(path, grid) for path in runs)
    if not others:
        return first
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # none has a value
        return np.asarray(np.nanmean([first, *others], axis=0), np.float32)


def changes(
    first: Sequence[Runs], second: Sequence[Runs], mask: Volume, smoothing_fwhm_mm: float
) -> NDArray[np.float32]:
    """Second session minus first of every subject, smoothed, (N, V) in the voxels of a mask.

    Voxels without a value in one of the sessions stay NaN and take no part in others.

    Raises
    ------
    DataError
        If a map cannot be read, or lies on another grid than the mask.
    """
    rows = np.empty((len(first), int(mask.data.sum())), np.float32)
    for row, before, after in zip(rows, first, second, strict=True):
        change = mean_of_runs(after, mask) - mean_of_runs(before, mask)
        row[:] = smooth(mask.with_data(change), smoothing_fwhm_mm).data[mask.data]
    return rows


def common_voxels(mask: Volume, *samples: FloatArray) -> Volume:
    """The mask, (V voxels true), where samples (N, V) have values of all that differ."""
    kept: BoolArray = np.zeros(mask.shape, bool)
    kept[mask.data] = varying_voxels(np.concatenate(samples))
    return mask.with_data(kept)


def _common_grid(subjects: Sequence[Runs]) -> Volume:
    path = next((path for runs in subjects for path in runs), None)
    if path is None:
        raise DataError("no map of any subject")
    return read_grid(path)


def _read_on(path: str | Path, grid: Volume) -> NDArray[np.float32]:
    volume = read_volume(path)
    if volume.shape != grid.shape or not same_grid(grid.shape, grid.affine, volume.affine):
        raise DataError(
            f"{path}: {volume.shape} voxels, not on the grid of the other maps {grid.shape}; run "
            "the participant level of this session again with the settings of the others"
        )
    return np.asarray(volume.data, np.float32)


def template_mask(
    template: Volume, atlas: Volume, grid: Volume, kind: Literal["brain", "grey"]
) -> Volume:
    """Where maps on a grid are compared: voxels whose middle lies in the template's brain.

    Parameters
    ----------
    template : Volume
        Skull-stripped, zero outside the brain.
    atlas : Volume
        FreeSurfer-numbered labels in its space.
    grid : Volume
        Of the maps, MNI152 space.
    kind : {"brain", "grey"}
        All of the brain, or grey matter, ventral diencephalon and brain stem.
    """
    inside = template.data > 0 if kind == "brain" else np.isin(atlas.data, _NOT_WHITE)
    source = (template if kind == "brain" else atlas).with_data(inside.astype(np.float32))
    return grid.with_data(resample_rigid(source, grid, np.eye(4), order=0) > 0)


@dataclass(frozen=True, eq=False)
class MniRegions:
    """Regions as a label image in MNI152 space; where they overlap, the smallest is shown."""

    labels: Volume
    """Numbers from 1 in the order of `names`, int16."""
    names: tuple[str, ...]
    empty: tuple[str, ...] = ()
    """Of them, those without a voxel."""


def regions_in_mni(
    atlas: Volume, labels: Mapping[str, Sequence[int]], mni: Sequence[MniRegion] = ()
) -> MniRegions:
    """Label image of named regions on the grid of an atlas.

    Parameters
    ----------
    atlas : Volume
        FreeSurfer-numbered labels in MNI152 space.
    labels : mapping of str to sequence of int
        Region to its label numbers, `settings.regions.labels`.
    mni : sequence of MniRegion
        Regions that were drawn in MNI152 space; files of images are read.

    Raises
    ------
    DataError
        If the image of a region cannot be read or lacks its labels.
    """
    inside = {name: np.isin(atlas.data, numbers) for name, numbers in labels.items()}
    inside |= {region.name: _filled_body(_body(region), atlas) for region in mni}
    numbers = {name: number for number, name in enumerate(inside, start=1)}
    sizes = {name: int(mask.sum()) for name, mask in inside.items()}
    shown = np.zeros(atlas.shape, np.int16)
    for name in sorted(inside, key=lambda name: -sizes[name]):
        shown[inside[name]] = numbers[name]
    empty = tuple(name for name, size in sizes.items() if size == 0)
    return MniRegions(atlas.with_data(shown), tuple(inside), empty)


def _body(region: MniRegion) -> Body:
    if not isinstance(region, MniMask):
        return Ellipsoid(np.array(region.centre_mm), np.array(region.radii_mm))
    try:
        return LabelledBody.of(read_labels(region.image), region.labels, region.image)
    except ValueError as error:
        raise DataError(f"region {region.name}: {error}") from error


def _filled_body(body: Body, grid: Volume) -> BoolArray:
    """Voxels whose middle lies in a body."""
    points = np.moveaxis(grid_points_mm(grid.shape, grid.affine), 0, -1)
    near = np.all(np.abs(points - body.centre_mm) <= body.half_mm, axis=-1)
    filled: BoolArray = np.zeros(grid.shape, bool)
    filled[near] = body.contains(points[near].astype(float))
    return filled
