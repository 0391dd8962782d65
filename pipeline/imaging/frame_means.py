"""Means over the frames of a scan, of which one is held at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.core.volume import BoolArray, FloatArray, Volume


def mean_over_frames(frames: Iterable[Volume], duration_s: FloatArray) -> tuple[Volume, BoolArray]:
    """Duration-weighted mean of frames, and where all of them have a value.

    Parameters
    ----------
    frames : iterable of Volume
        F frames on one grid, NaN where a frame did not see.
    duration_s : (F,) array
        Their durations, seconds.

    Returns
    -------
    mean : Volume
        float32; zero where a frame has no value.
    covered : (X, Y, Z) bool array
        Voxels with a value in every frame. The mean of a region over these is over the same
        voxels in all frames, and no frame counts what it never saw as zero.
    """
    total = covered = grid = None
    for frame, seconds in zip(frames, duration_s, strict=True):
        if total is None or covered is None:
            grid, total, covered = frame, np.zeros(frame.shape), np.ones(frame.shape, bool)
        total += seconds * np.nan_to_num(frame.data)
        covered &= np.isfinite(frame.data)
    if total is None or covered is None or grid is None:
        raise ValueError("no frames to average")
    total[~covered] = 0
    return grid.with_data((total / duration_s.sum()).astype(np.float32)), covered
