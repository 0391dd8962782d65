"""Rigid and affine transforms as ITK text files.

A file ``from-A_to-B_mode-image_xfm.txt`` resamples image A onto the grid of B. ITK asks it, for a
point of B, where in A to look, so the file maps points of B to A, in LPS+ millimetres. In
memory ``a2b_xfm`` maps points of A to B, in RAS+. This file is the one place where one becomes
the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nitransforms.io.itk import ITKLinearTransform, ITKLinearTransformArray

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray

_HEADER = "#Insight Transform File V1.0\n"


def write_itk_transform(path: str | Path, a2b_xfm: FloatArray) -> Path:
    """Write ``from-A_to-B``; returns the path.

    Parameters
    ----------
    path : path
        Text file, ``.txt`` or ``.tfm``.
    a2b_xfm : (4, 4) array
        Points of A to points of B, RAS+, millimetres.

    Raises
    ------
    ValueError
        If the matrix is not affine or cannot be inverted.
    """
    return write_itk_transforms(path, np.asarray(a2b_xfm)[np.newaxis])


def write_itk_transforms(path: str | Path, a2b_xfms: FloatArray) -> Path:
    """Write one transform per frame to one file; returns the path.

    Parameters
    ----------
    path : path
        Text file; the layout is the one nitransforms, and through it fMRIPrep, uses for motion.
    a2b_xfms : (F, 4, 4) array
        Per frame, points of A to points of B, RAS+, millimetres.

    Raises
    ------
    ValueError
        If a matrix is not affine or cannot be inverted.
    """
    a2b_xfms = np.asarray(a2b_xfms, float)
    if a2b_xfms.ndim != 3 or a2b_xfms.shape[1:] != (4, 4) or len(a2b_xfms) == 0:
        raise ValueError(f"transforms are (F, 4, 4), not {a2b_xfms.shape}")
    if not (np.isfinite(a2b_xfms).all() and np.allclose(a2b_xfms[:, 3], [0, 0, 0, 1])):
        raise ValueError("the last row of an affine matrix is 0 0 0 1, all others finite")
    if (np.abs(np.linalg.det(a2b_xfms)) < np.finfo(float).eps).any():
        raise ValueError("the transform has no inverse")
    blocks = [_block(index, xfm) for index, xfm in enumerate(np.linalg.inv(a2b_xfms))]
    Path(path).write_text(_HEADER + "".join(blocks), encoding="ascii")
    return Path(path)


def _block(index: int, b2a_xfm: FloatArray) -> str:
    """One transform as text in all its digits; nitransforms itself writes six."""
    lps = np.asarray(ITKLinearTransform.from_ras(b2a_xfm)["parameters"], float)
    values = [*lps[:3, :3].ravel().tolist(), *lps[:3, 3].tolist()]
    return (
        f"#Transform {index}\n"
        "Transform: AffineTransform_double_3_3\n"
        f"Parameters: {' '.join(repr(value) for value in values)}\n"
        "FixedParameters: 0 0 0\n"
    )


def read_itk_transform(path: str | Path) -> FloatArray:
    """``a2b_xfm`` (4, 4) of a file ``from-A_to-B`` with one linear transform.

    Any linear transform ITK knows is read, also rigid ones about a centre and ``.mat`` of ANTs.

    Raises
    ------
    DataError
        If the file is missing, is no ITK transform, is not linear or cannot be inverted.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise DataError(f"{path}: not an ITK transform; give one written by ITK") from error
    if Path(path).suffix in {".txt", ".tfm"}:
        _check_text(path, len(transform.GetParameters()))
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise DataError(f"{path}: not a linear transform of 3-D space; give a rigid or affine one")
    # the images of the origin and of the three axes are the matrix, whatever its parameters
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    axes = [transform.TransformPoint(axis) for axis in np.eye(3).tolist()]
    lps = np.eye(4)
    lps[:3, :3] = np.array(axes).T - origin[:, np.newaxis]
    lps[:3, 3] = origin
    return _invert(path, np.asarray(ITKLinearTransform(lps).to_ras(), float))


def read_itk_transforms(path: str | Path) -> FloatArray:
    """``a2b_xfms`` (F, 4, 4) of a text file ``from-A_to-B`` with one transform per frame.

    Raises
    ------
    DataError
        If the file is missing, holds no affine transforms, or one that cannot be inverted.
    """
    try:
        transforms = ITKLinearTransformArray.from_filename(path)
        b2a_xfms = np.asarray(transforms.to_ras(), float)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"{path}: not a text file of affine ITK transforms") from error
    return _invert(path, b2a_xfms)


def _check_text(path: str | Path, n_parameters: int) -> None:
    """Refuse what ITK lets pass: it reads the first of many, and a cut line as identity."""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    counts = [len(line.split()) - 1 for line in lines if line.startswith("Parameters:")]
    if len(counts) > 1:
        raise DataError(f"{path}: holds {len(counts)} transforms where one is expected")
    if counts != [n_parameters]:
        raise DataError(f"{path}: has {sum(counts)} parameters, {n_parameters} are expected")


def _invert(path: str | Path, b2a_xfm: FloatArray) -> FloatArray:
    if not np.isfinite(b2a_xfm).all():
        raise DataError(f"{path}: holds numbers that are not finite")
    try:
        return np.asarray(np.linalg.inv(b2a_xfm))
    except np.linalg.LinAlgError as error:
        raise DataError(f"{path}: the transform cannot be inverted") from error
