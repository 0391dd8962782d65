"""Displacement fields in and out, as ITK, ANTs and nitransforms keep them in NIfTI.

Five axes (X, Y, Z, 1, 3), intent 1007 (vector), components LPS+, millimetres. Transforms of other
programs, such as the composite ``.h5`` of ANTs, are read as fields on a grid of one's own.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field, sampled_transform
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


def read_transform_as_field(path: str | Path, onto: Volume) -> Field:
    """Any transform file of ITK ``from-A_to-B``, as displacements on a grid of B that lead to A.

    ANTs writes one ``.h5`` per direction, a queue of transforms of which the last is applied
    first [1]_: to a template, affine and warp, so that points of the template are warped and then
    carried to the T1w; back, inverse warp and inverse affine [2]_. ITK goes through the queue.

    Parameters
    ----------
    path : path
        ``.h5``, ``.txt``, ``.tfm`` or ``.mat``.
    onto : Volume
        Grid of B; its values do not matter.

    Raises
    ------
    DataError
        If the file is missing, is no transform of 3-D space, or leads to no finite place.

    References
    ----------
    .. [1] https://itk.org/Doxygen/html/classitk_1_1CompositeTransform.html
    .. [2] https://github.com/ANTsX/ANTs/issues/120: ``composite.h5`` is L o S, its inverse
       inv(S) o inv(L), with L the affine and S the warp.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise DataError(f"{path}: not a transform of ITK, or damaged; copy it again") from error
    if transform.GetDimension() != 3:
        raise DataError(f"{path}: a transform of {transform.GetDimension()}-D space, not of 3-D")
    try:
        field = sampled_transform(transform, onto)
    except ValueError as error:
        raise DataError(f"{path}: cannot be put on the grid of the image ({error})") from error
    if not np.all(np.isfinite(field.displacement_mm)):
        raise DataError(
            f"{path}: the transform holds values that are not finite; compute it again"
        )
    return field
