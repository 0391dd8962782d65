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
