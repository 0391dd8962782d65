"""Linear transforms as FSL, FreeSurfer and SPM write them.

Each program means something else by its matrix; this file is the one place where they become
``a2b_xfm``: points of the moved image A to points of the reference B, RAS+ millimetres.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nitransforms.io import TransformFileError
from nitransforms.io.fsl import FSLLinearTransform
from nitransforms.io.lta import FSLinearTransform

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray, Volume
from pipeline.io.images import open_image


def read_fsl_transform(path: str | Path, moving: Volume, reference: Volume) -> FloatArray:
    """``a2b_xfm`` (4, 4) of a matrix by FLIRT or MCFLIRT.

    FSL's points are voxel numbers times voxel sizes, the first axis turned round where the image
    is stored right-handed, so that the matrix means nothing without both images.

    Parameters
    ----------
    path : path
        Text file, four rows of four numbers.
    moving, reference : Volume
        Images that ``-in`` and ``-ref`` named; only their grids count.

    Raises
    ------
    DataError
        If the file is missing, is no such matrix, or cannot be inverted.
    """
    text = _text(path)
    try:
        transform = FSLLinearTransform.from_string(text)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not a matrix of FLIRT (four rows of four numbers)") from error
    _require_affine(path, np.asarray(transform.structarr["parameters"], float))
    reference2moving = transform.to_ras(moving=_image(moving), reference=_image(reference))
    return np.asarray(np.linalg.inv(reference2moving))


def read_lta_transform(path: str | Path) -> FloatArray:
    """``a2b_xfm`` (4, 4) of a FreeSurfer LTA from its source A to its destination B.

    Both of voxels and of points are read; the file names the grids itself.

    Raises
    ------
    DataError
        If the file is missing, is no LTA of one transform, or cannot be inverted.
    """
    # nitransforms stumbles over names with spaces, and nobody needs them
    text = re.sub(r"(?m)^filename\s*=.*$", "filename = unnamed", _text(path))
    try:
        transform = FSLinearTransform.from_string(text)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not an LTA with one transform") from error
    kind = int(transform.structarr["type"])
    grids = [bool(transform.structarr[end]["valid"]) for end in ("src", "dst")]
    if kind not in _LTA_KINDS or (kind == 0 and not all(grids)):
        raise DataError(
            f"{path}: an LTA of type {kind} without the grids it needs; write one with"
            " mri_concatenate_lta or lta_convert (type 1, RAS to RAS)"
        )
    _require_affine(path, np.asarray(transform.structarr["m_L"], float))
    return np.asarray(np.linalg.inv(transform.to_ras()))


_UNREADABLE = (TransformFileError, AssertionError, IndexError, KeyError, TypeError, ValueError)
"""What the parsers of nitransforms raise where a text is not what they expect."""
_LTA_KINDS = (0, 1)
"""Voxels to voxels, points to points."""


def read_moved_header(path: str | Path, moving: Volume) -> FloatArray:
    """``a2b_xfm`` (4, 4) that SPM put into the header of the image it moved.

    Coregister and Realign resample nothing when they estimate: they write the place where the
    reference is into the header of the moved image.

    Parameters
    ----------
    path : path
        The moved image as SPM left it.
    moving : Volume
        The same image as SPM got it; only its grid counts.

    Raises
    ------
    DataError
        If the image cannot be read, or its header cannot be inverted.
    """
    after = np.asarray(open_image(path).affine, float)
    _require_affine(path, after)
    return np.asarray(after @ np.linalg.inv(moving.affine))


Form = Literal["spm", "fsl", "lta"]
"""How a program tells where it moved an image: `spm`, by the header of the image; `fsl`, by a
matrix of FLIRT; `lta`, by FreeSurfer's file of that name."""


def read_rigid_transform(
    form: Form, path: str | Path, moving: Volume, reference: Volume
) -> FloatArray:
    """``a2b_xfm`` (4, 4), RAS+ mm, by which a program put the image `moving` onto `reference`.

    Parameters
    ----------
    form : {"spm", "fsl", "lta"}
        What kind of file the program left.
    path : path
        That file.
    moving, reference : Volume
        The images as the program got them; only their grids count.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another kind, or its transform stretches or mirrors.
    """
    if form == "spm":
        xfm = read_moved_header(path, moving)
    elif form == "fsl":
        xfm = read_fsl_transform(path, moving, reference)
    else:
        xfm = read_lta_transform(path)
    turn = xfm[:3, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=_STRETCH) or np.linalg.det(turn) < 0:
        raise DataError(f"{path}: not a rigid transform; the program stretched the head")
    return xfm


_STRETCH = 2e-3
"""Rounding of numbers in text files stays below."""


def _text(path: str | Path) -> str:
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _image(grid: Volume) -> nib.Nifti1Image:
    """The grid as an image that weighs nothing."""
    return nib.Nifti1Image(np.broadcast_to(np.uint8(0), grid.shape), grid.affine)


def _require_affine(path: str | Path, matrix: FloatArray) -> None:
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise DataError(f"{path}: not an affine matrix; was the registration stopped?")
    if abs(np.linalg.det(matrix)) < np.finfo(np.float32).eps:
        raise DataError(f"{path}: a matrix that cannot be inverted; the registration failed")
