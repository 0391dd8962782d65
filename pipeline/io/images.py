"""NIfTI and MGH images in and out, one frame at a time where it matters."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import DTypeLike, NDArray

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray, Volume

_READ_ERRORS = (OSError, EOFError, zlib.error, ImageFileError, ValueError)


def open_image(path: str | Path, *, keep_open: bool = False) -> Any:
    """Header of an image; voxels stay on disk.

    Parameters
    ----------
    path : path
        NIfTI or MGH image.
    keep_open : bool
        Hold the file open, so that frames read in order need no second pass over a ``.gz``.

    Raises
    ------
    DataError
        If the file is missing or is not an image that can be read.
    """
    try:
        return nib.load(path, keep_file_open=keep_open)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except _READ_ERRORS as error:
        raise DataError(f"{path}: not a readable image ({error})") from error


def read_volume(path: str | Path, dtype: DTypeLike = np.float32) -> Volume:
    """A 3-D image (a fourth axis of length one is dropped).

    Raises
    ------
    DataError
        If the file cannot be read, or holds more than one volume.
    """
    image = open_image(path)
    shape = tuple(n for n in image.shape[3:] if n != 1)
    if len(image.shape) < 3 or shape:
        raise DataError(f"{path}: one 3-D volume expected, the image is {image.shape}")
    data = _read(image.dataobj, path, dtype)
    return Volume(data.reshape(image.shape[:3]), np.asarray(image.affine, float))


def read_upright(path: str | Path) -> Volume:
    """A 3-D image, float32, its axes turned to run right, anterior and superior as near they can.

    Raises
    ------
    DataError
        If the file cannot be read, or holds more than one volume.
    """
    volume = read_volume(path)
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.data, volume.affine))
    return Volume(np.asarray(image.dataobj), np.asarray(image.affine, float))


def read_labels(path: str | Path) -> Volume:
    """A label image as int32.

    Raises
    ------
    DataError
        If the file cannot be read, or holds numbers that are not whole.
    """
    volume = read_volume(path, dtype=np.float32)
    numbers = np.rint(volume.data)
    if not np.allclose(volume.data, numbers, rtol=0, atol=_WHOLE):
        raise DataError(
            f"{path}: labels are whole numbers, this image holds others; give the label image "
            "itself, and resample labels by nearest neighbour"
        )
    return volume.with_data(numbers.astype(np.int32))


_WHOLE = 0.01
"""Rounding that scaled storage may leave."""


def read_series(path: str | Path) -> tuple[NDArray[np.float32], FloatArray]:
    """All frames of a 4-D image, (X, Y, Z, F) float32, and its affine (4, 4).

    Raises
    ------
    DataError
        If the file cannot be read to its end or is not 4-D.
    """
    image = open_image(path)
    if len(image.shape) != 4:
        raise DataError(f"{path}: a 4-D image expected, this one is {image.shape}")
    return _read(image.dataobj, path, np.float32), np.asarray(image.affine, float)


def iterate_frames(path: str | Path, numbers: Sequence[int] | None = None) -> Iterator[Volume]:
    """Frames of a 4-D image one after another, each a float32 `Volume`; one is held at a time.

    Parameters
    ----------
    path : path
        NIfTI image.
    numbers : sequence of int, optional
        Frames wanted, counted from zero, in order; all by default.

    Raises
    ------
    DataError
        If the file cannot be read to its end, is not 4-D or lacks a frame.
    """
    image = open_image(path, keep_open=True)
    if len(image.shape) != 4:
        raise DataError(f"{path}: a 4-D image expected, this one is {image.shape}")
    if numbers and max(numbers) >= image.shape[3]:
        raise DataError(f"{path}: no frame {max(numbers)}, the image has {image.shape[3]}")
    affine = np.asarray(image.affine, float)
    for frame in range(image.shape[3]) if numbers is None else numbers:
        yield Volume(_read(image.dataobj, path, np.float32, (..., frame)), affine)


def _read(dataobj: Any, path: str | Path, dtype: DTypeLike, index: Any = ...) -> NDArray[Any]:
    try:
        # nibabel scales in float32 only where it is told so beforehand
        if hasattr(dataobj, "get_scaled") and np.issubdtype(np.dtype(dtype), np.floating):
            scaled = dataobj.get_scaled(dtype=dtype) if index is ... else dataobj[index]
        else:
            scaled = dataobj[index]
        return np.asarray(scaled, dtype=dtype)
    except _READ_ERRORS as error:
        raise DataError(
            f"{path}: the image data end early or are damaged ({error}); copy the file again"
        ) from error


def write_volume(path: str | Path, volume: Volume, dtype: DTypeLike | None = None) -> Path:
    """Write a 3-D image as NIfTI with millimetres as unit; returns the path."""
    return write_array(path, volume.data, volume.affine, dtype)


def write_array(
    path: str | Path,
    data: NDArray[Any],
    affine: FloatArray,
    dtype: DTypeLike | None = None,
) -> Path:
    """Write an array of three or more axes as NIfTI in world space; returns the path."""
    data = data if dtype is None else data.astype(dtype, copy=False)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return Path(path)


def read_grid(path: str | Path) -> Volume:
    """Where an image lies: its first three axes and affine, without its values."""
    image = open_image(path)
    nothing = np.broadcast_to(np.uint8(0), image.shape[:3])
    return Volume(nothing, np.asarray(image.affine, float))


def write_series(path: str | Path, frames: Iterable[Volume], count: int) -> Path:
    """Write frames to an uncompressed 4-D NIfTI, float32, one at a time; returns the path.

    Parameters
    ----------
    path : path
        Ends in ``.nii``.
    frames : iterable of Volume
        `count` frames on one grid.
    count : int
        Known beforehand, so that none is held longer than it is written.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_xyzt_units("mm", "sec")
    with Path(path).open("wb") as file:
        for frame in frames:
            if file.tell() == 0:
                header.set_data_shape((*frame.shape, count))
                header.set_sform(frame.affine, code=1)
                header.set_qform(frame.affine, code=1)
                header["magic"], header["vox_offset"] = b"n+1", header.single_vox_offset
                file.write(header.binaryblock.ljust(header.single_vox_offset, b"\0"))
            file.write(frame.data.astype("<f4", copy=False).tobytes(order="F"))
    return Path(path)
