"""Displacement fields in and out, as ITK, ANTs and nitransforms keep them in NIfTI.

Five axes (X, Y, Z, 1, 3), intent 1007 (vector), components LPS+, millimetres.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.core.errors import DataError
from pipeline.imaging.itk import Field
from pipeline.io.images import open_image

_RAS_TO_LPS = np.array([-1, -1, 1], np.float32)


def write_field(path: str | Path, field: Field) -> Path:
    """Write a displacement field; returns the path."""
    data = (field.displacement_mm * _RAS_TO_LPS)[:, :, :, None, :]
    image = nib.Nifti1Image(data.astype(np.float32), field.affine)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    image.set_sform(field.affine, code=1)
    image.set_qform(field.affine, code=1)
    nib.save(image, path)
    return Path(path)


def read_field(path: str | Path) -> Field:
    """A displacement field, its components turned to RAS+.

    Raises
    ------
    DataError
        If the file cannot be read, is no field of three components, or holds values that are not
        finite.
    """
    image = open_image(path)
    if len(image.shape) != 5 or image.shape[3:] != (1, 3):
        raise DataError(
            f"{path}: a displacement field (X, Y, Z, 1, 3) expected, this one is {image.shape}"
        )
    try:
        data = np.asarray(image.dataobj, np.float32)[:, :, :, 0, :]
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path}: the field ends early or is damaged ({error})") from error
    if not np.all(np.isfinite(data)):
        raise DataError(f"{path}: the field holds values that are not finite; compute it again")
    return Field(data * _RAS_TO_LPS, np.asarray(image.affine, float))
