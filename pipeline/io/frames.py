"""Frames of a scan, which may lie in several files, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.transforms import same_grid
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.images import iterate_frames, open_image


@dataclass(frozen=True)
class RawFrames:
    """Frames of a scan as they lie in its files.

    Parameters
    ----------
    paths : tuple of Path
        4-D images, in order of time.
    numbers : tuple of tuple of int
        Of every file, the frames that make up the scan, counted from zero; empty for all.
    scale : tuple of float
        Per frame, (F,): value in the file times this is Bq/mL.
    """

    paths: tuple[Path, ...]
    numbers: tuple[tuple[int, ...], ...]
    scale: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.scale)

    @cached_property
    def _first(self) -> Any:
        image = open_image(self.paths[0])
        if len(image.shape) != 4:
            raise DataError(f"{self.paths[0]}: a 4-D image expected, this one is {image.shape}")
        return image

    @cached_property
    def grid(self) -> Volume:
        """Grid of the first file, whose world is that of the scan; its values are zero."""
        nothing = np.broadcast_to(np.float32(0), self._first.shape[:3])
        return Volume(nothing, np.asarray(self._first.affine, float))

    def volumes(self) -> Iterator[Volume]:
        """Every frame, Bq/mL, each on the grid of its own file.

        Raises
        ------
        DataError
            If a file cannot be read, or does not have the frames it should.
        """
        count = int(self._first.shape[3])
        if not self.numbers and count != len(self):
            name = self.paths[0].name
            raise DataError(f"{name}: {count} frames, but the sidecar times {len(self)}")
        scale = iter(self.scale)
        for path, numbers in zip(self.paths, self.numbers or (None,), strict=True):
            for frame in iterate_frames(path, numbers):
                yield frame.with_data(frame.data * np.float32(next(scale)))

    def placed(self, frame2petref_xfms: FloatArray | None = None) -> Iterator[Volume]:
        """Every frame on the grid of the scan, NaN where it did not see; none resampled twice.

        Parameters
        ----------
        frame2petref_xfms : (F, 4, 4) array, optional
            World points of every frame to the same place in the reference; by default frames stay
            where they lie, and those on the grid of the scan keep their bits.

        Raises
        ------
        DataError
            If a frame holds no finite value.
        """
        for i, frame in enumerate(self.volumes()):
            if not np.isfinite(frame.data).any():
                raise DataError(
                    f"{self.paths[0].name}: a frame holds no finite value, frame {i} of those "
                    "left; set scan.drop_empty = true, or name it in scan.drop_frames"
                )
            if frame2petref_xfms is not None:
                back = np.linalg.inv(frame2petref_xfms[i])
            elif self._on_grid(frame):
                yield self.grid.with_data(frame.data)
                continue
            else:
                back = np.eye(4)
            yield self.grid.with_data(resample_rigid(frame, self.grid, back, outside=np.nan))

    def empty(self) -> list[int]:
        """Frames without any counts: zero or not finite all over."""
        return [i for i, v in enumerate(self.volumes()) if not _counted(v.data).any()]

    def _on_grid(self, frame: Volume) -> bool:
        same_shape = frame.shape == self.grid.shape
        return same_shape and same_grid(frame.shape, frame.affine, self.grid.affine)


def _counted(data: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(data) & (data != 0))


@dataclass(frozen=True, eq=False)
class FramesOnDemand:
    """Frames where the head lies as in the reference, made from the raw ones when asked for.

    They have the bits that a file of them would have; none is held longer than it is looked at.

    Parameters
    ----------
    raw : RawFrames
        The frames on disk.
    frame2petref_xfms : (F, 4, 4) array or None
        World points of every frame to the same place in the reference; None leaves frames alone.
    covered : (X, Y, Z) bool array
        Voxels with a value in every frame; all frames are NaN elsewhere.
    """

    raw: RawFrames
    frame2petref_xfms: FloatArray | None
    covered: BoolArray

    def __iter__(self) -> Iterator[Volume]:
        for frame in self.raw.placed(self.frame2petref_xfms):
            yield frame.with_data(np.where(self.covered, frame.data, np.float32(np.nan)))


def write_frames_on_demand(path: str | Path, frames: FramesOnDemand) -> Path:
    """Write what it takes to make the frames, some kilobytes, as npz; returns the path.

    Sizes and times of the raw files go along, so that the content changes when they do.
    """
    raw, xfms = frames.raw, frames.frame2petref_xfms
    files = [file.stat() for file in raw.paths]
    np.savez_compressed(
        path,
        paths=np.array([str(file.absolute()) for file in raw.paths]),
        state=np.array([(file.st_size, file.st_mtime_ns) for file in files]),
        numbers=np.array([number for of_file in raw.numbers for number in of_file], int),
        counts=np.array([len(of_file) for of_file in raw.numbers], int),
        scale=np.array(raw.scale),
        xfms=np.empty((0, 4, 4)) if xfms is None else xfms,
        covered=frames.covered,
    )
    return Path(path)


def read_frames_on_demand(path: str | Path) -> FramesOnDemand:
    """Read what `write_frames_on_demand` wrote."""
    with np.load(path, allow_pickle=False) as content:
        ends = np.cumsum(content["counts"])[:-1]
        by_file = np.split(content["numbers"], ends) if content["counts"].size else []
        raw = RawFrames(
            tuple(Path(name) for name in content["paths"].tolist()),
            tuple(tuple(numbers.tolist()) for numbers in by_file),
            tuple(content["scale"].tolist()),
        )
        xfms = content["xfms"]
        return FramesOnDemand(raw, xfms if len(xfms) else None, content["covered"])


def frames_in_petref(path: str | Path) -> Iterator[Volume]:
    """Frames of a ``pet_preproc`` one after another, be they written or made on demand.

    Raises
    ------
    DataError
        If a file cannot be read to its end.
    """
    on_demand = Path(path).suffix == ".npz"
    yield from read_frames_on_demand(path) if on_demand else iterate_frames(path)
