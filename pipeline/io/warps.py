"""Displacement fields on disk, as ITK and ANTs know them: five axes, LPS+ millimetres."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.core.errors import DataError
from pipeline.imaging.itk import Field
from pipeline.io.images import open_image

_VECTOR_INTENT = 1007
_RAS_TO_LPS = np.float32([-1, -1, 1])


def write_field(path: str | Path, field: Field) -> Path:
    """Write a field as NIfTI (X, Y, Z, 1, 3), vector intent, LPS+ mm; returns the path."""
    data = (field.displacement_mm * _RAS_TO_LPS)[:, :, :, np.newaxis, :].astype(np.float32)
    image = nib.Nifti1Image(data, field.affine)
    image.header.set_intent(_VECTOR_INTENT)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return Path(path)


def read_field(path: str | Path) -> Field:
    """Read a displacement field in ITK's convention.

    Raises
    ------
    DataError
        If the file cannot be read or is no field of three components.
    """
    image = open_image(path)
    if len(image.shape) != 5 or image.shape[3:] != (1, 3):
        raise DataError(f"{path}: a displacement field is (X, Y, Z, 1, 3), not {image.shape}")
    data = np.asarray(image.dataobj, np.float32)[:, :, :, 0, :]
    if not np.isfinite(data).all():
        raise DataError(f"{path}: the displacement field holds values that are not finite")
    return Field(data * _RAS_TO_LPS, np.asarray(image.affine, float))
